"""What of the paper is made again by `deconvnet reproduce`: a table, a row a figure or table.

Each says what the paper has, how ours is made, and why it differs.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import models
from app import VERSION

R = TypeVar("R", bound=models.Result)
Making = Iterator["models.Progress | Section"]
"""Says how far it is, and yields at last what was made."""

MARKS = (
    "right eye: 54,34,112,100; 28,77,40,93 | left eye: 76,170,126,214; 28,100,40,116 | "
    "nose: 174,114,212,172; 36,90,50,104 | object: 16,16,212,216; 8,62,76,132"
)
"""Parts of the faces of the cat and the astronaut among the samples, in 224 x 224 pixels."""
FIGURE_3 = {
    "conv1": 110,
    "pool1": 55,
    "conv2": 26,
    "pool2": 13,
    "conv3": 13,
    "conv4": 13,
    "conv5": 13,
    "pool5": 6,
}
"""The sides of the maps that the paper's Fig. 3 prints."""


@dataclass(frozen=True)
class Section:
    """One figure or table: what the paper has, what differs here and why, and what was found.

    ``pictures`` are PNGs with the words for who does not see them.
    """

    title: str
    paper: str
    differs: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    pictures: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """Return the pictures' words, and the pictures as addresses that hold them."""
        return tuple(
            (words, "data:image/png;base64," + base64.b64encode(png).decode())
            for words, png in self.pictures
        )

    @property
    def page(self) -> models.Page:
        """Return it as a PDF has it."""
        paragraphs = [f"The paper: {self.paper}", f"Here: {self.differs}"]
        pictures = [png for _, png in self.pictures]
        return models.Page(self.title, paragraphs, self.columns, self.rows, pictures)

    def write(self) -> bytes:
        """Write it as ``read`` reads it."""
        pictures = [(words, base64.b64encode(png).decode()) for words, png in self.pictures]
        return json.dumps({**asdict(self), "pictures": pictures}).encode()

    @classmethod
    def read(cls, content: bytes) -> "Section":
        """Read what ``write`` wrote; raises ValueError, KeyError or TypeError for anything else."""
        said = json.loads(content)
        pictures = tuple((words, base64.b64decode(png)) for words, png in said.pop("pictures"))
        rows = tuple(tuple(row) for row in said.pop("rows"))
        columns = tuple(said.pop("columns"))
        return cls(**said, columns=columns, rows=rows, pictures=pictures)


@dataclass(frozen=True)
class Reproduction:
    """The page: what was made, of whose weights, and what was not made and why."""

    sections: tuple[Section, ...]
    weights: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def pages(self) -> list[models.Page]:
        """Return it as a PDF has it: first whose weights, and what is left out."""
        left_out = [f"{title}: {why}." for title, why in self.left_out]
        paragraphs = [*self.weights, "Not here:", *left_out]
        first = models.Page(f"Zeiler and Fergus, made again by deconvnet {VERSION}", paragraphs)
        return [first, *(section.page for section in self.sections)]


@dataclass(frozen=True)
class Bench:
    """What there is to work with: networks, photos as they were named, folders.

    ``marks`` are the parts of Table 1 on the photos, empty where none are marked; ``keep`` is where
    feature vectors are kept.
    """

    networks: tuple[models.Network, ...]
    photos: Mapping[str, Any]
    marks: str
    data: Path | None
    run: Path | None
    folds: int
    keep: Path
    device: str

    @property
    def network(self) -> models.Network:
        """Return the network that most of it is asked of."""
        return self.networks[0]

    def framed(self, network: models.Network) -> list[models.FramedPhoto]:
        """Return the photos as a network sees them."""
        preprocessing = network.preprocessing
        return [models.frame_photo(each, preprocessing) for each in self.photos.values()]

    def key(self, title: str) -> str:
        """Derive a name for a section from all that it is made of."""
        weights = [(each.name, each.provenance.sha256) for each in self.networks]
        photos = [
            (name, hashlib.sha256(photo.tobytes()).hexdigest())
            for name, photo in self.photos.items()
        ]
        folders = [(folder, held_in(folder)) for folder in (self.data, self.run)]
        about = (VERSION, models.METHOD, title)
        made_of = (*about, weights, photos, self.marks, folders, self.folds)
        return hashlib.sha256(repr(made_of).encode()).hexdigest()[:32]


