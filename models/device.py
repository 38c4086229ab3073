"""What the networks run on."""

import torch

from models.errors import InvalidChoice

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
