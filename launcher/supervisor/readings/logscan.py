"""Follows an attempt's log from outside: its size and last visible line, metrics, and signs of why something failed.

The child writes straight into the file and must never feel the reader, so the scan has a budget of processor time. What a
busy log makes it skip is counted, and is skipped in the middle: the newest part is always read.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Optional

from launcher.model.records import LogReading
from launcher.supervisor.readings.logtext import Signs, last_visible, metric_points
from launcher.supervisor.readings.sample import MetricPoint, Sign

SHARE = 0.01
"""Of one core, on average."""
SAVED_S = 0.3
"""Processor time that a quiet log may save up for a burst."""
BLOCK = 64 * 1024
NEWEST = 64 * 1024
"""At least this much of the end is read at each look at a log that grew."""
LONGEST_CARRY = 64 * 1024
FINAL_BYTES = 4 << 20
FINAL_S = 0.5
POINTS_KEPT = 2000


class LogState(NamedTuple):
    """One look. `points` and `skipped` (bytes) are new since the last look that was taken; `signs` all so far."""

    reading: LogReading
    points: tuple[MetricPoint, ...]
    signs: tuple[Sign, ...]
    skipped: int


class LogScan:
    """Reads `path` from where it stopped. `names` are metrics to look for beside the usual ones."""

    def __init__(
        self,
        path: Path,
        names: Iterable[str] = (),
        *,
        share: float = SHARE,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._names = frozenset(name.lower() for name in names)
        self._share = share
        self._clock = clock
        self._wall = wall
        self._offset = 0
        self._carry = b""
        self._saved = SAVED_S
        self._looked: Optional[float] = None
        self._grew_at: Optional[float] = None
        self._last_line: Optional[str] = None
        self._signs = Signs()

    def read(self) -> LogState:
        """One look, within the budget. A log that is not there yet has size 0. Raises OSError where it cannot be read."""
        now = self._clock()
        if self._looked is not None:
            self._saved = min(SAVED_S, self._saved + (now - self._looked) * self._share)
        self._looked = now
        return self._look(self._saved, NEWEST)

    def read_rest(self) -> LogState:
        """The last look, after the child has ended: the end of the log is worth more time."""
        return self._look(FINAL_S, FINAL_BYTES, ended=True)

    def _look(self, budget: float, newest: int, ended: bool = False) -> LogState:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return LogState(LogReading(0), (), (), 0)
        before = time.thread_time()
        points: list[MetricPoint] = []
        skipped = 0
        try:
            size = os.fstat(descriptor).st_size
            if size < self._offset:  # somebody cut it; what is there now was written since
                self._offset, self._carry = 0, b""
            grew = size > self._offset
            # From the oldest on while there is time for it, then a jump to the newest part.
            while self._offset < size:
                if size - self._offset > newest and time.thread_time() - before > budget:
                    skipped += size - newest - self._offset
                    self._offset, self._carry = size - newest, b""
                    budget = float("inf")
                block = os.pread(descriptor, min(BLOCK, size - self._offset), self._offset)
                if not block:
                    break
                self._offset += len(block)
                self._scan(block, points)
            if ended and self._carry:
                self._scan(b"\n", points)
            if grew:
                self._grew_at = self._wall()
                self._last_line = self._visible(descriptor, size)
        finally:
            os.close(descriptor)
            self._saved -= time.thread_time() - before
        reading = LogReading(self._offset, self._last_line, self._grew_at)
        return LogState(reading, tuple(points[-POINTS_KEPT:]), self._signs.found(), skipped)

    def _visible(self, descriptor: int, size: int) -> Optional[str]:
        """What a terminal would show last; the older line where the end of the log is blank."""
        length = 4096
        tail = os.pread(descriptor, length, max(0, size - length))
        return last_visible(tail, whole=size <= length) or self._last_line

    def _scan(self, block: bytes, points: list[MetricPoint]) -> None:
        """Whole lines only: a number that is cut in two is another number."""
        text = self._carry + block
        end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        if end == 0 and len(text) > LONGEST_CARRY:  # a line without an end: nothing in it is for people
            text, end = b"", 0
        self._carry = text[end:][-LONGEST_CARRY:]
        if end:
            lines = text[:end]
            points.extend(metric_points(lines, self._names))
            self._signs.look(lines)


def wanted_names(rules: Iterable[str], *more: Optional[str]) -> frozenset[str]:
    """The metrics that a phase names itself: in its rules, as an output's quality, as what makes a checkpoint the best."""
    named = {match.group(0) for rule in rules for match in [re.match(r"[A-Za-z_][\w./-]*", rule.strip())] if match}
    return frozenset(named | {name for name in more if name})
