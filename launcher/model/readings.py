"""What a reader makes of numbers that were written elsewhere: a reading, or nothing."""

from __future__ import annotations

import math
from typing import Optional

from launcher.model.records import DiskReading

FAR = 1e12  # seconds since 1970, dollars: beyond this a number is no reading


def fullest(disks: Optional[tuple[DiskReading, ...]]) -> Optional[float]:
    """The used fraction of the fullest disk, 0..1; None where none could be read."""
    shares = [d.used / d.total for d in disks or () if d.used is not None and d.total is not None and d.total > 0]
    return max((min(max(share, 0.0), 1.0) for share in shares), default=None)


def number(value: Optional[float]) -> Optional[float]:
    """None for what is no finite, imaginable number."""
    if value is None or not math.isfinite(value) or abs(value) > FAR:
        return None
    return value
