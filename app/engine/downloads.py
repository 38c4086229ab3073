"""Published weights on their way: one fetch in the background for each network."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import models

log = logging.getLogger(__name__)

REMEMBERED = 600.0
"""Seconds for which a failed fetch is not tried again unless somebody asks for it."""

Fetch = Callable[[str, Callable[[int, int], None]], Path]


class DownloadEnded(models.DeconvnetError):
    """A fetch ended for a reason that lies in this server."""


class _Closed(Exception):
    """The server stops; what has arrived is kept."""


@dataclass(frozen=True)
class Download:
    """One fetch: bytes that have arrived and are expected; where it has ended, when and how."""

    network: str
    done: int
    total: int
    began: float
    first: int | None = None
    """What an earlier fetch had left."""
    ended: float | None = None
    failure: models.DeconvnetError | None = None

    @property
    def retry_after(self) -> int:
        """Estimate in how many seconds it will be over, from the speed so far."""
        gained, taken = self.done - (self.first or 0), time.monotonic() - self.began
        if gained <= 0 or taken < 1:
            return 5
        return min(60, max(1, math.ceil((self.total - self.done) * taken / gained)))


class Downloads:
    """What is being fetched, and what could not be."""

    def __init__(self, fetch: Fetch, remembered: float = REMEMBERED) -> None:
        self._fetch, self._remembered = fetch, remembered
        self._lock = threading.Lock()
        self._known: dict[str, Download] = {}
        self._closed = False

    def begin(self, network: str, total: int, fetch: Fetch | None = None) -> Download:
        """Begin to fetch a network's weights, by ``fetch`` or as usual, unless it is under way."""
        with self._lock:
            known = self._known.get(network)
            if known is not None and known.ended is None:
                return known
            download = Download(network, 0, total, time.monotonic())
            self._known[network] = download
        name = f"fetch-{network}"
        work = (network, fetch or self._fetch)
        threading.Thread(target=self._run, args=work, name=name, daemon=True).start()
        return download

    def under_way(self, network: str) -> Download | None:
        """Return the fetch that brings a network's weights just now."""
        known = self._known.get(network)
        return known if known is not None and known.ended is None else None

    def count(self) -> int:
        """Count the fetches under way."""
        return sum(known.ended is None for known in list(self._known.values()))

    def failure(self, network: str) -> models.DeconvnetError | None:
        """Say why the last fetch failed, for as long as that is remembered."""
        known = self._known.get(network)
        if known is None or known.ended is None or known.failure is None:
            return None
        return known.failure if time.monotonic() - known.ended < self._remembered else None

    def close(self) -> None:
        """Stop fetching at the next byte; what has arrived is kept."""
        self._closed = True

    def _run(self, network: str, fetch: Fetch) -> None:
        failure: models.DeconvnetError | None = None
        try:
            fetch(network, lambda done, total: self._tell(network, done, total))
        except _Closed:
            failure = DownloadEnded("stopped")
        except models.DeconvnetError as error:
            failure = error
        except Exception:
            log.exception("fetching %s failed", network)
            failure = DownloadEnded("unforeseen")
        self._change(network, ended=time.monotonic(), failure=failure)

    def _tell(self, network: str, done: int, total: int) -> None:
        if self._closed:
            raise _Closed
        first = self._known[network].first
        self._change(network, done=done, total=total, first=done if first is None else first)

    def _change(self, network: str, **news: object) -> None:
        with self._lock:
            self._known[network] = replace(self._known[network], **news)  # type: ignore[arg-type]
