"""What each method does on the way down: one table, a row a method."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """What a method does where deconvnet, guided backpropagation and the gradient differ."""

    rectify: bool
    """A ReLU cuts the negative part of the signal."""
    gate: bool
    """A ReLU stops the signal where the activation was zero on the way up."""
    derive: bool
    """Local response normalisation and sigmoid use their derivative instead of the identity."""


RULES = {
    "deconvnet": Rule(rectify=True, gate=False, derive=False),
    "guided": Rule(rectify=True, gate=True, derive=True),
    "gradient": Rule(rectify=False, gate=True, derive=True),
}
