"""Make the starter weights: distil a published AlexNet's features, then learn a classifier.

``python -m recipes train|evaluate|filters --help`` says how to run it, and docs/weights.md is the
card of what came out. Every stage goes on from its last checkpoint.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from models.workbench import Network, architecture, assemble, fill, read, write, write_weights
from recipes.album import Album
from recipes.classes import center_scores, learn_classes, tune, view_photos
from recipes.digits import learn_digits
from recipes.evaluation import evaluate
from recipes.features import Lesson, distil
from recipes.filters import correlate_neighbours, count_weak, draw_filters
from recipes.halves import (
    Imitation,
    add_head,
    choose_maps,
    imitate,
    make_half,
    measure,
    read_maps,
    read_vgg,
    regress,
)
from recipes.photos import ALIGNMENTS, is_held_out, label_photos, read_photos
from recipes.students import make_student, read_teacher, revive
from recipes.tutoring import Tutor, tutor_all

log = logging.getLogger(__name__)
PHOTOS = "starter: features distilled from BVLC AlexNet on 11,144 photos, classifier on Caltech-101"
HALF = (
    "starter: VGG-16 half as wide, each map imitating one of the published ImageNet VGG-16 "
    "(Simonyan & Zisserman, CC BY 4.0), classifier on Caltech-101"
)
TAUGHT = {
    "vgg16": HALF,
    **dict.fromkeys(
        ALIGNMENTS,
        "starter: features first distilled from BVLC AlexNet, then taught by the published "
        "ImageNet VGG-16 (Simonyan & Zisserman, CC BY 4.0), classifier on Caltech-101",
    ),
}
HEAD = (
    "the project's own classifier for the published VGG-16's pool5, learned on Caltech-101 "
    "(101 classes)"
)
DIGITS = "starter: learned on MNIST's 60,000 training digits"


def train(options: argparse.Namespace) -> None:
    """Run every stage that is not yet done and write the weights."""
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    if options.network == "lenet5":
        network = learn_digits(options.data, options.steps or 12_000, work / "digits.pt")
        description = DIGITS
    elif options.network == "vgg16":
        network = train_half(options, work)
        description = HALF
    else:
        network = train_on_photos(options, work)
        description = PHOTOS
    write_weights(network, options.out, torch.float16, source=description, licence="MIT")


def train_on_photos(options: argparse.Namespace, work: Path) -> Network:
    """Distil features, learn the classes with fc8 alone, then with the whole network."""
    torch.manual_seed(0)
    photos = read_photos(options.data)
    labels = label_photos(list(photos))
    classes = tuple(sorted(set(labels.values())))
    log.info("%d photos, %d of them of %d classes", len(photos), len(labels), len(classes))
    student = make_student(options.network, classes)
    if options.start:
        fill(student, read(options.start, student.architecture).tensors, options.start.name)
        revive(student, options.revive)
    lesson = Lesson(student, read_teacher(options.teacher))
    lesson.to(memory_format=torch.channels_last)
    distil(lesson, list(photos.values()), options.steps or 6_000, work / "features.pt")
    learned = [name for name in labels if not is_held_out(name)]
    pictures = [photos[name] for name in learned]
    truth = torch.tensor([classes.index(labels[name]) for name in learned])
    views = view_photos(student, pictures, 4, work / "views.pt")
    learn_classes(student, views, truth, options.head_steps, work / "classes.pt")
    tune(lesson, pictures, truth, options.tuning_steps, work / "tuning.pt")
    center_scores(student)
    return student


def train_half(options: argparse.Namespace, work: Path) -> Network:
    """Imitate a VGG-16 with half as many maps, then learn the classes with fc8 alone."""
    torch.manual_seed(0)
    photos = read_photos(options.data)
    labels = label_photos(list(photos))
    classes = tuple(sorted(set(labels.values())))
    learned = [photos[name] for name in photos if not is_held_out(name)]
    teacher = read_vgg(options.teacher)
    maps = read_maps(options.maps) if options.maps else choose_maps(teacher, learned)
    if options.start:
        half = assemble(read(options.start, teacher.architecture), teacher.architecture, "yours")
    else:
        half = make_half(teacher, maps)
        regress(half, teacher, maps, learned)
    if options.steps:
        imitate(half, Imitation(teacher, maps, learned), learned, options.steps, work / "half.pt")
    network = add_head(half, classes)
    learn_head(network, photos, options, views=4)
    return network


def train_head(options: argparse.Namespace) -> None:
    """Learn a classifier on the published VGG-16's own pool5 and write it, without the rest."""
    options.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    photos = read_photos(options.data)
    classes = tuple(sorted(set(label_photos(list(photos)).values())))
    network = add_head(read_vgg(options.teacher), classes)
    # on an eighth of the photos, kept aside: 4 x 4 is better than 7 x 7, and slow and decaying
    # learning (90.2 % right) better than that of the half-wide network's classifier (88.8 %)
    learn_head(network, photos, options, options.views, decay=1.0, smoothing=0.1, peak=2e-4)
    head = {name: network.tensors()[name].detach().half() for name in ("fc8.weight", "fc8.bias")}
    write(options.out, head, {"classes": classes, "source": HEAD, "licence": "MIT"})


