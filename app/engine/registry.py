"""The networks on offer, and where their weights come from."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import models
from app.engine.downloads import Download, Downloads
from app.settings import Settings

FAVOURITES = ("zfnet", "alexnet", "vgg16")
"""The networks tried first where nobody names one."""


class Edition(NamedTuple):
    """A network with certain weights: their source and file, and a stamp that no other file has."""

    network: str
    source: models.Source | None
    path: Path | None
    stamp: tuple[int, ...]


class NetworkRegistry:
    """The networks that the settings allow, on the device that they name."""

    def __init__(self, settings: Settings) -> None:
        self.device = models.pick_device(settings.device)
        self.sources = models.Sources(
            weights_dir=settings.weights_dir,
            cache_dir=settings.cache_dir,
            offline=settings.offline,
            random=settings.random_weights,
        )
        self.downloads = Downloads(self.fetch)
        known = models.architectures()
        self.architectures = {name: known[name] for name in settings.networks or known}

    def weights(self, name: str, weights: str | None = None) -> models.WeightsInfo:
        """Say which weights a network has or could have: those asked for, or those that win.

        Raises UnknownNetwork, UnknownWeights, InvalidChoice; WeightsArriving for published ones
        that are on their way.
        """
        if name not in self.architectures:
            raise models.UnknownNetwork(name[:80], list(self.architectures))
        try:
            info = models.find_weights(name, self.sources, weights)
        except models.UnknownWeights:
            if weights == "published" and self.downloads.under_way(name):
                raise self._on_the_way(name) from None
            raise
        if info.offered_nbytes is None:
            return info
        if download := self.downloads.under_way(name):
            return _on_its_way(info, download)
        return replace(info, failure=self.downloads.failure(name))

    def provenance(self, name: str) -> models.Provenance | None:
        """Say where a network's weights come from, where they are here and can be read."""
        self.weights(name)
        return models.look_up(name, self.sources)

    def weights_here(self, name: str) -> tuple[models.Provenance, ...]:
        """List all weights of a network that can be asked for, those that win first."""
        self.weights(name)
        return models.weights_here(name, self.sources)

    def fetch(
        self,
        name: str,
        on_progress: Callable[[int, int], None],
        publisher: str | None = None,
    ) -> Path:
        """Fetch a network's published weights, reporting bytes done and in all."""
        self.weights(name)
        return models.fetch_weights(name, self.sources, on_progress, publisher)

    def default(self) -> str:
        """Name the first ready network; where none is, the first of all."""
        favourites = [name for name in FAVOURITES if name in self.architectures]
        order = [*favourites, *self.architectures]
        return next((name for name in order if self.weights(name).state == "ready"), order[0])

    def file(self, name: str | None = None, weights: str | None = None) -> Edition:
        """Name a network and its weights file, as it is now; raises as ``weights``."""
        name = name or self.default()
        info = self.weights(name, weights)
        return Edition(name, info.source, info.path, info.stamp)

    def load(self, name: str, weights: str | None = None) -> models.Network:
        """Load a network; raises as ``weights`` does, or a WeightsError."""
        self.weights(name, weights)
        return models.load(name, self.sources, self.device, weights)

    def use(self, name: str, weights: str | None = None) -> models.Network:
        """Load a network, or begin to fetch its weights where this is their first use."""
        info = self.weights(name, weights)
        if info.state not in {"available", "downloading"}:
            return self.load(name, weights)
        if info.failure:
            raise models.WeightsMissing("not_here", info=info)
        self.begin(name)
        raise self._on_the_way(name)

    def begin(self, name: str, publisher: str | None = None) -> models.WeightsInfo:
        """Begin to fetch a network's published weights, from all publishers or from one.

        Raises WeightsMissing where it cannot, InvalidChoice for a publisher that does not.
        """
        info = self.weights(name)
        if not info.offers and info.source != "published":
            if info.offline and info.publishers:
                raise models.WeightsMissing("offline", info=info)
            raise models.WeightsMissing("not_fetched", info=info)
        asked = [each for each in info.publishers if publisher in (None, each.publisher)]
        if not asked:
            known = tuple(each.publisher for each in info.publishers)
            raise models.InvalidChoice(
                "unknown_word", name="publisher", known=known, value=(publisher or "")[:40]
            )
        if wanted := [each for each in asked if each in info.offers]:
            fetch = partial(self.fetch, publisher=publisher)
            self.downloads.begin(name, wanted[0].nbytes, fetch)
        return self.weights(name)

    def _on_the_way(self, name: str) -> models.WeightsArriving:
        download = self.downloads.under_way(name)
        if download is None:
            return models.WeightsArriving(name, retry_after=1)
        return models.WeightsArriving(name, download.total, download.retry_after)


def _on_its_way(info: models.WeightsInfo, download: Download) -> models.WeightsInfo:
    """Say how far a fetch is; starter weights are ready meanwhile."""
    state = "downloading" if info.state == "available" else info.state
    return replace(info, state=state, arriving=(download.done, download.total))
