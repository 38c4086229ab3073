"""Photos become pixels as torchvision's preset makes them, and boxes find their way back."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.functional import InterpolationMode

from models import Fit
from models.networks.preprocessing import Box, Preprocessing, frame, framed, to_pixels

PRESET = Preprocessing()
CAFFE = Preprocessing(
    size=227, channel_order="BGR", scale=1.0, mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0)
)
DIGITS = Preprocessing(size=32, resize=28, channel_order="L", mean=(0.1307,), std=(0.3081,))

SIZES = [
    (640, 480),
    (480, 640),
    (256, 256),
    (224, 224),
    (225, 300),
    (100, 60),
    (33, 100),
    (301, 299),
    (1, 1),
    (3, 2),
    (700, 257),
    (255, 257),
]


def photo(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Draw noise over a slope: every pixel counts, and every place has its own colour."""
    width, height = size
    chance = np.random.default_rng(width * 1000 + height)
    slope = np.add.outer(np.arange(height) * 90 / height, np.arange(width) * 90 / width)
    levels = slope[..., None] + chance.integers(0, 75, (height, width, 3))
    return Image.fromarray(levels.astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_equal_torchvision_s_preset_bit_for_bit(size: tuple[int, int]) -> None:
    ours = to_pixels(framed(photo(size), PRESET), PRESET)
    assert ours.shape == (1, 3, 224, 224) and ours.dtype == torch.float32
    assert torch.equal(ours[0], ImageClassification(crop_size=224)(photo(size)))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1", "HSV", "YCbCr"])
def test_every_mode_is_read_as_rgb(mode: str) -> None:
    given = photo((400, 300), mode)
    expected = ImageClassification(crop_size=224)(given.convert("RGB"))
    assert torch.equal(to_pixels(framed(given, PRESET), PRESET)[0], expected)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(1, 340), st.integers(1, 340), st.sampled_from([(224, 256), (227, 256), (96, 80)])
)
def test_any_size_up_to_the_extreme_equals_torchvision(
    width: int, height: int, sides: tuple[int, int]
) -> None:
    size, resize = sides
    preprocessing = Preprocessing(size=size, resize=resize)
    if resize * max(width, height) / min(width, height) > 4 * size:
        return
    ours = to_pixels(framed(photo((width, height)), preprocessing), preprocessing)
    preset = ImageClassification(crop_size=size, resize_size=resize)
    assert torch.equal(ours[0], preset(photo((width, height))))


@pytest.mark.parametrize("size", [(4000, 120), (120, 4000), (1500, 100), (1000, 3), (2, 900)])
def test_an_extreme_photo_is_cropped_first_and_looks_the_same(size: tuple[int, int]) -> None:
    ours = np.asarray(framed(photo(size), PRESET), int)
    across, down = (round(256 * side / min(size)) for side in size)
    resized = photo(size).resize((across, down), Image.Resampling.BILINEAR)
    left, top = round((across - 224) / 2), round((down - 224) / 2)
    whole = np.asarray(resized.crop((left, top, left + 224, top + 224)), int)
    assert np.abs(ours - whole).max() <= 1


def test_an_extreme_photo_is_never_resized_whole() -> None:
    thread = Image.new("RGB", (7, 700_000))  # its shorter side at 256, it would take 20 GB
    assert framed(thread, PRESET).size == (224, 224)


def test_the_margin_around_a_small_digit_is_black() -> None:
    white = framed(Image.new("L", (28, 28), 255), DIGITS)
    levels = np.asarray(white)
    assert white.size == (32, 32) and white.mode == "L"
    assert (levels[2:30, 2:30] == 255).all() and levels.sum() == 255 * 28 * 28


def test_a_digit_s_pixels_are_the_lesson_s() -> None:
    pixels = to_pixels(framed(Image.new("L", (28, 28), 255), DIGITS), DIGITS)
    assert pixels.shape == (1, 1, 32, 32)
    torch.testing.assert_close(
        pixels[0, 0, 16, 16].item(), (1 - 0.1307) / 0.3081, rtol=1e-6, atol=0
    )
    torch.testing.assert_close(pixels[0, 0, 0, 0].item(), -0.1307 / 0.3081, rtol=1e-6, atol=0)


def test_caffe_s_pixels_are_blue_first_from_0_to_255_less_the_mean() -> None:
    pixels = to_pixels(Image.new("RGB", (227, 227), (10, 20, 30)), CAFFE)
    assert pixels[0, :, 0, 0].tolist() == [30 - 104, 20 - 117, 10 - 123]


# Fits


