"""Figures for reports: every picture with its own pixels, everything labelled, the same bytes."""

from __future__ import annotations

import base64
import copy
import io
import re
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from models import Choice, FigureFile, Network, Visualization, caption, to_comparison, to_figure
from models import visualize as see
from models.projection.choice import FigureFormat
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")

FORMATS = get_args(FigureFormat)


def shown(network: Network, cat: Image.Image, **chosen: Any) -> Visualization:
    return see(network, cat, Choice(**chosen))


def pictures(svg: bytes) -> Sequence[Image.Image]:
    """Return the pictures inside an SVG, in their order, but for the scale at its end."""
    found = re.findall(rb"data:image/png;base64,\s*([\w+/=\s]+)\"", svg)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found][:-1]


def words(svg: bytes) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.decode())


def same(one: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(one.convert("RGB")), np.asarray(other.convert("RGB")))


def test_every_projection_and_patch_keeps_its_pixels(toy: Network, cat: Image.Image) -> None:
    view = shown(toy, cat, layer="conv2", top=4)
    drawn = pictures(to_figure(view))
    expected = [p.picture for p in view.projections] + [p.patch for p in view.projections]
    assert len(drawn) == 8
    assert all(each and same(one, each) for one, each in zip(drawn, expected, strict=True))


def test_every_tile_says_its_map_its_unit_and_its_activation(
    toy: Network, cat: Image.Image
) -> None:
    view = shown(toy, cat, layer="conv2", top=4)
    said = words(to_figure(view))
    assert said[0] == "toy, conv2"
    for each in view.projections:
        assert each.unit and f"map {each.feature}" in said
        assert f"({each.unit[0]}, {each.unit[1]})" in said
        assert f"{each.activation:#.3g}" in said and f"s = {each.scale:#.3g}" in said


def test_a_class_score_is_named_by_its_class(toy: Network, cat: Image.Image) -> None:
    named = copy.deepcopy(toy)
    named.classes = ("ant", "bee", "a very long name indeed", "dog")
    view = shown(named, cat, layer="fc4", features=(1, 2))
    assert {each.label for each in view.projections} == {"bee", "a very long name indeed"}
    said = " ".join(words(to_figure(view)))
    assert "bee" in said and "a very long nam…" in said and "map 1" not in said
    assert "1 “bee” (0, 0)" in caption(view) and "2 “a very long name indeed”" in caption(view)
    below = shown(named, cat, layer="fc3", features=(1, 2))
    assert [each.label for each in below.projections] == [None, None]


def test_what_all_maps_saw_is_drawn_once(toy: Network, cat: Image.Image) -> None:
    view = shown(toy, cat, layer="conv2", seed="map", top=4)
    svg = to_figure(view)
    assert len(pictures(svg)) == 5
    assert "(b) What they saw" in words(svg)


def test_a_silent_unit_is_said_to_be_silent(dead: Network, cat: Image.Image) -> None:
    view = shown(dead, cat, layer="conv2", features=(3, 5))
    svg = to_figure(view)
    assert "silent here" in words(svg)
    assert "3 (" in caption(view) and "silent" in caption(view)


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_view_gives_the_same_figure(toy: Network, cat: Image.Image, form: Any) -> None:
    view = shown(toy, cat, layer="conv2", top=2)
    file = FigureFile(form, 60)
    assert to_figure(view, file) == to_figure(view, file)
    assert b"Date" not in to_figure(view, file)


def test_a_png_has_the_size_that_was_asked_for_and_says_what_it_shows(
    toy: Network, cat: Image.Image
) -> None:
    view = shown(toy, cat, layer="conv2", top=4)
    drawn = Image.open(io.BytesIO(to_figure(view, FigureFile("png", 100))))
    assert drawn.width == 700
    assert drawn.info["Description"] == caption(view)
    assert drawn.info["dpi"] == pytest.approx((100, 100), abs=0.1)


def test_views_beside_each_other_are_named_and_lettered(toy: Network, cat: Image.Image) -> None:
    one = shown(toy, cat, layer="conv1", top=1)
    other = shown(toy, cat, layer="conv2", method="guided", top=4)
    svg = to_comparison([("first", one), ("second", other)])
    said = words(svg)
    assert said[:4] == ["toy, conv1", "first", "toy, conv2", "second"]
    assert [each for each in said if each.startswith("(b) ")] == ["(b) Projections: guided"]
    assert len(pictures(svg)) == 2 * (1 + 4)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (FigureFile("gif"), "format is one of svg, pdf, png, not 'gif'"),  # type: ignore[arg-type]
        (FigureFile("png", 49), "dpi is 50 to 600, not 49"),
        (FigureFile("png", 601), "dpi is 50 to 600, not 601"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(
    toy: Network, cat: Image.Image, file: FigureFile, said: str
) -> None:
    from models import InvalidChoice

    with refused(InvalidChoice, match=said):
        to_figure(shown(toy, cat, top=1), file)
