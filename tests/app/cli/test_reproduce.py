"""`deconvnet reproduce`: one page that holds all it shows, and goes on where it was."""

# ruff: noqa: F811  (a fixture is imported, and then named by who takes it)

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import models
from app.cli.reproduction import FIGURE_3, MARKS, PLANS, Section
from tests.app.test_folder_experiments import place  # noqa: F401
from tests.serving import Run, photo

ASKED = ("--network", "lenet5", "--folds", 1)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "disc.png").write_bytes(photo(64, 64, kind="PNG"))
    return tmp_path / "disc.png"


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Return a folder of two classes with as many photos as the paper's protocol takes."""
    chance = np.random.default_rng(0)
    for name, level in (("dark", 40), ("bright", 210)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(32):
            levels = chance.integers(level - 25, level + 25, (32, 32), dtype=np.uint8)
            Image.fromarray(levels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def test_a_page_and_a_pdf_hold_all_that_they_show(
    run: Run, picture: Path, classes: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "page.html"
    code, said, _ = run("reproduce", picture, *ASKED, "--data", classes, "-o", output)
    assert code == 0, said
    text = output.read_text()
    for title in ("Figure 2:", "Figure 3:", "Figure 5:", "Figure 7:", "Table 2:", "Tables 4 and 7"):
        assert f">{title}" in text
    assert all(
        each.startswith("data:image/png;base64,") for each in re.findall(r'src="(.*?)"', text)
    )
    assert all(each.startswith("#") for each in re.findall(r'href="(.*?)"', text))
    assert "<script" not in text and "url(" not in text
    assert "44.8" in text  # the paper's, beside ours
    assert output.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    for left in ("lenet5 see grey", "parts must be marked", "it takes a training run"):
        assert left in text and left in said


def test_a_training_run_is_followed_and_too_few_photos_are_said(
    run: Run, picture: Path, place: Path, tmp_path: Path
) -> None:
    folders = ("--data", place / "photos", "--run", place / "run")
    code, said, _ = run("reproduce", picture, *ASKED, *folders, "-o", tmp_path / "page.html")
    assert code == 0, said
    text = (tmp_path / "page.html").read_text()
    assert ">Figure 4: features while training" in text and '<th scope="col">epoch 2' in text
    assert "has 6 photos: to learn from 30" in said


def test_what_was_made_is_not_made_again(run: Run, picture: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / f"{number}.html" for number in range(2)]
    assert run("reproduce", picture, *ASKED, "-o", outputs[0])[0] == 0
    kept = sorted(tmp_path.rglob("reproduction/*.json"))
    times = [each.stat().st_mtime_ns for each in kept]
    kept[0].write_bytes(b"damaged")
    assert run("reproduce", picture, *ASKED, "-o", outputs[1])[0] == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    again = [each.stat().st_mtime_ns for each in kept]
    assert again[0] != times[0] and again[1:] == times[1:]


def test_a_file_of_another_kind_is_refused(run: Run, picture: Path) -> None:
    code, _, said = run("reproduce", picture, "-o", "page.txt")
    assert code != 0 and "must end in .html" in said


def test_the_network_s_maps_are_as_large_as_the_paper_prints() -> None:
    sides = {each.name: each.shape.height for each in models.describe_layers("zfnet")}
    assert {name: sides[name] for name in FIGURE_3} == FIGURE_3


def test_the_marks_on_the_samples_lie_in_the_network_s_input() -> None:
    parts = models.parse_parts(MARKS)
    assert [part.name for part in parts] == ["right eye", "left eye", "nose", models.OBJECT]
    for part in parts:
        for top, left, bottom, right in part.masks:
            assert 0 <= top < bottom <= 224 and 0 <= left < right <= 224


def test_a_section_is_read_as_it_was_written() -> None:
    section = Section("t", "p", "d", ("a", "b"), (("1", "2"),), (("words", b"\x89PNG"),))
    assert Section.read(section.write()) == section


def test_every_figure_has_a_title_of_its_own() -> None:
    assert len({plan.title for plan in PLANS}) == len(PLANS)
