"""Numbers as people say them in findings. A reading may be anything a file held, so none of these raises."""

from __future__ import annotations

import math
from typing import Optional

from launcher.model import units


def percent(fraction: float) -> str:
    """`98 %`; what is not quite full is never called 100 %."""
    if not math.isfinite(fraction):
        return "? %"
    rounded = round(fraction * 100)
    return f"{min(rounded, 99) if fraction < 1 else rounded} %"


def count(value: float) -> str:
    """A step: `12`, `12.5`, `1e+300`."""
    if not math.isfinite(value):
        return "?"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:g}"


def show_time(seconds: Optional[float]) -> str:
    """As in units; `?` for what is no time either."""
    return units.show_time(seconds if seconds is not None and math.isfinite(seconds) else None)


def show_size(size: Optional[float]) -> str:
    """As in units; `?` for what is no size either."""
    return units.show_size(size if size is not None and math.isfinite(size) else None)
