"""What can go wrong, as fields; the sentences for people are made elsewhere, in their language.

DeconvnetError
├── UnknownNetwork      no network of that name
├── UnknownLayer        the network has no such layer (its file may end earlier)
├── InvalidChoice       a parameter that cannot be had: a unit outside the map, top 0, ...
├── OutOfMemory         the device's memory did not suffice, even for one unit at a time
├── DeviceLost          the device failed: what was computed on it, and it itself, is lost
├── ExamplesError
│   ├── NoExamples       nobody has indexed a data set, or not this layer
│   └── ExamplesInvalid  an index that is damaged, or that others cannot be merged with
└── WeightsError
    ├── WeightsMissing   nothing to load, or nothing to be had
    ├── UnknownWeights   weights that were asked for and are not on this machine
    ├── WeightsArriving  being fetched or loaded just now
    └── WeightsInvalid   a file that is not what it should be

Where one class has several cases, ``reason`` tells them apart. An error may have another one for
its ``cause``. ``app.web.sentences`` holds a sentence for every class and reason, ``app.web.errors``
the status.
"""

from collections.abc import Callable, Sequence


class DeconvnetError(Exception):
    """A failure described by a reason and named fields, which ``str`` lists."""

    def __init__(self, reason: str = "", /, **fields: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fields = fields

    def __str__(self) -> str:
        listed = ", ".join(f"{name}={value!r}" for name, value in self.fields.items())
        return ": ".join(part for part in (self.reason, listed) if part)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return _restore, (type(self), self.reason, self.fields)


def _restore(
    error_type: type[DeconvnetError], reason: str, fields: dict[str, object]
) -> DeconvnetError:
    """Make an error anew where it was sent to from another process."""
    error = error_type.__new__(error_type)
    DeconvnetError.__init__(error, reason, **fields)
    return error


class UnknownNetwork(DeconvnetError):
    """No network goes by that name; ``known`` are those that do."""

    def __init__(self, network: str, known: Sequence[str]) -> None:
        super().__init__(network=network, known=tuple(known))


class UnknownLayer(DeconvnetError):
    """The network has no layer of that name; ``known`` are those that it has."""

    def __init__(self, network: str, layer: str, known: Sequence[str]) -> None:
        super().__init__(network=network, layer=layer, known=tuple(known))


class UnreachedLayer(UnknownLayer):
    """The layer exists only for inputs of ``size`` x ``size`` pixels."""

    def __init__(self, network: str, layer: str, size: int) -> None:
        DeconvnetError.__init__(self, network=network, layer=layer, size=size)


class InvalidChoice(DeconvnetError):
    """A choice of layer, maps or unit that this network and picture cannot satisfy."""


class OutOfMemory(DeconvnetError):
    """The device's memory did not suffice for a step; smaller work may succeed."""

    def __init__(self, step: str) -> None:
        super().__init__(step=step)


class DeviceLost(DeconvnetError):
    """The device failed, or computes wrongly; ``cause`` is what its driver said."""


class ExamplesError(DeconvnetError):
    """An index of a data set that cannot be used."""


class NoExamples(ExamplesError):
    """There is no index of these weights, or it lacks a layer."""


class ExamplesInvalid(ExamplesError):
    """An index that is damaged, or does not go with another."""


class WeightsError(DeconvnetError):
    """Weights that cannot be used."""


class WeightsMissing(WeightsError):
    """No weights for the network are on this machine, or none can be had."""


class UnknownWeights(WeightsError):
    """The network has no such weights on this machine; ``known`` are those that it has."""


class WeightsArriving(WeightsError):
    """The weights are on their way; asking again in ``retry_after`` seconds may succeed."""

    def __init__(self, network: str, nbytes: int | None = None, retry_after: int = 5) -> None:
        super().__init__(network=network, nbytes=nbytes, retry_after=retry_after)


class WeightsInvalid(WeightsError):
    """A weights file that is damaged, unsafe or made for another network."""
