"""What each layer knows (Zeiler & Fergus 2013, 5.3, Table 7): classifiers on its features.

A linear SVM and a softmax learn from the features of some photos of each class and are tested on
others; the accuracy is the mean over classes. Vectors are scaled to length one. Both classifiers
see them turned into the span of the photos that are learned from, where products are the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidChoice
from models.experiments.classes import score_layer
from models.experiments.filters import convolutions
from models.experiments.plots import COLOURS
from models.experiments.requests import ProbeRequest
from models.experiments.shape import Progress, Table
from models.experiments.vectors import fill_vectors, open_vectors
from models.networks.network import Network, Provenance
from models.training.photos import open_folders

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_CLASS = "BACKGROUND_Google"
"""A folder of Caltech-101 that is no class."""
PAPER_SVM = (44.8, 66.2, 72.3, 76.6, 86.2, 85.5)
"""Table 7: Caltech-101, 30 photos a class, in percent: layers 1 to 5 and 7."""
PAPER_SOFTMAX = (None, None, None, None, 82.9, 85.4)
SVM_COST, SOFTMAX_COST = 10.0, 1000.0
"""How dear errors are beside weights, for vectors of length one."""
SOFTMAX_SLOPE = 1e-3
"""The softmax has learned when no slope is steeper than this share of 1 / classes, about as steep
as the first ones are."""
TAUGHT = f"{SVM_COST} {SOFTMAX_COST} {SOFTMAX_SLOPE}"
"""How both classifiers are taught: what was found in another way is not taken for it."""
CONVOLUTIONS = 5
"""How many the paper's networks have."""
DEEP = 8
"""Networks of more convolutions are probed after each pool."""

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]


class Split(NamedTuple):
    """Which photos are learned from, and which tested on."""

    train: Labels
    test: Labels


@dataclass(frozen=True)
class Probe:
    """The accuracy of both classifiers, from 0 to 1, at L layers in F folds."""

    network: str
    request: ProbeRequest
    layers: tuple[str, ...]
    classes: tuple[str, ...] = field(repr=False)
    photos: int
    svm: Matrix = field(repr=False)  # (L, F)
    softmax: Matrix = field(repr=False)  # (L, F)
    is_papers: bool
    """Are the layers the paper's, 1 to 5 and, where the classifier has it, 7?"""
    provenance: Provenance

    @property
    def numbers(self) -> Mapping[str, NDArray[np.generic]]:
        """Return layers (L,) and both classifiers' accuracies (L, F)."""
        return {"layers": np.array(self.layers), "svm": self.svm, "softmax": self.softmax}

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what was asked, and what the weights learned from."""
        asked = {n: getattr(self.request, n) for n in ("train", "test", "folds", "grid", "fit")}
        return {
            "experiment": "probe",
            "network": self.network,
            **asked,
            "classes": len(self.classes),
            "photos": self.photos,
            "weights_learned_from": self.provenance.description,
        }

    @property
    def table(self) -> Table:
        """Return a row for each layer, in percent, the paper's beside ours."""
        columns = (
            "layer",
            "SVM",
            "SVM deviation",
            "softmax",
            "softmax deviation",
            "paper's SVM, Caltech-101",
            "paper's softmax, Caltech-101",
        )
        return Table(columns, list(self._rows()))

    def _rows(self) -> Iterator[Sequence[object]]:
        for number, layer in enumerate(self.layers):
            ours = (self.svm[number], self.softmax[number])
            cells = [cell for each in ours for cell in _mean_and_deviation(each)]
            paper: tuple[object, object] = "", ""
            if self.is_papers:
                paper = PAPER_SVM[number], PAPER_SOFTMAX[number] or ""
            yield layer, *cells, *paper

    def draw(self, figure: Figure) -> None:
        """Draw both accuracies over the layers."""
        figure.set_size_inches(5, 3.2)
        axes = figure.subplots()
        ways = (("SVM", self.svm, COLOURS[0]), ("softmax", self.softmax, COLOURS[1]))
        for name, values, colour in ways:
            spread = 100 * values.std(1, ddof=1) if values.shape[1] > 1 else None
            mean = 100 * values.mean(1)
            axes.errorbar(self.layers, mean, spread, label=name, color=colour, marker="o", ms=3)
        if self.is_papers:
            axes.plot(
                self.layers,
                PAPER_SVM[: len(self.layers)],
                "--",
                color="0.6",
                label="the paper's SVM (Caltech-101)",
            )
        axes.set(ylim=(0, 100), ylabel="mean accuracy over classes (%)")
        axes.set_title(f"{self.network}: {len(self.classes)} classes", loc="left")
        axes.legend(loc="lower right")


