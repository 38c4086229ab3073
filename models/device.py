"""What the networks run on."""

from collections.abc import Callable
from typing import TypeVar

import torch

from models.errors import DeviceLost, InvalidChoice, OutOfMemory

T = TypeVar("T")

CORES = torch.get_num_threads()


def pick_device(name: str = "auto") -> str:
    """Resolve ``auto`` to the GPU where there is one; raise InvalidChoice for one that is not."""
    there = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if there else "cpu"
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if not there or index >= torch.cuda.device_count():
            raise InvalidChoice("no_such_gpu", device=name)
    return name


def use_all_cores() -> None:
    """Let the calling thread compute on every core, as by itself only the main thread does.

    OpenMP keeps the count for each thread; torch's pooling and arithmetic would run on one core.
    """
    torch.set_num_threads(CORES)


def use_one_core() -> None:
    """Let the calling thread compute alone.

    OpenMP's threads wait busily only while there are no more of them than cores, and a second
    team, however idle, makes those that compute fall asleep between any two steps.
    """
    torch.set_num_threads(1)


def guard(work: Callable[[], T]) -> T:
    """Do work; raises DeviceLost where the device fails, OutOfMemory where its memory is full."""
    try:
        return work()
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory("allocation") from error
    except torch.AcceleratorError as error:  # whatever runs on the device after it fails as well
        raise DeviceLost("failed", cause=_first_line(error)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator: can't allocate memory" in str(error):
            raise OutOfMemory("allocation") from error
        if any(word in str(error) for word in ("CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS")):
            raise DeviceLost("failed", cause=_first_line(error)) from error
        raise


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def free_memory() -> None:
    """Give back what the device's allocator keeps for later."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
