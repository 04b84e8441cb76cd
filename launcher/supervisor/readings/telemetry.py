"""The series of an attempt for plots: telemetry.jsonl, bounded however long the attempt runs."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, Optional

from launcher.supervisor.readings.sample import Sample

MOST_POINTS = 1000
AT_ONCE = 6
"""Points are written in groups; an attempt of less than a minute makes no file."""
METRICS = 20


class Telemetry:
    """Appends a point per interval. When there are too many, every second one goes and the interval doubles.

    A supervisor that adopts an attempt goes on with the file that it finds.
    """

    def __init__(self, path: Path, interval: float, *, most: int = MOST_POINTS, at_once: int = AT_ONCE) -> None:
        self._path = path
        self._interval = interval
        self._most = max(2, most)
        self._at_once = max(1, at_once)
        self._waiting: list[bytes] = []
        self._next: Optional[float] = None
        self._written: Optional[int] = None

    def add(self, sample: Sample) -> None:
        """Take a sample's point where one is due. Raises OSError where it could not be written; it is tried again later."""
        if self._next is not None and sample.mono < self._next:
            return
        self._next = sample.mono + self._interval * 0.95  # beats come a little early, too
        self._waiting.append(json.dumps(point(sample), separators=(",", ":"), allow_nan=False).encode() + b"\n")
        del self._waiting[: -self._most]
        if len(self._waiting) >= self._at_once:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Raises OSError."""
        if not self._waiting:
            return
        if self._written is None:
            self._written = _count(self._path)
        lines = b"".join(self._waiting)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            if os.write(descriptor, lines) < len(lines):  # a full disk: half a point is none
                os.ftruncate(descriptor, before)
                return
        finally:
            os.close(descriptor)
        self._written += len(self._waiting)
        self._waiting.clear()
        if self._written > self._most:
            self._thin()

    def close(self) -> None:
        """The last points, where the attempt has a series at all."""
        if self._written or len(self._waiting) >= self._at_once:
            self.flush()

    def _thin(self) -> None:
        kept = self._path.read_bytes().splitlines(keepends=True)[::2]
        temporary = self._path.with_name(f".tmp-{self._path.name}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(kept)
            os.replace(temporary, self._path)
        except OSError:
            _unlink(temporary)
            raise
        self._written = len(kept)
        self._interval *= 2


def point(sample: Sample) -> dict[str, Any]:
    """A sample in short: only what is available. Times in seconds, sizes in bytes, fractions 0..1."""
    tree, host, progress = sample.tree, sample.host, sample.progress
    found: dict[str, Any] = {
        "t": round(sample.wall, 2),
        "step": progress.step if progress else None,
        "stage": progress.stage if progress else None,
        "cpu": round(tree.cpu, 3) if tree and tree.cpu is not None else None,
        "mem": tree.memory if tree else None,
        "log": sample.log.size if sample.log else None,
        "free": [disk.free for disk in sample.disks] if sample.disks else None,
        "host": host.memory_available if host else None,
        "cost": round(sample.cost, 4) if sample.cost is not None else None,
    }
    if sample.gpus:
        found["gpu"] = [[one.utilisation, one.memory_used, one.power, one.temperature] for one in sample.gpus]
    if sample.metrics:
        found["m"] = {name: _plain(value) for name, value in list(sample.metrics.items())[:METRICS]}
    return {key: value for key, value in found.items() if value is not None}


def _plain(value: float) -> Any:
    return value if math.isfinite(value) else "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _count(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        pass