def learn_head(
    network: Network,
    photos: Mapping[str, torch.Tensor],
    options: argparse.Namespace,
    views: int,
    **learning: float,
) -> None:
    """Learn Caltech-101's classes with fc8 alone, on some views of every photo."""
    labels, classes = label_photos(list(photos)), network.classes
    assert classes is not None
    names = [name for name in labels if not is_held_out(name)]
    truth = torch.tensor([classes.index(labels[name]) for name in names])
    work: Path = options.work
    seen = view_photos(network, [photos[name] for name in names], views, work / "views.pt")
    # on an eighth of the photos, kept aside, dropout 0.5 got 1.3 % fewer right than 0.7
    file, steps = work / "classes.pt", options.head_steps
    learn_classes(network, seen, truth, steps, file, dropout=0.75, **learning)
    center_scores(network)


def tutor(options: argparse.Namespace) -> None:
    """Let the shipped starters go on learning, all at once, from the published VGG-16."""
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(options.device)
    torch.manual_seed(0)
    photos = {n: p for n, p in read_photos(options.data).items() if not is_held_out(n)}
    labels = label_photos(list(photos))
    starters = {name: _starter(name, options.starters) for name in (*ALIGNMENTS, "vgg16")}
    for network in starters.values():
        network.to(device)
    *pupils, half = starters.values()
    album = Album(list(photos.values()), device)
    assert half.classes is not None
    known = add_head(read_vgg(options.teacher), half.classes)
    known.assign_tensors({**known.tensors(), **read(options.head, known.architecture).tensors})
    known.to(device).requires_grad_(False)
    truth = [half.classes.index(labels[name]) if name in labels else -1 for name in photos]
    log.info("%d photos, %d with a class", len(photos), len(labels))
    tutor_all(
        pupils,
        half,
        Tutor(known, album),
        Imitation(known, read_maps(options.maps), list(photos.values())),
        album,
        torch.tensor(truth, device=device),
        options.steps,
        options.work / "tutoring.pt",
        batch=options.batch,
        peak=options.peak,
    )
    for name, network in starters.items():
        center_scores(network)
        file = options.out / f"{name}.safetensors"
        write_weights(network, file, torch.float16, source=TAUGHT[name], licence="MIT")


@torch.no_grad()
def average(options: argparse.Namespace) -> None:
    """Write the mean of two weights, of which one was learned on from the other."""
    paper = architecture(options.network)
    one, other = (assemble(read(file, paper), paper, "yours") for file in options.weights)
    for name, tensor in one.tensors().items():
        tensor.copy_((tensor + other.tensors()[name]) / 2)
    said = one.provenance.description or ""
    write_weights(one, options.out, torch.float16, source=said, licence="MIT")


def _starter(name: str, folder: Path) -> Network:
    paper = architecture(name)
    return assemble(read(folder / f"{name}.safetensors", paper), paper, "starter")


def report_imitation(options: argparse.Namespace) -> None:
    """Print how much of the teacher's maps a half-wide VGG-16 leaves unexplained, held out."""
    photos = read_photos(options.data)
    held = [photo for name, photo in photos.items() if is_held_out(name)]
    torch.manual_seed(0)
    imitation = Imitation(read_vgg(options.teacher), read_maps(options.maps), held)
    for name, share in measure(_load(options), imitation, held).items():
        sys.stdout.write(f"{name}: {share:.3f} of the variance unexplained\n")


def report(options: argparse.Namespace) -> None:
    """Print what a weights file gets right of what was held out."""
    got = evaluate(_load(options), options.data)
    sys.stdout.write(
        f"{options.network}: {got.first:.1%} of {got.pictures} held-out pictures right, "
        f"{got.among_five:.1%} among the first five, mean over classes {got.mean_of_classes:.1%}\n"
    )