def probe(
    network: Network, data: Path, keep: Path, request: ProbeRequest
) -> Iterator[Progress | Probe]:
    """Test what each layer's features tell of the classes of a folder of photos.

    ``data`` holds a folder for each class; feature vectors are kept in ``keep``. Raises
    UnknownLayer and InvalidChoice at once, before anything is computed.
    """
    layers = check_probe(network, request)
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise InvalidChoice("no_scikit_learn") from None
    photos, labels, classes = _photos(data)
    if len(classes) < 2:
        raise InvalidChoice("too_few_classes", folder=str(data), classes=len(classes))
    counts = np.bincount(labels)
    least = int(counts.min())
    if least <= request.train:
        name = classes[int(counts.argmin())]
        raise InvalidChoice("too_few_of_a_class", name=name, photos=least, train=request.train)
    return _probe(network, photos, labels, classes, keep, request, layers)


def check_probe(network: Network, request: ProbeRequest) -> tuple[str, ...]:
    """Return the layers; raise UnknownLayer or InvalidChoice for what cannot be answered."""
    for name in ("train", "test", "folds", "grid"):
        if getattr(request, name) < 1:
            raise InvalidChoice("below_one", name=name, value=getattr(request, name))
    if request.layers is None:
        return papers_layers(network)
    layers = tuple(dict.fromkeys(each.strip() for each in request.layers.split(",")))
    for layer in layers:
        network.path(layer, network.input_size)
    return layers


def papers_layers(network: Network) -> tuple[str, ...]:
    """Name the last layer before each convolution and before the classifier: 1 to 5 and 7.

    Of a deep network, the last one before each block's first.
    """
    reached = [layer for layer, _ in network.sizes(network.input_size)]
    if score_layer(network, network.input_size):
        reached.pop()
    convolutions = [n for n, layer in enumerate(reached) if layer.kind == "conv"]
    begins = convolutions[1:]
    if len(convolutions) > DEEP:
        begins = [n for n in begins if reached[n - 1].kind == "pool"]
    dense = [n for n, layer in enumerate(reached) if layer.kind == "fc"]
    ends = [*begins, *dense[:1], len(reached)]
    return tuple(dict.fromkeys(reached[end - 1].name for end in ends))


def _photos(data: Path) -> tuple[list[Path], Labels, tuple[str, ...]]:
    """Return all photos, their classes' numbers, and the classes' names."""
    folder = open_folders(data)[0]
    classes = tuple(name for name in folder.classes if name != NO_CLASS)
    numbers = {folder.class_to_idx[name]: number for number, name in enumerate(classes)}
    samples = [(Path(file), numbers[label]) for file, label in folder.samples if label in numbers]
    return [file for file, _ in samples], np.array([n for _, n in samples], np.int64), classes


def _probe(
    network: Network,
    photos: list[Path],
    labels: Labels,
    classes: tuple[str, ...],
    keep: Path,
    request: ProbeRequest,
    layers: tuple[str, ...],
) -> Iterator[Progress | Probe]:
    kept = open_vectors(keep, network, photos, layers, request.fit, request.grid)
    fits = len(layers) * request.folds
    total = len(photos) + fits * BURDEN
    yield Progress(kept.done, total, "features")
    for done in fill_vectors(kept, network, photos, request.fit, request.grid):
        yield Progress(done, total, "features")
    svm, softmax = np.zeros((2, len(layers), request.folds))
    found = kept.accuracies()
    for place in range(fits):
        at, fold = divmod(place, request.folds)
        now = Progress(len(photos) + place * BURDEN, total, layers[at], beside=True)
        fit = f"{layers[at]} {request.train} {request.test} {fold} {TAUGHT}"
        if fit not in found:
            split = draw_split(labels, request.train, request.test, fold)
            found[fit] = yield from _accuracies(kept.open(layers[at]), labels, split, now)
            kept.note_accuracies(found)
        svm[at, fold], softmax[at, fold] = found[fit]
    is_papers = request.layers is None and len(convolutions(network)) == CONVOLUTIONS
    yield Probe(
        network.name,
        request,
        layers,
        classes,
        len(photos),
        svm,
        softmax,
        is_papers,
        network.provenance,
    )


