"""A visualization as the bytes of an answer, in the kind that the client prefers."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from PIL import Image

import models
from app.photos.store import Photo
from app.web import documents
from app.web.citation import bibtex
from app.web.errors import NotAcceptable

JSON, PNG, ZIP, NPZ = "application/json", "image/png", "application/zip", "application/x-npz"
CSV, SVG = "text/csv", "image/svg+xml"
SUFFIXES = {JSON: "json", PNG: "png", ZIP: "zip", NPZ: "npz"}
"""Media type to file suffix, in the order of preference where the client has none."""


def negotiate(accept: str, media_types: Iterable[str] = SUFFIXES) -> str:
    """Choose the media type that an Accept header prefers; raises NotAcceptable."""
    ranges = list(_ranges(accept or "*/*"))
    best = max(media_types, key=partial(_quality, ranges))
    if not _quality(ranges, best):
        raise NotAcceptable(media_types=tuple(media_types), accept=accept[:80])
    return best


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            yield media_type, float(quality)
        except ValueError:
            yield media_type, 0.0


def _quality(ranges: list[tuple[str, float]], media_type: str) -> float:
    family = f"{media_type.partition('/')[0]}/*"
    for wanted in (media_type, family, "*/*"):
        for pattern, quality in ranges:
            if pattern == wanted:
                return quality
    return 0.0


def encode(
    view: models.Visualization,
    photo: Photo,
    media_type: str,
    decode_ms: float = 0.0,
    maps: Sequence[Any] = (),
) -> bytes:
    """Write a view in one of the media types; the same view gives the same bytes.

    A ZIP takes the activation ``maps`` of the view's features, too.
    """
    if media_type == PNG:
        return models.to_png_sheet(view)
    if media_type == NPZ:
        return models.to_npz(view)
    pictures = [
        models.entry_names(each, view.show) if media_type == ZIP else _inline(each)
        for each in view.projections
    ]
    text = document(view, photo, pictures, decode_ms).model_dump_json()
    if media_type != ZIP:
        return text.encode()
    texts = {"caption.txt": f"{models.caption(view)}\n", "citations.bib": bibtex([view])}
    return models.to_zip(view, text, maps, texts)


def file_name(view: models.Visualization, suffix: str) -> str:
    """Name the file of a view's answer, after what it shows and how."""
    return f"{view.network}-{view.layer}{models.way_suffix(view.show)}.{suffix}"


def _inline(each: models.Projection) -> tuple[str | None, str | None]:
    return data_uri(each.picture), data_uri(each.patch)


def timings(view: models.Visualization, decode_ms: float) -> dict[str, float]:
    """Collect what each part took, in milliseconds."""
    return {"decode": round(decode_ms, 1)} | {
        name: round(ms, 1) for name, ms in view.timings_ms.items()
    }


def data_uri(picture: Image.Image | None) -> str | None:
    """Write a picture as a PNG inside a URI."""
    if picture is None:
        return None
    return f"data:image/png;base64,{base64.b64encode(models.encode_png(picture)).decode()}"


def document(
    view: models.Visualization,
    photo: Photo,
    pictures: Sequence[tuple[str | None, str | None]],
    decode_ms: float = 0.0,
) -> documents.VisualizationDocument:
    """Describe a view as the API does; `pictures` say where each projection and patch is."""
    return documents.VisualizationDocument(
        network=view.network,
        layer=view.layer,
        method=view.method,
        seed=view.seed,
        fit=view.fit,
        show=view.show,
        rank=view.rank,
        target=documents.describe_target(view.target),
        weights=documents.describe_weights(view.provenance),
        image=documents.ImageDocument(
            id=photo.id, sha256=photo.sha256, width=view.photo[0], height=view.photo[1]
        ),
        input=documents.SizeDocument(width=view.input[0], height=view.input[1]),
        predictions=_predictions(view),
        projections=tuple(
            _projection(each, *where)
            for each, where in zip(view.projections, pictures, strict=True)
        ),
        timings_ms=timings(view, decode_ms),
    )


def _predictions(view: models.Visualization) -> tuple[documents.PredictionDocument, ...] | None:
    if view.predictions is None:
        return None
    return tuple(
        documents.PredictionDocument(label=each.label, probability=each.probability)
        for each in view.predictions
    )


def _projection(
    each: models.Projection, projection: str | None, patch: str | None
) -> documents.ProjectionDocument:
    box = each.receptive_field
    return documents.ProjectionDocument(
        feature=each.feature,
        unit=each.unit,
        activation=each.activation,
        receptive_field=documents.BoxDocument(
            top=int(box.top), left=int(box.left), bottom=int(box.bottom), right=int(box.right)
        ),
        scale=each.scale,
        remaining=each.remaining,
        contribution=each.contribution,
        projection=projection,
        patch=patch,
    )