def show_filters(options: argparse.Namespace) -> None:
    """Draw the first layer and print what can be measured of it."""
    filters = next(iter(_load(options).tensors().values())).detach()
    draw_filters(filters).save(options.out, optimize=True)
    sys.stdout.write(
        f"{options.network}: {count_weak(filters)} of {len(filters)} filters weak, "
        f"neighbours correlate by {correlate_neighbours(filters):.2f}\n"
    )


def _load(options: argparse.Namespace) -> Network:
    paper = architecture(options.network)
    return assemble(read(options.weights, paper), paper, "yours")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes", description=__doc__)
    commands = parser.add_subparsers(required=True)
    learn = commands.add_parser("train", help=train.__doc__)
    learn.add_argument("--data", type=Path, required=True, help="folder of photos; .npz of digits")
    learn.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    learn.add_argument("--work", type=Path, default=Path("distillation"), help="checkpoints")
    learn.add_argument("--teacher", type=Path, help=".npz of the teacher's convolutions")
    learn.add_argument("--maps", type=Path, help="for vgg16: .json of the maps to imitate")
    learn.add_argument("--start", type=Path, help="weights to go on from instead of random ones")
    learn.add_argument("--revive", type=float, default=0.0, help=revive.__doc__)
    learn.add_argument("--steps", type=int, help="steps of the first phase")
    learn.add_argument("--head-steps", type=int, default=4_000)
    learn.add_argument("--tuning-steps", type=int, default=2_000)
    learn.set_defaults(run=train)
    head = commands.add_parser("head", help=train_head.__doc__)
    head.add_argument("--data", type=Path, required=True, help="folder of photos")
    head.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    head.add_argument("--work", type=Path, default=Path("head"), help="checkpoints")
    head.add_argument("--teacher", type=Path, required=True, help=".npz of the convolutions")
    head.add_argument("--views", type=int, default=1, help="views of each photo to learn from")
    head.add_argument("--head-steps", type=int, default=1_000)
    head.add_argument("--threads", type=int, default=torch.get_num_threads())
    head.set_defaults(run=train_head)
    test = commands.add_parser("evaluate", help=report.__doc__)
    test.add_argument("--data", type=Path, required=True)
    test.set_defaults(run=report)
    taught = commands.add_parser("tutor", help=tutor.__doc__)
    taught.add_argument("--data", type=Path, required=True, help="folder of photos")
    taught.add_argument("--out", type=Path, required=True, help="folder of the weights to write")
    taught.add_argument("--work", type=Path, default=Path("tutoring"), help="checkpoints")
    taught.add_argument("--teacher", type=Path, required=True, help=".npz of the convolutions")
    taught.add_argument("--head", type=Path, required=True, help="the classifier for its pool5")
    taught.add_argument("--maps", type=Path, required=True, help=".json of the maps to imitate")
    taught.add_argument("--starters", type=Path, required=True, help="folder to go on from")
    taught.add_argument("--device", default="cuda", help="cuda or cpu")
    taught.add_argument("--batch", type=int, default=256)
    taught.add_argument("--steps", type=int, default=3_000)
    taught.add_argument("--peak", type=float, default=6e-4, help="the highest learning rate")
    taught.add_argument("--threads", type=int, default=torch.get_num_threads())
    taught.set_defaults(run=tutor)
    mean = commands.add_parser("average", help=average.__doc__)
    mean.add_argument("weights", type=Path, nargs=2)
    mean.add_argument("--network", choices=("lenet5", *ALIGNMENTS, "vgg16"), required=True)
    mean.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    mean.add_argument("--threads", type=int, default=torch.get_num_threads())
    mean.set_defaults(run=average)
    compare = commands.add_parser("imitation", help=report_imitation.__doc__)
    compare.add_argument("--data", type=Path, required=True)
    compare.add_argument("--teacher", type=Path, required=True)
    compare.add_argument("--maps", type=Path, required=True)
    compare.set_defaults(run=report_imitation)
    show = commands.add_parser("filters", help=show_filters.__doc__)
    show.add_argument("--out", type=Path, required=True, help="the .png to write")
    show.set_defaults(run=show_filters)
    for command in (learn, test, compare, show):
        networks = ("lenet5", *ALIGNMENTS, "vgg16")
        command.add_argument("--network", choices=networks, required=True)
        command.add_argument("--threads", type=int, default=torch.get_num_threads())
    for command in (test, compare, show):
        command.add_argument("weights", type=Path)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    options.run(options)


if __name__ == "__main__":
    main()
