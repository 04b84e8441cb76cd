"""Fractions and steps as people say them in findings; sizes and times are in model/units.py."""

from __future__ import annotations


def percent(fraction: float) -> str:
    """`98 %`; what is not quite full is never called 100 %."""
    rounded = round(fraction * 100)
    return f"{min(rounded, 99) if fraction < 1 else rounded} %"


def count(value: float) -> str:
    """A step: `12`, `12.5`, `1e+300`."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:g}"
