import io
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from app.cli.terminal import interruptible
from tests.serving import Run, photo

LENET = ("--network", "lenet5")


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, Path]:
    files = tmp_path / "a.png", tmp_path / "b.png"
    for file, colour in zip(files, ("orange", "white"), strict=True):
        file.write_bytes(photo(64, 64, colour, kind="PNG"))
    return files


@pytest.mark.parametrize("suffix", ["svg", "png", "npz", "csv", "json"])
def test_occlusion_becomes_a_file(
    run: Run, photos: tuple[Path, Path], tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / "new" / f"out.{suffix}"
    asked = (*LENET, "--square", 8, "--stride", 8, "--target", 3)
    code, said, _ = run("experiment", "occlusion", photos[0], *asked, "-o", output)
    assert code == 0 and said.startswith(f"{output}: weights: starter, sha256 ")
    data = output.read_bytes()
    match suffix:
        case "npz":
            assert np.load(io.BytesIO(data))["probability"].shape == (4, 4)
        case "json":
            assert json.loads(data)["target"] == {"class": 3, "label": "3"}
        case "csv":
            assert data.decode().count("\n") == 17
        case "png":
            assert Image.open(io.BytesIO(data)).format == "PNG"
        case "svg":
            assert b"</svg>" in data


def test_invariance_takes_several_photos(
    run: Run, photos: tuple[Path, Path], tmp_path: Path
) -> None:
    output = tmp_path / "out.npz"
    assert run("experiment", "invariance", *photos, *LENET, "--steps", 3, "-o", output)[0] == 0
    assert np.load(output)["rotation_probability"].shape == (2, 3)


def test_correspondence_takes_a_box_for_each_photo(
    run: Run, photos: tuple[Path, Path], tmp_path: Path
) -> None:
    output = tmp_path / "out.json"
    parts = ("--parts", "disc: 8,8,16,16; 8,8,16,16", "--draws", 2)
    assert run("experiment", "correspondence", *photos, *LENET, *parts, "-o", output)[0] == 0
    assert json.loads(output.read_text())["parts"] == ["disc", "random"]


def test_what_cannot_be_had_is_a_sentence(
    run: Run, photos: tuple[Path, Path], tmp_path: Path
) -> None:
    output = ("-o", tmp_path / "out.npz")
    code, _, said = run("experiment", "occlusion", photos[0], *LENET, "--square", 33, *output)
    assert code == 1 and "square is 1 to 32, the side of the network's input, not 33" in said
    parts = ("--parts", "disc: 8,8,16,16")
    code, _, said = run("experiment", "correspondence", photos[0], *LENET, *parts, *output)
    assert code == 1 and "give at least 2 photos, not 1" in said
    code, _, said = run("experiment", "occlusion", photos[0], "-o", tmp_path / "out.pdf")
    assert code == 2 and "must end in .svg, .png, .npz, .csv, .json" in said


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Return a folder of two classes, six photos each."""
    for name, colour in (("a", "orange"), ("b", "white")):
        folder = tmp_path / "classes" / name
        folder.mkdir(parents=True)
        for number in range(6):
            (folder / f"{number}.png").write_bytes(photo(40 + number, 40, colour, kind="PNG"))
    return tmp_path / "classes"


def test_evolution_follows_a_training_run(run: Run, classes: Path, tmp_path: Path) -> None:
    trained = ("--network", "lenet5", "--epochs", 2, "--batch", 6)
    assert run("train", "--data", classes, "--out", tmp_path / "run", *trained)[0] == 0
    output = tmp_path / "out.json"
    asked = ("--features", "1,2", "--layer", "c1")
    assert run("experiment", "evolution", tmp_path / "run", classes, *asked, "-o", output)[0] == 0
    assert json.loads(output.read_text())["epochs"] == [1, 2]
    code, _, said = run("experiment", "evolution", tmp_path, classes, "-o", output)
    assert code == 1 and "holds no weights of epochs" in said


def test_probe_keeps_the_features(run: Run, classes: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    asked = (*LENET, "--layers", "c1,p2", "--train", 4, "--folds", 1)
    assert run("experiment", "probe", classes, *asked, "-o", output)[0] == 0
    assert [row.partition(",")[0] for row in output.read_text().splitlines()[1:]] == ["c1", "p2"]
    assert len(list((tmp_path / "data" / "vectors").rglob("*.npy"))) == 2


def test_an_interrupted_experiment_says_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    for kept, said in (
        (None, "Interrupted; nothing of it is kept.\n"),
        ("a is kept", "Interrupted; a is kept. The same command goes on from there.\n"),
    ):
        with pytest.raises(typer.Exit), interruptible(kept):
            raise KeyboardInterrupt
        assert capsys.readouterr().err == said
