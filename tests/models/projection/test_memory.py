"""When the device's memory runs out: halve and go on, or say so, and be fine afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from models import OutOfMemory
from models.networks.network import Network
from models.networks.steps import Convolution
from models.projection.record import Record, record
from models.projection.selection import peaks
from models.projection.walk import project
from tests.refusals import refused


@pytest.fixture
def seen(toy: Network) -> Record:
    return record(toy, torch.rand(1, 3, 32, 32))


@contextmanager
def exhausted(monkeypatch: pytest.MonkeyPatch, method: str, most: int) -> Iterator[None]:
    """Let convolutions find no memory for more than so many signals at once."""
    real = getattr(Convolution, method)

    def scarce(self: Convolution, first: object, *rest: object) -> object:
        count = len(getattr(first, "images", [None]))
        if count > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, first, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Convolution, method, scarce)
        yield


@pytest.mark.parametrize("most", [1, 2, 5])
def test_what_is_too_much_at_once_goes_down_in_halves(
    monkeypatch: pytest.MonkeyPatch, seen: Record, most: int
) -> None:
    units = peaks(seen, "conv2", range(8))
    plenty = project(seen, "conv2", units)
    with exhausted(monkeypatch, "backward", most):
        scarce = project(seen, "conv2", units)
    for ours, theirs in zip(scarce, plenty, strict=True):
        assert ours.box == theirs.box
        torch.testing.assert_close(ours.values, theirs.values)


def test_one_unit_that_does_not_fit_is_an_error_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, seen: Record
) -> None:
    units = peaks(seen, "conv2", [0])
    with exhausted(monkeypatch, "backward", 0):
        with refused(OutOfMemory, match="ask later"):
            project(seen, "conv2", units)
    assert project(seen, "conv2", units)


def test_a_forward_pass_that_does_not_fit_is_the_same_error(
    monkeypatch: pytest.MonkeyPatch, toy: Network
) -> None:
    with exhausted(monkeypatch, "record", 0):
        with refused(OutOfMemory, match="memory did not suffice"):
            record(toy, torch.rand(1, 3, 32, 32))
    assert record(toy, torch.rand(1, 3, 32, 32)).nbytes > 0
