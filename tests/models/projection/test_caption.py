"""What a report says of a figure, and whom it cites."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from PIL import Image

from models import Choice, Network, Visualization, architectures, bibtex, caption
from models import visualize as see
from models.projection.caption import METHODS, digits
from models.projection.choice import Method

pytestmark = pytest.mark.usefixtures("one_thread")


def shown(network: Network, cat: Image.Image, **chosen: Any) -> Visualization:
    return see(network, cat, Choice(**chosen))


def test_a_caption_names_all_that_the_figure_depends_on(toy: Network, cat: Image.Image) -> None:
    view = shown(toy, cat, layer="conv2", method="guided", fit="pad", top=2)
    said = caption(view)
    strongest = view.projections[0]
    assert strongest.unit and strongest.scale
    row, column = strongest.unit
    assert said.startswith("toy, conv2: projections of 2 feature maps")
    assert "guided backpropagation" in said and "padded to a square" in said
    numbers = f"{strongest.activation:#.3g}, {strongest.scale:#.3g}"
    assert f"{strongest.feature} ({row}, {column}): {numbers}" in said
    scales = sorted(each.scale or 0 for each in view.projections)
    assert f"{scales[0]:#.3g} to {scales[1]:#.3g}" in said
    assert "nothing was learned" in said


def test_learned_weights_are_named_by_their_hash(toy: Network, cat: Image.Image) -> None:
    from dataclasses import replace

    view = shown(toy, cat, top=1)
    provenance = replace(view.provenance, source="starter", trained=True, sha256="0123abcd" * 8)
    said = caption(replace(view, provenance=provenance))
    assert "Starter weights, sha256 0123abcd." in said


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (128.0, "128"), (50.0, "50.0"), (2750.4, "2,750"), (-0.01234, "−0.0123")],  # noqa: RUF001
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_a_caption_names_every_method() -> None:
    assert set(METHODS) == set(get_args(Method))


@pytest.mark.parametrize(
    ("method", "cited"),
    [("deconvnet", []), ("guided", ["springenberg2015"]), ("gradient", ["simonyan2014"])],
)
def test_the_papers_of_the_method_are_cited(
    toy: Network, cat: Image.Image, method: str, cited: list[str]
) -> None:
    entries = bibtex([shown(toy, cat, top=1, method=method)])
    assert entries.startswith("@inproceedings{zeiler2014visualizing,")
    assert entries.count("@") == 1 + len(cited)
    assert all(name in entries for name in cited)


@pytest.mark.parametrize("name", architectures())
def test_every_network_has_an_entry_whose_braces_close(name: str) -> None:
    entry = architectures()[name].bibtex
    assert entry.startswith("@") and entry.count("{") == entry.count("}")
    assert "author" in entry and "year" in entry
