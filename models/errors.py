"""What can go wrong in the science, as sentences a person can act on.

DeconvnetError
├── UnknownNetwork      no network of that name
├── UnknownLayer        the network has no such layer (its file may end earlier)
├── InvalidChoice       a parameter that cannot be had: a unit outside the map, top 0, ...
├── OutOfMemory         the device's memory did not suffice, even for one unit at a time
├── UnreadablePicture   bytes that are no picture, or one beyond the limits
└── WeightsError
    ├── WeightsMissing   nothing to load; the sentence says how to get it
    ├── WeightsArriving  being fetched or loaded just now
    └── WeightsInvalid   a file that is not what it should be

Nothing here knows HTTP: ``app.errors`` holds the table from these classes to statuses.
"""


class DeconvnetError(Exception):
    """A failure that its message explains, with the value and the way out."""


class UnknownNetwork(DeconvnetError):
    """No network goes by that name."""


class UnknownLayer(DeconvnetError):
    """The network has no layer of that name."""


class InvalidChoice(DeconvnetError):
    """A choice of layer, maps or unit that this network and picture cannot satisfy."""


class OutOfMemory(DeconvnetError):
    """The device's memory did not suffice; smaller work, or the same later, may succeed."""


class UnreadablePicture(DeconvnetError):
    """Bytes that no picture can be made of."""


class WeightsError(DeconvnetError):
    """Weights that cannot be used."""


class WeightsMissing(WeightsError):
    """No weights for the network are on this machine."""


class WeightsArriving(WeightsError):
    """The weights are on their way; asking again in ``retry_after`` seconds may succeed."""

    def __init__(self, sentence: str, retry_after: int = 5) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class WeightsInvalid(WeightsError):
    """A weights file that is damaged, unsafe or made for another network."""
