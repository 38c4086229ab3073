"""What a figure shows, in the words of a report: network, layer, method, scale and weights."""

from __future__ import annotations

from collections.abc import Sequence

from models.networks.catalogue import ARCHITECTURES
from models.projection.visualize import Projection, Visualization

METHODS = {
    "deconvnet": "the deconvnet (Zeiler and Fergus, 2014)",
    "guided": "guided backpropagation (Springenberg et al., 2015)",
    "gradient": "the gradient (Simonyan et al., 2014), times the activation",
}
SEEDS = {
    "unit": "Each starts from a single unit",
    "map": "Each starts from a whole feature map",
}
FITS = {
    "crop": "the centre of the photo was cut out",
    "pad": "the whole photo was padded to a square",
    "stretch": "the whole photo was stretched to a square",
}


def caption(view: Visualization) -> str:
    """Say all that a reader of a report needs to know of a view's figure."""
    return (
        f"{title_of(view)}, {view.layer}: projections of {_count(view)} to pixels by "
        f"{METHODS[view.method]}, beside the patches of the photo that caused them. "
        f"{SEEDS[view.seed]}; {FITS[view.fit]}. {legend([view])}. "
        f"{weights_of(view)}. {_listed(view)}."
    )


def comparison_caption(views: Sequence[tuple[str, Visualization]]) -> str:
    """Say the same of several views beside each other, each under its name."""
    return " ".join(f"{name}: {caption(view)}" for name, view in views)


def title_of(view: Visualization) -> str:
    """Name the network of a view as its paper does."""
    known = ARCHITECTURES.get(view.network)
    return known.title if known else view.network


def legend(views: Sequence[Visualization]) -> str:
    """Say what the levels of grey mean, and the scales that they were drawn with."""
    scales = [each.scale for view in views for each in view.projections if each.scale]
    if not scales:
        return "Nothing fires here, so there is nothing to project"
    low, high = digits(min(scales)), digits(max(scales))
    span = low if low == high else f"{low} to {high}"
    return f"Grey is zero; black and white are minus and plus each picture's own scale s, {span}"


def weights_of(view: Visualization) -> str:
    """Say whose weights they are, by the beginning of their file's hash."""
    provenance = view.provenance
    if not provenance.trained:
        return f"{provenance.source.capitalize()} weights, nothing was learned"
    return f"{provenance.source.capitalize()} weights, sha256 {provenance.sha256[:8]}"


def digits(value: float) -> str:
    """Write a number in three digits."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
    return text.replace("-", "\N{MINUS SIGN}")


def _count(view: Visualization) -> str:
    count = len(view.projections)
    return "one feature map" if count == 1 else f"{count} feature maps, strongest first,"


def _listed(view: Visualization) -> str:
    named = "Map (row, column): activation" if view.seed == "unit" else "Map: largest activation"
    return f"{named}: {'; '.join(map(_map, view.projections))}"


def _map(each: Projection) -> str:
    place = f" ({each.unit[0]}, {each.unit[1]})" if each.unit else ""
    silent = "" if each.picture else ", silent"
    return f"{each.feature}{place}: {digits(each.activation)}{silent}"
