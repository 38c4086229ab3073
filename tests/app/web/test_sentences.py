"""Every error, wherever it is raised, has one sentence made of the fields that it carries."""

import ast
import pickle
import string
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

import models
from app import storage
from app.engine import device, downloads, engine, experiments, jobs, places
from app.photos import decoders, decoding, uploads
from app.web import errors
from app.web.sentences import SENTENCES, sentence
from models.weights import download

ROOT = Path(__file__).parents[3]
HOMES = (
    models.errors,
    download,
    downloads,
    decoding,
    decoders,
    storage,
    uploads,
    device,
    engine,
    experiments,
    jobs,
    places,
    errors,
)
MADE = {"how", "network", "megabytes", "in_megabytes"}
"""What ``sentence`` makes of the fields `info` and `nbytes`."""
TYPED = {
    "UnknownNetwork": {"network", "known"},
    "UnknownLayer": {"network", "layer", "known"},
    "UnreachedLayer": {"network", "layer", "size"},
    "OutOfMemory": {"step"},
    "WeightsArriving": {"network", "nbytes", "retry_after"},
}
"""The fields of errors whose constructors take them by place."""


def kinds() -> dict[str, type[models.DeconvnetError]]:
    found = {}
    for home in HOMES:
        for name, each in vars(home).items():
            if isinstance(each, type) and issubclass(each, models.DeconvnetError):
                found[name] = each
    return found


def raised() -> Iterator[tuple[str, str, str, set[str]]]:
    """Yield (where, class, reason, fields) of every error that the code makes."""
    known = kinds()
    for package in ("app", "models"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Raise) and node.exc is not None:
                    made = node.exc if isinstance(node.exc, ast.Call) else None
                    name = getattr(node.exc, "attr", getattr(node.exc, "id", ""))
                    if made is None and name in known:
                        yield f"{file.name}:{node.lineno}", name, "", set()
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    if name in known and file.name != "errors.py":
                        yield f"{file.name}:{node.lineno}", name, *of_call(name, node)


def of_call(name: str, node: ast.Call) -> tuple[str, set[str]]:
    fields = {keyword.arg for keyword in node.keywords if keyword.arg}
    if any(keyword.arg is None for keyword in node.keywords):  # **size, **where
        fields |= {"channels", "height", "width", "file", "folder"}
    if name in TYPED:
        return "", TYPED[name]
    first = node.args[0] if node.args else None
    reason = first.value if isinstance(first, ast.Constant) else ""
    return str(reason), fields


RAISED = list(raised())


def keys(name: str, reason: str) -> list[str]:
    ending = f".{reason}" if reason else ""
    return [f"{kind.__name__}{ending}" for kind in kinds()[name].__mro__]


def asked(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def test_errors_are_found_where_they_are_raised() -> None:
    assert len(RAISED) > 80
    assert {"InvalidChoice", "WeightsInvalid", "UnreadablePhoto", "OtherFile"} <= {
        name for _, name, _, _ in RAISED
    }


@pytest.mark.parametrize(
    ("where", "name", "reason", "fields"), RAISED, ids=[f"{r[0]}-{r[1]}" for r in RAISED]
)
def test_every_error_raised_has_a_sentence_of_its_fields(
    where: str, name: str, reason: str, fields: set[str]
) -> None:
    found = [SENTENCES[key] for key in keys(name, reason) if key in SENTENCES]
    assert found, f"{where}: no sentence for {name}.{reason}"
    made = MADE if fields & {"info", "nbytes"} else {"in_megabytes"}
    assert asked(found[0]) <= fields | made, where


def test_every_sentence_is_of_an_error_that_is_raised() -> None:
    used = {key for _, name, reason, _ in RAISED for key in keys(name, reason)}
    used |= {"TransferError.status", "WeightsMissing.no_fetch", "WeightsInvalid.no_fetch"}
    assert not set(SENTENCES) - used


@pytest.mark.parametrize("name", kinds())
def test_every_error_has_a_status_or_is_only_a_cause(name: str) -> None:
    kind = kinds()[name]
    causes = (download.TransferError, downloads.DownloadEnded)
    trees = (
        models.DeconvnetError,
        models.ExamplesError,
        models.WeightsError,
    )  # never raised themselves
    assert kind in trees or issubclass(kind, causes) or set(kind.__mro__) & set(errors.STATUS)


def test_an_error_prints_its_fields_and_no_sentence() -> None:
    error = models.UnknownLayer("alexnet", "conv9", ["conv1", "pool1"])
    assert str(error) == "network='alexnet', layer='conv9', known=('conv1', 'pool1')"
    assert sentence(error) == "alexnet has no layer 'conv9'; it has conv1, pool1"


def test_the_cause_of_an_error_is_a_sentence_within_its_own() -> None:
    cause = download.OtherFile("other_size", size=12_000, published=13_000)
    error = models.WeightsInvalid("no_fetch", file="a.pth", url="http://here", cause=cause)
    assert sentence(error) == (
        "a.pth could not be fetched from http://here: "
        "the server has 12,000 bytes where 13,000 were published."
    )


def test_a_long_list_of_tensors_is_written_in_short() -> None:
    error = models.WeightsInvalid("lacks", file="a", keys=list("abcdef"), network="zfnet")
    assert sentence(error) == "a lacks a, b, c, d and 2 more, which zfnet needs"


@pytest.mark.parametrize(
    "error",
    [
        models.UnknownLayer("alexnet", "conv9", ["conv1"]),
        decoding.PhotoTooLarge("side", width=9, height=1, limit=4),
        models.OutOfMemory("ReLU()"),
    ],
)
def test_an_error_comes_whole_out_of_another_process(error: models.DeconvnetError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (again.reason, again.fields) == (error.reason, error.fields)


def test_the_science_writes_no_sentence_that_names_a_command_or_a_setting() -> None:
    for file in (ROOT / "models").rglob("*.py"):
        tree = ast.parse(file.read_text())
        texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
        docstrings = {ast.get_docstring(n, clean=False) for n in ast.walk(tree) if documented(n)}
        for text in texts - docstrings:
            if isinstance(text, str):
                assert "DECONVNET_" not in text and "deconvnet weights" not in text, file


Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documented(node: ast.AST) -> TypeGuard[Documented]:
    return isinstance(node, Documented)
