"""Whatever is sent: read as it is written, or refused in a sentence; never a failure of ours."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from starlette.datastructures import QueryParams
from starlette.testclient import TestClient

import models
from app.pages.links import read_click, read_link
from app.pages.marks import marked, marks
from app.photos.decoding import (
    Limits,
    PhotoTooLarge,
    UnreadablePhoto,
    count_scans,
    decode,
    webp_size,
)
from app.web import answers
from app.web.choice import from_sent, read_query, write_query
from app.web.comparison import read_columns
from app.web.errors import NotAcceptable
from app.web.sentences import sentence
from models.networks.catalogue import architecture
from models.weights.assembly import assemble
from models.weights.files import read
from models.weights.wire import fields
from tests.app.test_serving import multipart
from tests.serving import client_in, photo
from tests.weight_files import own

SEEDED = settings(max_examples=200, deadline=None, derandomize=True)
FEW = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NAMES = [option.name for option in models.options_of()]
STATE = (
    "at",
    "feature",
    "order",
    "page",
    "row",
    "column",
    "y",
    "x",
    "v",
    "map-3-64x64.x",
    "at-9x9.y",
)
NUMBERS = st.integers(-(10**12), 10**12).map(str)
WORDS = st.sampled_from(
    ["unit", "map", "deconvnet", "crop", "exact", "activation", "contribution", "starter", "zfnet"]
)
TEXTS = st.one_of(
    st.text(max_size=30),
    NUMBERS,
    WORDS,
    st.lists(NUMBERS, max_size=5).map(",".join),
    st.sampled_from(
        ["-0", "1e9", "٣", "³", "1_000", " 7 ", "0x1f", "6,7", "NaN", "٣,٤", "1,", "\0"]
    ),
)


@contextlib.contextmanager
def refused_in_a_sentence() -> Iterator[None]:
    """Let what is read be right, or refused with a sentence that can be written."""
    try:
        yield
    except models.DeconvnetError as error:
        assert sentence(error).encode()


# links, forms and headers


@SEEDED
@given(query=st.dictionaries(st.sampled_from([*NAMES, *STATE]), TEXTS, max_size=6), layer=TEXTS)
def test_a_link_is_read_or_refused_and_read_again_as_it_was(
    query: dict[str, str], layer: str
) -> None:
    with refused_in_a_sentence():
        link = read_link("0" * 32, "zfnet", layer, query)
        again = read_link("0" * 32, "zfnet", layer, dict(QueryParams(str(link).partition("?")[2])))
        assert again == link
    read_click(query)


@SEEDED
@given(sent=st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=6))
def test_a_form_is_read_or_refused_and_an_address_says_the_same(sent: dict[str, str]) -> None:
    sent = {name: value for name, value in sent.items() if value.strip()}
    with refused_in_a_sentence():
        choice = from_sent(models.Choice, sent)
        assert read_query(models.Choice, write_query(choice)) == choice


COLUMNS = st.one_of(
    TEXTS,
    st.tuples(TEXTS, TEXTS, TEXTS).map(lambda names: "/images/" + "/".join(names)),
    TEXTS.map(lambda text: f"//{text}/images/a/b/c"),
    TEXTS.map(lambda text: f"/images/{'0' * 32}/zfnet/conv5?{text}={text}"),
)


@SEEDED
@given(query=st.dictionaries(st.sampled_from(["left", "right", "third", "change"]), COLUMNS))
def test_columns_of_a_comparison_are_read_or_refused(query: dict[str, str]) -> None:
    with refused_in_a_sentence():
        assert all(column.image for column in read_columns(query, "127.0.0.1"))


PARTS = st.one_of(TEXTS, st.tuples(TEXTS, TEXTS).map(lambda pair: f"{pair[0]}: {pair[1]}"))
EDGES = ("top", "left", "bottom", "right")


@SEEDED
@given(
    parts=st.lists(PARTS, max_size=3).map(" | ".join),
    part=TEXTS,
    edges=st.lists(TEXTS, min_size=4, max_size=4),
)
def test_parts_marked_on_photos_are_read_or_refused(
    parts: str, part: str, edges: list[str]
) -> None:
    query = QueryParams([("parts", parts), ("part", part), *zip(EDGES, edges, strict=True)])
    for reading in (marks, marked):
        with refused_in_a_sentence():
            reading("/experiments/correspondence", query)
    with refused_in_a_sentence():
        read = models.parse_parts(parts)
        assert models.parse_parts(models.write_parts(read)) == read


@SEEDED
@given(
    accept=st.one_of(
        st.text(max_size=60),
        st.lists(st.sampled_from(["image/png", "*/*", "q=0", ";q=x", ",", "text/*", ";"])).map(
            "".join
        ),
    )
)
def test_an_accept_header_chooses_what_there_is_or_is_refused(accept: str) -> None:
    with contextlib.suppress(NotAcceptable):
        assert answers.negotiate(accept) in answers.SUFFIXES


# files


@SEEDED
@given(content=st.binary(max_size=80))
def test_fields_of_a_message_lie_within_it_or_it_is_not_whole(content: bytes) -> None:
    with contextlib.suppress(ValueError, IndexError):
        for _, start, end in fields(content, 0, len(content)):
            assert 0 < start <= end <= len(content)


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=10),
        st.sampled_from(["RGB", "BGR", "L", "pool-norm", "norm-pool", 32, 28, 1.0, [0.5], [0.1]]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner)
    ),
    max_leaves=8,
)
PREPROCESSING = ("size", "resize", "channel_order", "scale", "mean", "std")
NORM = ("order", "size", "alpha", "beta", "k")
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "preprocessing": st.one_of(VALUES, st.dictionaries(st.sampled_from(PREPROCESSING), VALUES)),
        "norm": st.one_of(VALUES, st.dictionaries(st.sampled_from(NORM), VALUES)),
        "classes": VALUES,
        "source": VALUES,
        "unbiased": VALUES,
        "naming": VALUES,
        "layers": VALUES,
    },
)
TENSORS = own("lenet5")


@FEW
@given(metadata=st.one_of(METADATA.map(json.dumps), st.text(max_size=40)))
def test_whatever_a_file_says_of_itself_it_is_a_network_or_a_sentence(metadata: str) -> None:
    kind = architecture("lenet5")
    with TemporaryDirectory() as folder, refused_in_a_sentence():
        file = Path(folder) / "lenet5.safetensors"
        save_file(TENSORS, file, {"deconvnet": metadata.encode(errors="replace").decode()})
        network = assemble(read(file, kind), kind, "yours")
        assert 8 <= network.preprocessing.size <= 1024


PICTURES = [
    photo(40, 30, kind=kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
]
SPOILED = st.builds(
    lambda data, edits, cut, tail: _spoil(data, edits, cut) + tail,
    st.sampled_from(PICTURES),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=4),
    st.one_of(st.none(), st.floats(0, 1)),
    st.binary(max_size=8),
)


def _spoil(data: bytes, edits: list[tuple[float, bytes]], cut: float | None) -> bytes:
    """Overwrite a picture at some places, mostly near its head, and cut it off."""
    spoiled = bytearray(data)
    for place, content in edits:
        at = int(place**3 * (len(data) - 1))
        spoiled[at : at + len(content)] = content
    return bytes(spoiled if cut is None else spoiled[: int(cut * len(data))])


@SEEDED
@given(data=st.one_of(SPOILED, st.binary(max_size=64)))
def test_a_spoiled_picture_is_pixels_or_a_sentence(data: bytes) -> None:
    limits = Limits(pixels=1_000_000, side=2000)
    webp_size(data.ljust(30, b"\0"))
    assert 0 <= count_scans(data, 100) <= 101
    try:
        pixels = decode(data, limits)
    except (UnreadablePhoto, PhotoTooLarge) as error:
        assert sentence(error)
    else:
        assert len(pixels.data) == 3 * pixels.width * pixels.height
        assert pixels.width * pixels.height <= limits.pixels


# the whole endpoint


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("fuzz")
    with client_in(folder, networks="lenet5", random_weights=True, raises=False) as client:
        yield client


FORM = {"Content-Type": "multipart/form-data; boundary=edge"}


def send(client: TestClient, body: bytes) -> Any:
    answer = client.post("/visualize", content=body, headers=FORM)
    assert answer.status_code in {200, 400, 404, 413, 415, 422}, answer.text
    if answer.status_code != 200:
        assert answer.json()["detail"] and answer.json()["status"] == answer.status_code
    return answer


@FEW
@given(data=SPOILED, layer=st.sampled_from(["c1", "c2", "fc3"]))
def test_a_spoiled_picture_is_visualized_or_refused(
    client: TestClient, data: bytes, layer: str
) -> None:
    send(client, multipart(data, layer=layer, top="2"))


FIELDS = st.dictionaries(st.sampled_from([*NAMES, "image_id", "colour"]), TEXTS, max_size=5)
WHOLE = multipart(PICTURES[0], layer="c1", top="2")


@FEW
@given(sent=FIELDS)
def test_a_form_of_anything_is_answered_or_refused(
    client: TestClient, sent: dict[str, str]
) -> None:
    written = {name: value.replace("\0", "") for name, value in sent.items()}
    body = (
        multipart(PICTURES[0], **written) if "image_id" not in sent else multipart(b"", **written)
    )
    send(client, body)


# a body that ends within a file leaves that to Python to close, as python-multipart does
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@FEW
@given(at=st.floats(0, 1), content=st.binary(min_size=1, max_size=4), end=st.booleans())
def test_a_spoiled_body_is_answered_or_refused(
    client: TestClient, at: float, content: bytes, end: bool
) -> None:
    place = int(at * (len(WHOLE) - 1))
    send(client, WHOLE[:place] if end else WHOLE[:place] + content + WHOLE[place + len(content) :])
