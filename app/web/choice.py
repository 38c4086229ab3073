"""Reading from text which maps and which unit are meant."""

import re

import models

NUMBERS = re.compile(r"\s*\d{1,9}\s*(,\s*\d{1,9}\s*)*")


def parse_features(text: str | None) -> tuple[int, ...] | None:
    """Read feature map numbers such as `3,17,200`; raises InvalidChoice."""
    if text is None:
        return None
    if not NUMBERS.fullmatch(text):
        raise models.InvalidChoice("features_are_no_numbers", text=text[:40])
    return tuple(int(number) for number in text.split(","))


def parse_unit(text: str | None) -> tuple[int, int] | None:
    """Read a unit's row and column such as `6,7`; raises InvalidChoice."""
    if text is None:
        return None
    if not NUMBERS.fullmatch(text) or text.count(",") != 1:
        raise models.InvalidChoice("unit_is_no_pair", text=text[:40])
    y, x = (int(number) for number in text.split(","))
    return y, x