def test_stretching_shows_the_whole_photo_at_another_aspect() -> None:
    ours = np.asarray(framed(photo((300, 200)), PRESET, "stretch"))
    theirs = photo((300, 200)).resize((224, 224), Image.Resampling.BILINEAR)
    assert np.array_equal(ours, np.asarray(theirs))


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (224, 5), (1000, 10), (50, 50)])
def test_padding_shows_the_whole_photo_on_the_mean(size: tuple[int, int]) -> None:
    picture = framed(photo(size), PRESET, "pad")
    place = frame(size, PRESET, "pad")
    width, height = round(size[0] * place.scale_x), round(size[1] * place.scale_y)
    left, top = int(place.left), int(place.top)
    assert max(width, height) == 224
    inside = picture.crop((left, top, left + width, top + height))
    expected = photo(size).resize((width, height), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(inside), np.asarray(expected))
    levels = np.asarray(picture).copy()
    levels[top : top + height, left : left + width] = (124, 116, 104)
    assert (levels == (124, 116, 104)).all()


@pytest.mark.parametrize("preprocessing", [PRESET, CAFFE, DIGITS], ids=["RGB", "BGR", "L"])
def test_a_padded_margin_is_nothing_to_the_network(preprocessing: Preprocessing) -> None:
    picture = framed(photo((300, 100)), preprocessing, "pad")
    corner = to_pixels(picture, preprocessing)[0, :, 0, 0]
    level = 0.5 * preprocessing.scale / min(preprocessing.std)
    assert corner.abs().max() <= level * 1.001  # half a grey level


@pytest.mark.parametrize("fit", get_args(Fit))
@pytest.mark.parametrize("preprocessing", [PRESET, CAFFE, DIGITS], ids=["RGB", "BGR", "L"])
@pytest.mark.parametrize("size", [*SIZES, (5000, 9), (9, 5000)], ids=str)
def test_every_fit_gives_the_network_s_own_size(
    size: tuple[int, int], preprocessing: Preprocessing, fit: str
) -> None:
    side = preprocessing.size
    assert framed(photo(size), preprocessing, fit).size == (side, side)


# Where the photo lies


@pytest.mark.parametrize("fit", get_args(Fit))
@pytest.mark.parametrize("preprocessing", [PRESET, DIGITS], ids=["photo", "digit"])
@pytest.mark.parametrize("size", [*SIZES, (5000, 90), (90, 5000)], ids=str)
def test_a_point_of_the_photo_comes_back_from_the_input(
    size: tuple[int, int], preprocessing: Preprocessing, fit: str
) -> None:
    place = frame(size, preprocessing, fit)
    seen = place.kept
    for share in (0.02, 0.4, 0.98):
        x = seen.left + share * (seen.right - seen.left)
        y = seen.top + share * (seen.bottom - seen.top)
        at = place.to_input(x, y)
        assert at is not None
        box = place.to_photo(Box(at[0], at[1], at[0] + 1, at[1] + 1))
        assert box.left - 1e-6 <= x <= box.right + 1e-6
        assert box.top - 1e-6 <= y <= box.bottom + 1e-6


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_padding_and_stretching_keep_the_whole_photo(size: tuple[int, int], fit: str) -> None:
    kept = frame(size, PRESET, fit).kept
    assert (kept.top, kept.left) == (0, 0)
    assert kept.right == pytest.approx(size[0]) and kept.bottom == pytest.approx(size[1])


def test_cropping_keeps_the_middle_seven_eighths_of_the_shorter_side() -> None:
    kept = frame((640, 480), PRESET).kept
    assert kept.bottom - kept.top == pytest.approx(480 * 224 / 256)
    assert kept.top + kept.bottom == pytest.approx(480)
    assert kept.right - kept.left == pytest.approx(kept.bottom - kept.top, rel=0.005)


def test_what_was_cropped_away_is_nowhere_in_the_input() -> None:
    place = frame((640, 480), PRESET)
    assert place.to_input(1, 240) is None and place.to_input(320, 479) is None
    assert place.to_input(320, 240) == (112, 112)


@pytest.mark.parametrize("size", [(640, 480), (300, 900)], ids=str)
def test_a_marked_pixel_is_found_where_the_frame_says(size: tuple[int, int]) -> None:
    dark = Image.new("RGB", size)
    x, y = size[0] // 2 + 20, size[1] // 2 - 30
    dark.paste((255, 255, 255), (x - 4, y - 4, x + 5, y + 5))
    for fit in get_args(Fit):
        levels = np.asarray(framed(dark, PRESET, fit).convert("L"), float)
        levels = (levels - 125).clip(0)  # a padded margin is grey
        rows, columns = np.indices(levels.shape) + 0.5
        middle = (levels * rows).sum() / levels.sum(), (levels * columns).sum() / levels.sum()
        place = frame(size, PRESET, fit)
        expected = (y + 0.5) * place.scale_y + place.top, (x + 0.5) * place.scale_x + place.left
        assert middle == pytest.approx(expected, abs=0.51), fit


def test_the_preset_that_is_compared_is_bilinear_with_antialias() -> None:
    preset = ImageClassification(crop_size=224)
    assert preset.interpolation == InterpolationMode.BILINEAR and preset.antialias