BURDEN = 500
"""One fit takes about as long as the features of so many photos."""


def _mean_and_deviation(values: Matrix) -> tuple[float, float | str]:
    """Return in percent the folds' mean, and their deviation where there are several."""
    deviation = round(100 * float(values.std(ddof=1)), 2) if len(values) > 1 else ""
    return round(100 * float(values.mean()), 2), deviation


def draw_split(labels: Labels, train: int, test: int, fold: int) -> Split:
    """Draw the photos of one fold: ``train`` of each class, and up to ``test`` of the others."""
    chance = np.random.default_rng(fold)
    drawn = [chance.permutation(np.flatnonzero(labels == each)) for each in np.unique(labels)]
    learned = np.concatenate([places[:train] for places in drawn])
    return Split(learned, np.concatenate([places[train : train + test] for places in drawn]))


def turned(learned: NDArray[Any], tested: NDArray[Any]) -> tuple[Matrix, Matrix]:
    """Scale vectors to length one, and turn them into the span of those learned from.

    Products between vectors stay as they were, in as many dimensions as there are vectors.
    """
    one, other = (_normalised(each) for each in (learned, tested))
    if one.shape[1] <= len(one):
        return one.astype(np.float64), other.astype(np.float64)
    values, axes = np.linalg.eigh((one @ one.T).astype(np.float64))
    large = values > values[-1] * 1e-7
    basis = axes[:, large] / np.sqrt(values[large])
    return axes[:, large] * np.sqrt(values[large]), (other @ one.T).astype(np.float64) @ basis


def _normalised(vectors: NDArray[Any]) -> NDArray[np.float32]:
    floats: NDArray[np.float32] = vectors.astype(np.float32)
    floats /= np.maximum(np.linalg.norm(floats, axis=1, keepdims=True), 1e-12)
    return floats


def svm_of() -> Any:
    """Make the linear SVM that tells one class from all others."""
    from sklearn.svm import LinearSVC

    return LinearSVC(C=SVM_COST, random_state=0)


def softmax_of(classes: int) -> Any:
    """Make the classifier that tells so many classes apart by a softmax."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=SOFTMAX_COST, max_iter=1000, tol=SOFTMAX_SLOPE / classes)


def _accuracies(
    vectors: NDArray[Any], labels: Labels, split: Split, now: Progress
) -> Generator[Progress, None, tuple[float, float]]:
    """Teach both classifiers on one fold, in short steps; return both mean accuracies."""
    yield now
    learned, tested = turned(vectors[split.train], vectors[split.test])
    taught, truth = labels[split.train], labels[split.test]
    scores = []
    for each in np.unique(labels):  # one class against all others
        yield now
        scores.append(svm_of().fit(learned, taught == each).decision_function(tested))
    yield now
    return (
        mean_over_classes(np.argmax(scores, 0), truth),
        mean_over_classes(_guess(learned, taught, tested), truth),
    )


def _guess(learned: Matrix, taught: Labels, tested: Matrix) -> Labels:
    """Teach the softmax, and return which classes it sees."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        softmax = softmax_of(len(np.unique(taught))).fit(learned.astype(np.float32), taught)
        guessed: Labels = softmax.predict(tested.astype(np.float32))
    return guessed


def mean_over_classes(found: Labels, truth: Labels) -> float:
    """Return the mean over classes of the share of photos whose class was found."""
    right = found == truth
    return float(np.mean([right[truth == each].mean() for each in np.unique(truth)]))
