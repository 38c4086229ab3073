"""What every experiment is made of, so that each can be watched, repeated and cited alike.

An experiment is a frozen ``Request`` (what is asked), a generator that yields ``Progress`` and at
last its frozen ``Result``, which knows its numbers, its table, its figure and whose weights they
are of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.networks.network import Provenance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHOD = 2
"""Raised where an experiment comes to compute something else, so that what was kept of it is not
taken for an answer any more."""


@dataclass(frozen=True)
class Progress:
    """How far an experiment is: units of work done and in all, and what is done now.

    ``beside`` says that what is done now needs no device, so that others may have it meanwhile.
    """

    done: int
    total: int
    detail: str = ""
    beside: bool = False


class Table(NamedTuple):
    """The numbers as a spreadsheet has them: the names of its columns, and its rows."""

    columns: Sequence[str]
    rows: Iterable[Sequence[object]]


class Result(Protocol):
    """What an experiment found."""

    @property
    def numbers(self) -> Mapping[str, NDArray[np.generic]]:
        """Return the numbers by name, as arrays on the host."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what was asked and what else the numbers mean, as JSON can say it."""

    @property
    def table(self) -> Table:
        """Return the numbers as a table."""

    @property
    def provenance(self) -> Provenance:
        """Return whose weights they are of."""

    def draw(self, figure: Figure) -> None:
        """Draw the paper's figure of it."""


R = TypeVar("R", bound=Result)


def finish(run: Iterator[Progress | R]) -> R:
    """Run an experiment to its end, for who does not watch its progress."""
    *_, last = run
    assert not isinstance(last, Progress), "an experiment ends in its result"
    return last