def held_in(folder: Path | None) -> str:
    """Derive from names, sizes and times of files what a folder holds now."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")) if folder else ():
        status = file.lstat()
        digest.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()


@dataclass(frozen=True)
class Plan:
    """A section to be made: its title, and how; ``lacks`` says why it cannot be, or nothing."""

    title: str
    make: Callable[[Bench, str], Making]
    lacks: Callable[[Bench], str] = lambda bench: ""


def _finish(run: Iterator[models.Progress | R]) -> Generator[models.Progress, None, R]:
    """Run an experiment to its end, saying how far it is."""
    for step in run:
        if not isinstance(step, models.Progress):
            return step
        yield step
    raise AssertionError("an experiment ends in its result")


def _architecture(_: Bench, title: str) -> Making:
    sides = {each.name: each.shape.height for each in models.describe_layers("zfnet")}
    yield Section(
        title,
        "the sizes of the maps from the picture of 224 x 224 up, as its Fig. 3 prints them.",
        "the same. The first layer pads by one pixel, which the figure does not say and the sizes "
        "ask for.",
        ("layer", "the paper", "here"),
        tuple((name, str(side), str(sides[name])) for name, side in FIGURE_3.items()),
    )


def _strongest(bench: Bench, title: str) -> Making:
    name, photo = next(iter(bench.photos.items()))
    network, pictures, rows = bench.network, [], []
    layers = [each for each in network.describe() if each.kind == "conv"]
    for done, layer in enumerate(layers):
        yield models.Progress(done, len(layers), layer.name)
        view = models.visualize(network, photo, models.Choice(layer=layer.name))
        file = models.FigureFile("png", dpi=100)
        pictures.append((f"{layer.name}: projections and patches", models.to_figure(view, file)))
        best = view.projections[0]
        side = f"{layer.receptive_field} px"
        rows.append((layer.name, side, str(best.feature), f"{best.activation:.3g}"))
    yield Section(
        title,
        "of each chosen map the nine photos of 50,000 that fire it most, each projected to pixels: "
        "edges and colours in layer 1, corners in 2, textures in 3, parts of classes in 4, whole "
        "objects in 5.",
        f"the nine strongest maps of one photo ({name}), each at the place where it fires most, "
        "beside the patch that its unit sees. Nine photos of a data set for one map need an index "
        "of it.",
        ("layer", "receptive field", "strongest map", "its activation"),
        tuple(rows),
        tuple(pictures),
    )


def _evolution(bench: Bench, title: str) -> Making:
    assert bench.run is not None and bench.data is not None
    asked = models.EvolutionRequest(photos=500)
    found = yield from _finish(models.evolve(bench.run, bench.data, asked, bench.device))
    rows = [
        (f"map {feature}", *(f"{moment.activation:.3g}" for moment in row))
        for feature, row in zip(found.features, found.moments, strict=True)
    ]
    yield Section(
        title,
        "six maps of each layer at epochs 1, 2, 5, 10, 20, 30, 40 and 64: low layers settle within "
        "a few epochs, high ones only after 40 to 50.",
        f"six maps of {found.layer} of {found.network}, {found.provenance.description}; the "
        "numbers are their strongest activations. A smaller data set and a shorter training.",
        ("strongest activation", *(f"epoch {epoch}" for epoch in found.epochs)),
        tuple(rows),
        ((f"Projections of {found.layer} by epoch", models.encode_result(found, "png")),),
    )


def _invariance(bench: Bench, title: str) -> Making:
    network = bench.network
    asked = models.InvarianceRequest()
    found = yield from _finish(models.measure_invariance(network, bench.framed(network), asked))
    rows = [_smallest(name, curves) for name, curves in found.curves.items()]
    yield Section(
        title,
        "small changes have a dramatic effect in layer 1 and a lesser one in layer 7, which is "
        "quasi-linear for translation and scale. The class holds out against translation and "
        "scale, not against rotation.",
        f"{len(found.photos)} photos, layers {found.first} and {found.second} of {network.name}. "
        "The numbers are the mean distance that the smallest change makes, as a share of the "
        "largest that any makes: the lower, the gentler.",
        ("change", found.first, found.second),
        tuple(rows),
        (("Distances and probabilities by change", models.encode_result(found, "png")),),
    )


def _size(name: str, amount: float) -> float:
    """Say how much a change changes: half a turn is the most that one can be turned."""
    away = abs(amount - 1 if name == "scale" else amount)
    return min(away, 360 - away) if name == "rotation" else away


def _smallest(name: str, curves: Any) -> tuple[str, str, str]:
    """Return what the smallest change does, as a share of the most that changes do."""
    sizes = [_size(name, float(amount)) for amount in curves.amounts]
    at = min((n for n, size in enumerate(sizes) if size > 0), key=sizes.__getitem__)
    shares = []
    for each in (curves.first, curves.second):
        pairs = zip(each[:, at], each.max(1), strict=True)
        shares.append(f"{fmean(float(d / most) if most else 0.0 for d, most in pairs):.0%}")
    return f"{name} by {sizes[at]:.3g}", shares[0], shares[1]


def _filters(bench: Bench, title: str) -> Making:
    pictures, rows = [], []
    for done, network in enumerate(bench.networks):
        yield models.Progress(done, len(bench.networks), network.name)
        found = models.finish(models.measure_filters(network))
        pictures.append((f"{network.name}: filters", models.encode_result(found, "png")))
        bands = [f"{found.share(band):.0%}" for band in range(3)]
        aliased = f"{found.aliased_by(found.stride):.0%}" if found.stride > 1 else "-"
        dead = f"{int(found.dead.sum())} of {len(found.dead)}"
        rows.append((network.name, str(found.stride), dead, *bands, aliased))
    yield Section(
        title,
        "AlexNet's first filters, 11 x 11 with stride 4, mix very high and low frequencies with "
        "little in between, and some are dead; the stride aliases the second layer. 7 x 7 and "
        "stride 2 mend both.",
        "the paper argues from pictures; the shares of energy by frequency are ours. Aliased is "
        "what of a natural photo passes the filters and is too fine for the stride.",
        ("network", "stride", "dead", "coarse", "middle", "fine", "aliased"),
        tuple(rows),
        tuple(pictures),
    )


def _occlusion(bench: Bench, title: str) -> Making:
    network, pictures, rows = bench.network, [], []
    for done, (name, photo) in enumerate(bench.photos.items()):
        yield models.Progress(done, len(bench.photos), name)
        framed = models.frame_photo(photo, network.preprocessing)
        found = models.finish(models.occlude(network, framed, models.OcclusionRequest()))
        pictures.append((f"{name}: the maps of Fig. 7", models.encode_result(found, "png")))
        rows.append((name, *_covered(found)))
    yield Section(
        title,
        "a grey square covers one place after another. Where it covers the object, the strongest "
        "map of layer 5 and the probability of the class fall: of a dog's face, a car's wheel, "
        "a hound's face among people.",
        f"the same on {len(rows)} photos, with a square of 32 and a step of 8 pixels; the paper "
        f"prints neither. The classes are those that {network.name} has learned.",
        ("photo", "class", "whole photo", "at least", "square at", "then most probable"),
        tuple(rows),
        tuple(pictures),
    )


def _covered(found: models.Occlusion) -> tuple[str, ...]:
    """Say what the square does to the class, or that there is none."""
    classes = found.classes
    if classes is None:
        return "no classifier", "", "", "", ""
    least = int(classes.probability.argmin())
    row, column = divmod(least, len(found.lefts))
    return (
        classes.labels[classes.target],
        f"{classes.whole_probability:.1%}",
        f"{float(classes.probability[row, column]):.1%}",
        f"{found.tops[row]}, {found.lefts[column]}",
        classes.labels[int(classes.best[row, column])],
    )


def _correspondence(bench: Bench, title: str) -> Making:
    network = bench.network
    asked = models.CorrespondenceRequest(parts=bench.marks)
    photos = bench.framed(network)[: _marked(bench)]
    found = yield from _finish(models.correspond(network, photos, asked))
    rows = [tuple(_cell(value) for value in row) for row in found.table.rows]
    count = len(found.photos)
    few = (
        " The photos are two faces of very different size, so that this shows how it is done and "
        "says nothing of the claim."
        if bench.marks == MARKS
        else ""
    )
    yield Section(
        title,
        "of five dogs' faces, what masks over the same part take away has more signs in common "
        "than what random masks take away: Delta .067, .069 and .079 for eyes and nose, .107 at "
        "random, at layer 5.",
        f"{count} photos.{few}",
        tuple(found.table.columns),
        tuple(rows),
        (("The parts and their Delta", models.encode_result(found, "png")),),
    )


def _marked(bench: Bench) -> int:
    """Count the photos on which parts are marked: the first ones."""
    return len(models.parse_parts(bench.marks)[0].masks)


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _errors(_: Bench, title: str) -> Making:
    rows = [
        (name, each.source, each.place, f"{each.top1}", "" if each.top5 is None else f"{each.top5}")
        for name in ("alexnet2012", "alexnet", "zfnet", "zfnet_b")
        for each in models.error_rates(name)
    ]
    yield Section(
        title,
        "the error of AlexNet, of its own network and of wider ones on ImageNet's validation "
        "photos, in per cent.",
        "quoted, not measured: it takes ImageNet's 50,000 validation photos. Beside the papers' "
        "numbers are those that the published weights' makers measured.",
        ("network", "source", "where", "top 1", "top 5"),
        tuple(rows),
    )


def _probe(bench: Bench, title: str) -> Making:
    assert bench.data is not None
    rows: list[tuple[str, ...]] = []
    columns: tuple[str, ...] = ()
    pictures = []
    for network in bench.networks:
        asked = models.ProbeRequest(folds=bench.folds)
        found = yield from _finish(models.probe(network, bench.data, bench.keep, asked))
        columns = "network", *found.table.columns
        rows += [(network.name, *(_percent(cell) for cell in row)) for row in found.table.rows]
        pictures.append((f"{network.name} by layer", models.encode_result(found, "png")))
    yield Section(
        title,
        "of Caltech-101, 30 photos a class: a linear SVM on layers 1 to 5 and 7 reaches 44.8, "
        "66.2, 72.3, 76.6, 86.2 and 85.5 % (Table 7), a softmax on the last 86.5 % (Table 4).",
        f"the same protocol over {bench.folds} draws, on the photos of {bench.data.name}. Weights "
        "that learned from these photos remember them: their figures say nothing of others.",
        columns,
        tuple(rows),
        tuple(pictures),
    )


def _percent(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _no_marks(bench: Bench) -> str:
    return "" if bench.marks else "parts must be marked on the photos: --parts names them"


def _no_run(bench: Bench) -> str:
    named = bench.run is not None and bench.data is not None
    return "" if named else "it takes a training run and its photos: --run and --data name them"


def _no_data(bench: Bench) -> str:
    return "" if bench.data else "it takes a folder of photos for each class: --data names it"


PLANS: Sequence[Plan] = (
    Plan("Figure 2: what the strongest maps of each layer see", _strongest),
    Plan("Figure 3: the network", _architecture),
    Plan("Figure 4: features while training", _evolution, _no_run),
    Plan("Figure 5: photos moved, scaled and turned", _invariance),
    Plan("Figure 6: the first layer's filters", _filters),
    Plan("Figure 7: a grey square", _occlusion),
    Plan("Table 1: correspondence", _correspondence, _no_marks),
    Plan("Table 2: errors on ImageNet", _errors),
    Plan("Tables 4 and 7: what each layer knows", _probe, _no_data),
)
LEFT_OUT = (
    ("Figure 1: the deconvnet", "it is how every projection here is made"),
    ("Table 3: other architectures", "each takes a training on ImageNet's 1.3 million photos"),
    ("Tables 5 and 6, Figure 9", "Caltech-256 and PASCAL are not at hand"),
)


def weights_of(network: models.Network) -> str:
    """Say whose weights a network has."""
    known = network.provenance
    said = [known.source, known.sha256[:8], known.description or ""]
    return f"{network.name}: {', '.join(filter(None, said))}"
