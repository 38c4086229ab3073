"""Experiments on folders of this machine, of which visitors know nothing but names.

The owner names folders in the settings; no path is ever read from a request, or told.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
from app.engine.jobs import Encode, Run
from app.settings import Settings
from app.storage import disk_errors


@dataclass(frozen=True)
class FolderField:
    """A field that names a folder: the setting that lists them, and which files count in one."""

    name: str
    setting: str
    pattern: str
    meaning: str


DATA = FolderField(
    "data",
    "photo_folders",
    "**/*",
    "A folder of photos that the server's owner has registered, by its name.",
)
RUN = FolderField(
    "run",
    "runs",
    "epoch-*.safetensors",
    "A training run that the server's owner has registered, by its name.",
)

Begin = Callable[[Mapping[str, Path], models.Network | None, Any, Settings], Run]


@dataclass(frozen=True)
class FolderExperiment:
    """One experiment on folders: what it asks for, what it does, and how it begins.

    ``begin`` takes the folders by their fields, and the network where the request names one; it
    raises at once for what cannot be answered.
    """

    name: str
    request: type[Any]
    does: str
    folders: tuple[FolderField, ...]
    begin: Begin
    encode: Encode = models.result_files

    @property
    def has_network(self) -> bool:
        """Tell whether it is asked of a network on offer."""
        return any(each.name == "network" for each in models.options_of(self.request))


def _evolve(
    places: Mapping[str, Path], _: models.Network | None, asked: Any, settings: Settings
) -> Run:
    device = models.pick_device(settings.device)
    return models.evolve(places["run"], places["data"], asked, device)


def _probe(
    places: Mapping[str, Path], network: models.Network | None, asked: Any, settings: Settings
) -> Run:
    assert network is not None, "its request names one"
    keep = settings.data_dir / "vectors"
    models.trim_vectors(keep, settings.vector_bytes)
    return models.probe(network, places["data"], keep, asked)


FOLDER_EXPERIMENTS: Mapping[str, FolderExperiment] = {
    each.name: each
    for each in (
        FolderExperiment(
            "evolution",
            models.EvolutionRequest,
            "Follow feature maps through the epochs of a training run (Fig. 4).",
            (RUN, DATA),
            _evolve,
            models.evolution_files,
        ),
        FolderExperiment(
            "probe",
            models.ProbeRequest,
            "Test what each layer's features tell of the classes of photos (Table 7).",
            (DATA,),
            _probe,
        ),
    )
}


def registered(field: FolderField, settings: Settings) -> Mapping[str, Path]:
    """Return the folders that may be asked for, by name."""
    folders: Mapping[str, Path] = getattr(settings, field.setting)
    return folders


def find_folders(
    experiment: FolderExperiment, names: Mapping[str, str], settings: Settings
) -> dict[str, Path]:
    """Find the folders that a request names, by field; raises InvalidChoice."""
    return {each.name: _find(each, names[each.name], settings) for each in experiment.folders}


def _find(field: FolderField, name: str, settings: Settings) -> Path:
    known, setting = registered(field, settings), f"DECONVNET_{field.setting.upper()}"
    if not known:
        raise models.InvalidChoice("nothing_registered", name=field.name, setting=setting)
    if name not in known:
        raise models.InvalidChoice(
            "not_registered", name=field.name, value=name[:40], known=tuple(known)
        )
    return known[name]


def fingerprint(experiment: FolderExperiment, places: Mapping[str, Path]) -> str:
    """Derive from names, sizes and times of files what the folders hold now.

    Raises StorageRefused where they cannot be read.
    """
    digest = hashlib.sha256()
    for field in experiment.folders:
        place = places[field.name]
        with disk_errors():
            for file in sorted(place.glob(field.pattern)):
                status = file.lstat()
                line = f"{file.relative_to(place)} {status.st_size} {status.st_mtime_ns}\n"
                digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def begin(
    experiment: FolderExperiment,
    places: Mapping[str, Path],
    names: Mapping[str, str],
    network: models.Network | None,
    asked: Any,
    settings: Settings,
) -> Run:
    """Begin an experiment; what it raises tells folders by name, or is a StorageRefused."""
    try:
        with disk_errors():
            return experiment.begin(places, network, asked, settings)
    except models.InvalidChoice as error:
        hidden = {str(places[field]): names[field] for field in places}
        error.fields = {field: _rename(value, hidden) for field, value in error.fields.items()}
        raise


def _rename(value: object, hidden: Mapping[str, str]) -> object:
    """Put names in the place of paths in what people read."""
    if isinstance(value, BaseException):
        value = str(value)
    if not isinstance(value, str):
        return value
    for path, name in hidden.items():
        value = value.replace(path, name)
    return value
