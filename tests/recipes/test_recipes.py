"""The starter weights' making, on toy data: alignment, resuming, what is measured."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from models.networks.catalogue import architecture
from models.networks.network import Network
from models.training.checkpoint import repeat, save, write_weights
from models.weights import sources
from models.weights.assembly import assemble
from models.weights.files import read
from recipes.__main__ import main
from recipes.classes import center_scores
from recipes.evaluation import evaluate
from recipes.features import Lesson, distil, trace
from recipes.filters import correlate_neighbours, count_weak, draw_filters
from recipes.photos import ALIGNMENTS, NATIVE, SMALL, is_held_out, label_photos
from recipes.students import make_student, read_teacher, revive

CLASSES = tuple(f"class {number:03}" for number in range(101))
STARTER = Path(sources.__file__).parent / "starter"


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an .npz with the shapes of BVLC AlexNet and random numbers."""
    chance = np.random.default_rng(0)
    shapes = [
        (96, 3, 11, 11),
        (256, 48, 5, 5),
        (384, 256, 3, 3),
        (384, 192, 3, 3),
        (256, 192, 3, 3),
    ]
    tensors: dict[str, Any] = {}
    for number, shape in enumerate(shapes, 1):
        spread = np.sqrt(2 / np.prod(shape[1:])) / (50 if number == 1 else 1)
        tensors[f"conv{number}.weight"] = chance.normal(0, spread, shape).astype(np.float32)
        tensors[f"conv{number}.bias"] = np.zeros(shape[0], np.float32)
    file = tmp_path_factory.mktemp("teacher") / "teacher.npz"
    np.savez(file, **tensors)
    return file


def crops_of(side: int) -> Tensor:
    chance = torch.Generator().manual_seed(0)
    return torch.randint(256, (2, 3, side, side), generator=chance, dtype=torch.uint8)


@pytest.mark.parametrize("name", sorted(ALIGNMENTS))
@pytest.mark.parametrize("sides", [SMALL, NATIVE])
def test_student_and_teacher_give_maps_of_one_size(
    name: str, sides: tuple[int, int], teacher_file: Path
) -> None:
    lesson = Lesson(make_student(name, CLASSES), read_teacher(teacher_file))
    crops = crops_of(lesson.alignment.crop(*sides))
    with torch.no_grad():
        errors = lesson(
            trace(lesson.student, lesson.show(crops, sides[0])), lesson.teach(crops, sides[1])
        )
    assert errors.shape == (5,)
    assert errors.isfinite().all()


@pytest.mark.parametrize("name", sorted(ALIGNMENTS))
def test_units_that_are_compared_look_at_the_same_place(name: str, teacher_file: Path) -> None:
    student, teacher, alignment = (
        make_student(name, CLASSES),
        read_teacher(teacher_file),
        ALIGNMENTS[name],
    )
    low = range(55)[alignment.low][6] if name == "zfnet" else range(27)[alignment.low][6]
    for layer, ours, theirs in (("pool1", low, 6), ("pool2", 6, 6), ("conv5", 6, 6)):
        seen = alignment.student + centre(student, layer, ours)
        assert seen == alignment.teacher + centre(teacher, layer, theirs)


def centre(network: Network, layer: str, unit: int) -> float:
    box = network.receptive_field(layer, (unit, unit), network.input_size)
    return (box.top + box.bottom) / 2


def test_the_teacher_is_the_2012_network_with_norm_before_pool(teacher_file: Path) -> None:
    teacher = read_teacher(teacher_file)
    tensors = {key: tensor.detach() for key, tensor in teacher.tensors().items()}
    pixels = torch.rand(1, 3, 131, 131) * 100 - 50
    x = pixels
    for number, (stride, padding, groups) in enumerate([(4, 0, 1), (1, 2, 2)], 1):
        filters, bias = tensors[f"conv{number}.weight"], tensors[f"conv{number}.bias"]
        x = F.relu(F.conv2d(x, filters, bias, stride, padding, groups=groups))
        x = F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    torch.testing.assert_close(trace(teacher, pixels)["into conv3"], x)


