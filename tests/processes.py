"""The processes that a process started, and theirs."""

from __future__ import annotations

from pathlib import Path


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    own = [int(each) for file in tasks for each in file.read_text().split()]
    return own + [deeper for each in own for deeper in children_of(each)]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def title_of(pid: int) -> str:
    """Return what a process calls itself; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
