"""Every knob of the server and the command line, read from ``DECONVNET_*``."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_cache_path, user_data_path
from pydantic import (
    Field,
    IPvAnyNetwork,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MIB = 2**20
GIB = 2**30

Names = Annotated[tuple[str, ...], NoDecode]
"""Several names in one variable, separated by commas."""
Folders = Annotated[Mapping[str, Path], NoDecode]
"""Folders in one variable, by the names under which visitors may ask for them: `a=/b,c=/d`."""
Proxies = Annotated[tuple[IPvAnyNetwork, ...], NoDecode]
"""Several addresses or networks of machines, separated by commas."""

NAMED_FOLDER = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]{0,39})\s*=\s*(.+?)\s*")
"""A name that an address can hold, and the folder that it stands for."""

PATH_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*")
"""A path prefix as addresses hold it: nothing, or segments with no slash at the end."""


class Settings(BaseSettings):
    """What an operator may choose; nothing else in the program reads the environment."""

    model_config = SettingsConfigDict(env_prefix="DECONVNET_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    allowed_hosts: Names = Field(
        LOOPBACK, description="Host names this server answers to, `*` for any; comma-separated."
    )
    root_path: str = Field(
        "",
        max_length=1024,
        description="Path prefix below which a proxy shows this server: `/proxy/8000`.",
    )
    trusted_proxies: Proxies = Field(
        (),
        description="Addresses or networks of proxies whose X-Forwarded-Prefix, -Proto and -For "
        "are believed, comma-separated: `127.0.0.1,10.0.0.0/8`.",
    )
    api_token: SecretStr | None = Field(
        None,
        description="When set, every request but the health checks must carry it as a bearer "
        "token (or as the password of HTTP Basic, which browsers ask for).",
    )

    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where networks run: `auto` (the GPU when there is one), `cpu`, `cuda`, "
        "`cuda:N`.",
    )
    networks: Names = Field((), description="Networks to offer, comma-separated; empty means all.")
    random_weights: bool = Field(
        False, description="Use random weights for every network, flagged everywhere."
    )
    weights_dir: Path = Field(
        default_factory=lambda: user_data_path("deconvnet") / "weights",
        description="Folder of your own weights: `<network>.safetensors` or `.pth`.",
    )
    cache_dir: Path = Field(
        default_factory=partial(user_cache_path, "deconvnet"),
        description="Folder where published weights are kept.",
    )
    data_dir: Path = Field(
        default_factory=partial(user_data_path, "deconvnet"),
        description="Folder of uploaded photos, of results, and of the secret behind their links.",
    )
    examples_folder: Path | None = Field(
        None,
        description="Folder of photos that visitors may have indexed in the background, to see "
        "which of them fire each feature map most.",
    )
    offline: bool = Field(False, description="Never fetch anything.")

    max_upload_bytes: PositiveInt = Field(16 * MIB, description="Largest request body.")
    max_pixels: PositiveInt = Field(50_000_000, description="Most pixels of a photo.")
    max_side: PositiveInt = Field(16_384, description="Longest side of a photo, in pixels.")
    max_aspect: PositiveFloat = Field(
        32.0, description="Longest side over shortest, for photos above a megapixel."
    )
    max_scans: PositiveInt = Field(100, description="Most scans of a progressive JPEG.")
    decode_seconds: PositiveFloat = Field(
        5.0, description="Deadline of decoding one photo, after which its process is killed."
    )
    decode_bytes: PositiveInt = Field(1 * GIB, description="Memory of the decoding process.")
    decoders: PositiveInt = Field(2, description="Photos decoded at the same time.")

    max_projections: PositiveInt = Field(256, description="Most projections in one answer.")
    queue_limit: PositiveInt = Field(
        64, description="Requests waiting or running at once; more get 503 with Retry-After."
    )
    request_seconds: PositiveFloat = Field(30.0, description="Longest time of one request.")
    step_seconds: PositiveFloat = Field(
        120.0,
        description="Longest time of one step on the device, after which it is taken to hang and "
        "given up.",
    )
    network_bytes: PositiveInt = Field(
        4 * GIB, description="Memory for loaded networks; least recently used leave first."
    )
    record_bytes: PositiveInt = Field(
        1 * GIB, description="Memory for forward passes kept for the next click."
    )
    picture_bytes: PositiveInt = Field(256 * MIB, description="Memory for decoded photos.")
    answer_bytes: PositiveInt = Field(256 * MIB, description="Memory for finished answers.")

    upload_ttl: PositiveInt = Field(
        30 * 86_400, description="Seconds that a photo is kept after its last use."
    )
    upload_bytes: PositiveInt = Field(
        4 * GIB, description="Disk space for photos; least recently used leave first."
    )

    job_limit: PositiveInt = Field(
        16, description="Experiments waiting or running at once; more get 503 with Retry-After."
    )
    job_seconds: PositiveFloat = Field(3600.0, description="Longest time of one experiment.")
    result_bytes: PositiveInt = Field(
        1 * GIB,
        description="Disk space for the results of experiments; least recently used leave first.",
    )

    photo_folders: Folders = Field(
        {},
        description="Folders of photos, a folder for each class, on which visitors may run "
        "experiments, each with a name: `caltech=/data/caltech101,mine=/data/mine`.",
    )
    runs: Folders = Field(
        {},
        description="Output folders of `deconvnet train` on which visitors may run experiments, "
        "each with a name: `first=/runs/zfnet`.",
    )
    vector_bytes: PositiveInt = Field(
        8 * GIB,
        description="Disk space for feature vectors of photo folders; least recently used leave "
        "first.",
    )

    stop_notice: NonNegativeFloat = Field(
        1.0, description="Seconds from `/readyz` saying 503 to the port being closed on SIGTERM."
    )
    drain_seconds: PositiveInt = Field(
        20, description="Seconds that accepted requests have to finish when stopping."
    )

    @field_validator("allowed_hosts", "networks", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("photo_folders", "runs", mode="before")
    @classmethod
    def _name_folders(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return value
        parts = value.split(",") if isinstance(value, str) else value
        found = [NAMED_FOLDER.fullmatch(part) for part in parts if part.strip()]
        if not all(found):
            raise ValueError("folders are written like 'name=/folder, other=/another'")
        return {match[1]: Path(match[2]).expanduser() for match in found if match}

    @field_validator("root_path")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        if not PATH_PREFIX.fullmatch(prefix := value.rstrip("/")):
            raise ValueError("a path prefix is written like '/proxy/8000'")
        return prefix

    @field_validator("api_token")
    @classmethod
    def _drop_empty(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value and value.get_secret_value() else None

    @field_validator("examples_folder", mode="before")
    @classmethod
    def _drop_no_folder(cls, value: Any) -> Any:
        return value or None

    @field_validator("weights_dir", "cache_dir", "data_dir", "examples_folder")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value and value.expanduser()