def test_the_first_layer_comes_nearer_to_its_teacher(teacher_file: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    lesson = Lesson(make_student("alexnet", CLASSES), read_teacher(teacher_file))
    photos = [torch.randint(256, (3, 60, 70), dtype=torch.uint8) for _ in range(3)]
    crops = crops_of(lesson.alignment.crop(*SMALL))

    def error() -> float:
        maps = trace(lesson.student, lesson.show(crops, SMALL[0]), "into conv2")
        return float(lesson(maps, lesson.teach(crops, SMALL[1], "into conv2")).detach())

    distil(lesson, photos, 0, tmp_path / "none.pt", batches=1)
    before = error()
    distil(lesson, photos, 10, tmp_path / "some.pt", first=10, peak=1e-2, batches=1)
    assert error() < before


def test_a_repeated_lesson_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    def run(file: str, stop: int | None = None) -> Tensor:
        torch.manual_seed(7)
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.AdamW(model.parameters())

        def learn(step: int) -> dict[str, float]:
            if step == stop:
                raise KeyboardInterrupt
            optimizer.zero_grad()
            model(torch.rand(4, 3)).square().sum().backward()
            optimizer.step()
            return {}

        repeat(learn, 9, tmp_path / file, {"model": model, "optimizer": optimizer}, every=2)
        return model.weight.detach()

    whole = run("whole.pt")
    with pytest.raises(KeyboardInterrupt):
        run("broken.pt", stop=5)
    assert torch.equal(run("broken.pt"), whole)


def test_an_interruption_while_saving_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    class Broken(torch.nn.Linear):
        def state_dict(self, *_: object, **__: object) -> dict[str, object]:  # type: ignore[override]
            raise KeyboardInterrupt

    file = tmp_path / "x.pt"
    repeat(lambda step: {}, 3, file, {"model": torch.nn.Linear(2, 2)})
    before = file.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        save(file, {"model": Broken(2, 2)})
    assert file.read_bytes() == before


def test_the_held_out_fifth_is_chosen_by_the_hash_of_the_name() -> None:
    names = [f"caltech101/anchor/image_{number:04}.jpg" for number in range(1, 200)]
    chosen = [n for n in names if int(hashlib.sha256(n.encode()).hexdigest(), 16) % 5 == 0]
    assert [n for n in names if is_held_out(n)] == chosen
    assert 20 < len(chosen) < 60


def test_photos_of_no_class_are_not_labelled() -> None:
    names = ["caltech101/ant/a.jpg", "caltech101/BACKGROUND_Google/b.jpg", "photos/c.jpg"]
    assert label_photos(names) == {"caltech101/ant/a.jpg": "ant"}


def test_neighbours_of_smooth_filters_correlate_and_of_noise_do_not() -> None:
    ramp = torch.linspace(-1, 1, 11).expand(4, 3, 11, 11)
    noise = torch.randn(64, 3, 11, 11, generator=torch.Generator().manual_seed(0))
    assert correlate_neighbours(ramp) > 0.7
    assert abs(correlate_neighbours(noise)) < 0.05


def test_a_filter_below_a_tenth_of_the_strongest_is_weak() -> None:
    filters = torch.ones(4, 3, 7, 7) * torch.tensor([1.0, 0.5, 0.11, 0.09])[:, None, None, None]
    assert count_weak(filters) == 1


def test_only_the_weakest_filters_start_again() -> None:
    student = make_student("zfnet", CLASSES)
    with torch.no_grad():
        student.tensors()["conv1.weight"][5:] *= 10
    before = student.tensors()["conv1.weight"].detach().clone()
    revive(student, 0.4)
    after = student.tensors()["conv1.weight"].detach()
    assert (after != before).flatten(1).any(1).tolist() == [True] * 5 + [False] * 91


def test_filters_are_drawn_strongest_first_about_grey() -> None:
    filters = torch.zeros(2, 1, 3, 3)
    filters[0, 0, 0, 0], filters[1, 0, 0, 0] = 1, -2
    sheet = draw_filters(filters, columns=2, tile=3)
    assert sheet.getpixel((3, 3)) == (1, 1, 1)
    assert sheet.getpixel((4, 4)) == (128, 128, 128)
    assert sheet.getpixel((9, 3)) == (255, 255, 255)


def test_written_weights_come_back_with_all_that_belongs_to_them(tmp_path: Path) -> None:
    student = make_student("zfnet", CLASSES)
    file = tmp_path / "zfnet.safetensors"
    write_weights(student, file, torch.float16, source="a test", licence="MIT")
    loaded = assemble(read(file, architecture("zfnet")), architecture("zfnet"), "yours")
    assert loaded.classes == student.classes
    assert loaded.provenance.description == "a test"
    assert loaded.preprocessing == student.preprocessing
    for key, tensor in student.tensors().items():
        assert torch.equal(loaded.tensors()[key], tensor.half().float())


def test_accuracy_counts_only_what_was_held_out(tmp_path: Path) -> None:
    student = make_student("alexnet", CLASSES)
    for number in range(30):
        folder = tmp_path / "caltech101" / f"class {number % 3:03}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 50), (number, 0, 0)).save(folder / f"{number}.jpg")
    names = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.jpg")]
    got = evaluate(student, tmp_path)
    assert got.pictures == sum(map(is_held_out, names))
    assert 0 <= got.first <= got.among_five <= 1


@pytest.mark.parametrize("file", sorted(STARTER.glob("*.safetensors")), ids=lambda f: f.stem)
def test_shipped_weights_load_and_look_like_learned_filters(file: Path) -> None:
    network = assemble(read(file, architecture(file.stem)), architecture(file.stem), "starter")
    filters = next(iter(network.tensors().values())).detach()
    assert network.classes and network.last_fc
    assert count_weak(filters) <= len(filters) / 3
    if file.stem in ALIGNMENTS:
        assert correlate_neighbours(filters) >= 0.55
        weight, bias = network.layer("fc8").parameters()
        assert weight.mean(0).abs().max() < 1e-5 and abs(bias.mean()) < 1e-5


def test_centred_scores_give_the_same_probabilities_and_a_positive_best_class() -> None:
    student = make_student("alexnet", CLASSES).double()
    head = student.layer("fc8")
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_().sub_(5)
    pool5 = torch.rand(2, 256, 6, 6, dtype=torch.float64)
    drifted = head(pool5).flatten(1)
    center_scores(student)
    scores = head(pool5).flatten(1)
    assert drifted.max() < 0 < scores.amax(1).min()
    torch.testing.assert_close(scores.softmax(1), drifted.softmax(1), rtol=1e-9, atol=0)


def test_the_starter_weights_stay_small() -> None:
    assert sum(file.stat().st_size for file in STARTER.iterdir()) < 36e6


@pytest.mark.usefixtures("few_crops")
def test_every_phase_runs_and_the_weights_know_the_folders_classes(
    teacher_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        folder = tmp_path / "data" / "caltech101" / ("ant", "bee", "cat", "dog", "elk")[number % 5]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 50), (20 * number, 0, 0)).save(folder / f"{number}.jpg")
    data, out = ["--data", str(tmp_path / "data")], tmp_path / "alexnet.safetensors"
    steps = ["--steps", "1", "--head-steps", "2", "--tuning-steps", "1"]
    files = ["--teacher", str(teacher_file), "--out", str(out), "--work", str(tmp_path / "work")]
    network = ["--network", "alexnet"]
    main(["train", *network, *data, *steps, *files])
    main(["evaluate", *network, str(out), *data])
    main(["filters", *network, str(out), "--out", str(tmp_path / "filters.png")])
    assert assemble(read(out, architecture("alexnet")), architecture("alexnet"), "yours").classes
    assert "held-out pictures right" in (printed := capsys.readouterr().out)
    assert "of 64 filters weak" in printed


def test_the_recipes_run_as_a_program() -> None:
    command = [sys.executable, "-m", "recipes", "train", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--teacher" in done.stdout, done.stderr
