"""What a figure shows, in the words of a report: network, layer, method, scale and weights."""

from __future__ import annotations

from collections.abc import Sequence

from models.networks.catalogue import ARCHITECTURES
from models.networks.network import Provenance
from models.projection.choice import Show
from models.projection.visualize import Projection, Visualization
from models.render import LIT, SMOOTH

METHODS = {
    "deconvnet": "the deconvnet (Zeiler and Fergus, 2014)",
    "guided": "guided backpropagation (Springenberg et al., 2015)",
    "gradient": "the gradient (Simonyan et al., 2014), times the activation",
}
SEEDS = {
    "unit": "Each starts from a single unit",
    "map": "Each starts from a whole feature map",
}
WAYS: dict[Show, str] = {
    "exact": "Shown exact; s is each picture's own scale, {s}",
    "smooth": (
        f"Shown smooth (mean of the channels, Gaussian of {SMOOTH:g} pixels); "
        "s is each picture's own scale, {s}"
    ),
    "lit": (
        f"Shown lit (the photo where the projection is strong, Gaussian of {LIT:g} pixels); "
        "whole from its own scale s on, {s}"
    ),
    "difference": (
        "Shown as smooth difference from the mean of all, {left} % of the energy; own scale s, {s}"
    ),
}
FITS = {
    "crop": "of the photo the network saw the central square",
    "pad": "the network saw the whole photo, padded to a square",
    "stretch": "the network saw the whole photo, stretched to a square",
}


def caption(view: Visualization) -> str:
    """Say all that a reader of a report needs to know of a view's figure."""
    return (
        f"{title_of(view)}, {view.layer}: projections of {_count(view)} to pixels by "
        f"{METHODS[view.method]}, beside the patches of the photo that caused them. "
        f"{SEEDS[view.seed]}; {FITS[view.fit]}. {_legend([view])}{_greys(view)}. "
        f"{weights_of(view.provenance)}. {_listed(view)}."
    )


def comparison_caption(views: Sequence[tuple[str, Visualization]]) -> str:
    """Say the same of several views beside each other, each with what tells it apart."""
    sides = ("Left", "Right") if len(views) == 2 else ("Left", "Middle", "Right")
    told = [f" ({apart})" if apart else "" for apart, _ in views]
    named = zip(sides, told, views, strict=False)
    return " ".join(f"{side}{apart}: {caption(view)}" for side, apart, (_, view) in named)


def title_of(view: Visualization) -> str:
    """Name the network of a view as its paper does."""
    return title_of_network(view.network)


def title_of_network(name: str) -> str:
    """Name a network as its paper does."""
    known = ARCHITECTURES.get(name)
    return known.title if known else name


def legend(views: Sequence[Visualization]) -> list[str]:
    """Say for each way in which the views are shown what its greys mean, and how far they reach."""
    return [_legend([v for v in views if v.show == way]) for way in _ways(views)]


def _ways(views: Sequence[Visualization]) -> list[Show]:
    return list(dict.fromkeys(view.show for view in views))


def _legend(views: Sequence[Visualization]) -> str:
    shown = [each for view in views for each in view.projections]
    scales = [each.scale for each in shown if each.scale is not None]
    if not scales:
        return "Nothing fires here, so there is nothing to project"
    left = [100 * each.remaining for each in shown if each.remaining is not None]
    return WAYS[views[0].show].format(s=_span(scales), left=_span(left) if left else "")


def _greys(view: Visualization) -> str:
    return "" if view.show == "lit" else "; grey is zero, black is minus s, white is plus s"


def _span(values: Sequence[float]) -> str:
    low, high = digits(min(values)), digits(max(values))
    return low if low == high else f"{low} to {high}"


def weights_of(provenance: Provenance) -> str:
    """Say whose weights they are, by the beginning of their file's hash."""
    if not provenance.trained:
        return f"{provenance.source.capitalize()} weights, nothing was learned"
    return f"{provenance.source.capitalize()} weights, sha256 {provenance.sha256[:8]}"


def digits(value: float) -> str:
    """Write a number in three digits."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
    return text.replace("-", "\N{MINUS SIGN}")


def _count(view: Visualization) -> str:
    count = len(view.projections)
    if view.target:
        return f"the {count} feature maps that add most to the score of “{view.target.label}”,"
    return "one feature map" if count == 1 else f"{count} feature maps, strongest first,"


def _listed(view: Visualization) -> str:
    named = "Map (row, column): activation" if view.seed == "unit" else "Map: largest activation"
    return f"{named}, s: {'; '.join(map(_map, view.projections))}"


def _map(each: Projection) -> str:
    place = f" ({each.unit[0]}, {each.unit[1]})" if each.unit else ""
    adds = "" if each.contribution is None else f", adds {digits(each.contribution)}"
    left = "" if each.remaining is None else f", {digits(100 * each.remaining)} % remain"
    scale = ", silent" if each.scale is None else f", {digits(each.scale)}"
    label = f" “{each.label}”" if each.label else ""
    return f"{each.feature}{label}{place}: {digits(each.activation)}{scale}{left}{adds}"
