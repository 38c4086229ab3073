import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.serving import Run, photo


@pytest.fixture
def dog(tmp_path: Path) -> Path:
    file = tmp_path / "dog.jpg"
    file.write_bytes(photo())
    return file


def test_help_comes_without_waiting_for_torch() -> None:
    code = (
        "import sys\nsys.argv = ['deconvnet', '--help']\nfrom app.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'fastapi'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    for command in ("serve", "visualize", "networks", "weights"):
        assert command in answer.stdout


@pytest.mark.parametrize("suffix", ["png", "npz", "zip", "json"])
def test_one_photo_becomes_one_file(run: Run, dog: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out.{suffix}"
    code, _, complaints = run("visualize", dog, "--layer", "conv3", "--top", "2", "-o", output)
    assert (code, complaints) == (0, "")
    data = output.read_bytes()
    match suffix:
        case "png":
            assert Image.open(io.BytesIO(data)).format == "PNG"
        case "npz":
            assert np.load(io.BytesIO(data))["features"].shape == (2,)
        case "zip":
            assert "visualization.json" in zipfile.ZipFile(io.BytesIO(data)).namelist()
        case "json":
            assert json.loads(data)["layer"] == "conv3"


def test_the_command_line_gives_the_bytes_that_the_server_gives(
    run: Run, dog: Path, tmp_path: Path
) -> None:
    from tests.serving import client_in, sent

    output = tmp_path / "out.npz"
    run("visualize", dog, "--network", "zfnet", "--features", "1,2", "-o", output)
    with client_in(tmp_path) as client:
        answer = client.post(
            "/visualize",
            **sent(dog.read_bytes()),
            data={"network": "zfnet", "features": "1,2"},
            headers={"accept": "application/x-npz"},
        )
    assert answer.content == output.read_bytes()


def test_random_weights_can_be_asked_for(run: Run, dog: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    asked = ("--network", "lenet5", "--weights", "random", "--top", "1")
    assert run("visualize", dog, *asked, "-o", output)[0] == 0
    assert json.loads(output.read_bytes())["weights"]["trained"] is False
    code, _, complaints = run("visualize", dog, *asked[:3], "0a1b2c3d", "-o", output)
    assert code == 1 and "lenet5 has no weights '0a1b2c3d' here; it has starter" in complaints


def test_a_folder_becomes_a_folder_and_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    album = tmp_path / "album"
    for name in ("a.jpg", "deeper/b.png"):
        (album / name).parent.mkdir(parents=True, exist_ok=True)
        (album / name).write_bytes(photo(kind="PNG" if name.endswith("png") else "JPEG"))
    (album / "notes.txt").write_text("no photo")
    out = tmp_path / "out"
    assert run("visualize", album, "--top", "1", "-o", out)[0] == 0
    made = sorted(file.relative_to(out).as_posix() for file in out.rglob("*.png"))
    assert made == ["a.png", "deeper/b.png"]
    (out / "a.png").unlink()
    (out / "deeper/b.png").write_bytes(b"kept")
    assert run("visualize", album, "--top", "1", "-o", out)[0] == 0
    assert (out / "a.png").exists() and (out / "deeper/b.png").read_bytes() == b"kept"


def test_several_photos_follow_a_pattern_of_names(run: Run, dog: Path, tmp_path: Path) -> None:
    cat = tmp_path / "cat.png"
    cat.write_bytes(photo(kind="PNG"))
    assert run("visualize", dog, cat, "--top", "1", "-o", tmp_path / "{name}-seen.npz")[0] == 0
    assert (tmp_path / "dog-seen.npz").exists() and (tmp_path / "cat-seen.npz").exists()


def test_a_bad_photo_is_a_sentence_and_the_others_are_done(
    run: Run, dog: Path, tmp_path: Path
) -> None:
    bad, gone = tmp_path / "bad.jpg", tmp_path / "gone.jpg"
    bad.write_bytes(b"hello")
    code, _, complaints = run("visualize", bad, gone, dog, "--top", "1", "-o", tmp_path / "out")
    assert code == 1
    assert "bad.jpg: This file is not a picture" in complaints
    assert "gone.jpg" in complaints and "No such file" in complaints
    assert (tmp_path / "out" / "dog.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--network", "resnet50"], "resnet50"),
        (["--network", "vgg19"], "vgg19"),
        (["--layer", "conv9"], "conv9"),
        (["--top", "0"], "top"),
        (["--top", "100000"], "100000"),
        (["--features", "x"], "features"),
        (["--features", "1", "--top", "2"], "features"),
        (["--unit", "1"], "unit"),
        (["--unit", "1,2", "--seed", "map"], "unit"),
        (["--method", "magic"], "magic"),
        (["--device", "tpu"], "DEVICE"),
    ],
)
def test_what_cannot_be_had_is_a_sentence(
    run: Run, dog: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, _, complaints = run("visualize", dog, *arguments, "-o", tmp_path / "out.png")
    assert code != 0 and words in complaints
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("output", ["out.bmp", "out"])
def test_an_output_that_cannot_be_is_a_sentence(
    run: Run, dog: Path, tmp_path: Path, output: str
) -> None:
    code, _, complaints = run("visualize", dog, "--top", "1", "-o", tmp_path / output)
    if output == "out":
        assert code == 0 and (tmp_path / "out" / "dog.png").exists()
    else:
        assert code != 0 and ".npz" in complaints


def test_one_file_for_several_photos_is_refused_with_the_way_out(
    run: Run, dog: Path, tmp_path: Path
) -> None:
    code, _, complaints = run("visualize", dog, dog, "-o", tmp_path / "out.png")
    assert code != 0 and "{name}" in complaints


def test_the_networks_are_listed(run: Run) -> None:
    code, out, _ = run("networks")
    assert code == 0
    assert "zfnet" in out and "starter" in out and "vgg19" in out and "missing" in out


def test_a_networks_layers_are_listed(run: Run) -> None:
    code, out, _ = run("networks", "zfnet")
    assert code == 0 and "conv5" in out and "139" in out and "96 x 110 x 110" in out
    assert run("networks", "vgg19")[0] == 0
    code, _, complaints = run("networks", "nope")
    assert code == 1 and "nope" in complaints


def test_weights_are_verified(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("weights", "verify")
    assert code == 0 and "zfnet: whole, starter" in out
    code, _, complaints = run("weights", "verify", "vgg19")
    assert code == 1 and "vgg19" in complaints
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "alexnet.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    code, _, complaints = run("weights", "verify", "alexnet")
    assert code == 1 and "alexnet" in complaints


def test_a_setting_that_cannot_be_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECONVNET_QUEUE_LIMIT", "many")
    code, _, complaints = run("networks")
    assert code == 1 and "DECONVNET_QUEUE_LIMIT" in complaints
