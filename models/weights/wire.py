"""Protobuf's wire format, walked without a library: where a message's fields lie."""

from __future__ import annotations

from collections.abc import Iterator


def fields(content: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield each field of a message, (number, start, end), that has a length.

    Raises ValueError or IndexError where the message is not whole.
    """
    while start < end:
        key, start = _varint(content, start)
        match key & 7:
            case 0:
                _, start = _varint(content, start)
            case 1:
                start += 8
            case 2:
                length, start = _varint(content, start)
                if start + length > end:
                    raise ValueError("a field is longer than what holds it")
                yield key >> 3, start, start + length
                start += length
            case 5:
                start += 4
            case _:
                raise ValueError("no such kind of field")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Read a number of variable length; return it and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")
