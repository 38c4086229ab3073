"""Parts marked on photos, one after another: those there are, and the one that is added."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

import models
from app.web.addresses import WrittenAddress

EDGES = ("top", "left", "bottom", "right")
PART = "part"
"""What the form calls the name of the part that is added."""


@dataclass(frozen=True)
class Mark:
    """A part: a box (top, left, bottom, right) on each photo; ``without`` is the page less it."""

    name: str
    boxes: tuple[tuple[int, int, int, int], ...]
    without: WrittenAddress


def marks(path: str, query: QueryParams) -> tuple[Mark, ...]:
    """Read the parts that an address names; raises InvalidChoice."""
    parts = _parts(query)
    return tuple(
        Mark(part.name, part.masks, _address(path, query, [*parts[:at], *parts[at + 1 :]]))
        for at, part in enumerate(parts)
    )


def marked(path: str, query: QueryParams) -> WrittenAddress:
    """Return the address to which the part that a form adds belongs; raises InvalidChoice."""
    edges = [query.getlist(edge) for edge in EDGES]
    boxes = "; ".join(",".join(box) for box in zip(*edges, strict=False))
    text = f"{query[PART].replace('|', '/')}: {boxes}"
    parts = models.parse_parts(" | ".join(filter(None, (query.get("parts", "").strip(), text))))
    drawn, wanted = len(parts[-1].masks), len(query.getlist("image"))
    if not drawn or drawn != wanted:
        raise models.InvalidChoice(
            "other_number_of_boxes", part=parts[-1].name, boxes=drawn, wanted=wanted
        )
    return _address(path, query, parts)


def _parts(query: QueryParams) -> list[models.Part]:
    text = query.get("parts", "").strip()
    return list(models.parse_parts(text)) if text else []


def _address(path: str, query: QueryParams, parts: Sequence[models.Part]) -> WrittenAddress:
    """Write the page's address with other parts."""
    kept = [(n, v) for n, v in query.multi_items() if v and n not in ("parts", PART, *EDGES)]
    if any(part.name != models.OBJECT for part in parts):
        kept.append(("parts", models.write_parts(parts)))
    return WrittenAddress(f"{path}?{urlencode(kept, safe=',:;')}")
