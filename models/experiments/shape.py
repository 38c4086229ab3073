"""What every experiment is made of, so that each can be watched, repeated and cited alike.

An experiment is a frozen ``Request`` (what is asked), a generator that yields ``Progress`` and at
last its frozen ``Result``, which knows its numbers and whose weights they are of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.networks.network import Provenance


@dataclass(frozen=True)
class Progress:
    """How far an experiment is: units of work done and in all, and what is done now."""

    done: int
    total: int
    detail: str = ""


class Result(Protocol):
    """What an experiment found."""

    @property
    def numbers(self) -> Mapping[str, NDArray[np.generic]]:
        """Return the numbers by name, as arrays on the host."""

    @property
    def provenance(self) -> Provenance:
        """Return whose weights they are of."""


R = TypeVar("R", bound=Result)


def finish(run: Iterator[Progress | R]) -> R:
    """Run an experiment to its end, for who does not watch its progress."""
    *_, last = run
    assert not isinstance(last, Progress), "an experiment ends in its result"
    return last
