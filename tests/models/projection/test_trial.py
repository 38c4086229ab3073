import pytest
import torch

from app.web.sentences import sentence
from models import DeviceLost, OutOfMemory
from models.device import guard
from models.networks.steps import MaxPool
from models.projection.trial import try_device
from tests.refusals import refused


def test_a_device_that_computes_rightly_passes() -> None:
    try_device("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_passes() -> None:
    try_device("cuda")


def test_a_device_that_loses_a_switch_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    real = MaxPool.backward

    def shifted(self: MaxPool, signal: object, saved: torch.Tensor, *rest: object) -> object:
        return real(self, signal, torch.full_like(saved, 3), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(MaxPool, "backward", shifted)
    with refused(DeviceLost, match="computes wrongly"):
        try_device("cpu")


FAILURES = {
    "a kernel that failed": (
        torch.AcceleratorError("CUDA error: unspecified launch failure\nmore")
    ),
    "a library of the driver": RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    "a driver that left": RuntimeError("CUDA error: no CUDA-capable device is detected"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_device_that_fails_is_told_from_our_own_mistakes(failure: Exception) -> None:
    def fail() -> None:
        raise failure

    with pytest.raises(DeviceLost) as caught:
        guard(fail)
    assert "must be started again" in sentence(caught.value)
    assert str(caught.value.fields["cause"]) == str(failure).splitlines()[0]


def test_mistakes_of_our_own_stay_what_they_are() -> None:
    def fail() -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        guard(fail)


def test_memory_that_the_processor_does_not_have_is_a_sentence() -> None:
    with refused(OutOfMemory, match="did not suffice"):
        guard(lambda: torch.empty(10**15))
