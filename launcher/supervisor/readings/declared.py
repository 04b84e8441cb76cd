"""What the child tells of itself in two files: how far it is, its metrics, its checkpoints, how it ended.

Both files grow by whole lines, written by anything in any language. A torn last line is read when it is whole; a line that
makes no sense is counted and left out.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Optional

from launcher.model.outcome import Outcome
from launcher.model.records import Declared, Progress
from launcher.supervisor.readings.logtext import load_object, number
from launcher.supervisor.readings.sample import MetricPoint

BLOCK = 256 * 1024
LONGEST_LINE = 64 * 1024
TOO_LONG = b"?"
CPU_S = 0.05
"""Of one look. A file that grows faster is read on at the next look, in order: here nothing may be skipped."""
WINDOW_S = 300.0
"""A rate follows the last minutes: an hour that was slow at the start says little about the rest."""
WINDOW_POINTS = 64
NAMES_KEPT = 200
POINTS_KEPT = 2000
TEXT = 300


class Lines:
    """Whole lines of a file that grows, in order, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._carry = b""
        self._skipping = False

    def new(self, cpu: float = CPU_S) -> list[bytes]:
        """Lines that were added; for one longer than 64 kB comes `TOO_LONG`, which is no JSON. Raises OSError."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        found: list[bytes] = []
        before = time.thread_time()
        try:
            if os.fstat(descriptor).st_size < self._offset:  # it was cut, and written anew
                self._offset, self._carry, self._skipping = 0, b"", False
            while time.thread_time() - before < cpu:
                block = os.pread(descriptor, BLOCK, self._offset)
                if not block:
                    break
                self._offset += len(block)
                found.extend(self._split(block))
        finally:
            os.close(descriptor)
        return found

    def _split(self, block: bytes) -> list[bytes]:
        parts = (self._carry + block).split(b"\n")
        self._carry = parts.pop()
        if self._skipping and parts:
            parts[0], self._skipping = TOO_LONG, False
        if len(self._carry) > LONGEST_LINE:
            self._carry, self._skipping = b"", True
        return [part if len(part) <= LONGEST_LINE else TOO_LONG for part in parts]


class Announced(NamedTuple):
    """A checkpoint that the child says is complete."""

    path: str
    step: Optional[float]
    metrics: dict[str, float]


class DeclaredState(NamedTuple):
    """One look. `points` are new since the last look that was taken; `garbage` counts lines without sense."""

    progress: Optional[Progress]
    outcome: Optional[Declared]
    announced: tuple[Announced, ...]
    metrics: dict[str, float]
    points: tuple[MetricPoint, ...]
    garbage: int


class DeclaredReader:
    """Reads progress.jsonl and metrics.jsonl on from where it stopped."""

    def __init__(self, progress: Path, metrics: Path, wall: Callable[[], float] = time.time) -> None:
        self._progress_lines = Lines(progress)
        self._metric_lines = Lines(metrics)
        self._wall = wall
        self._progress: Optional[Progress] = None
        self._steps: deque[tuple[float, float]] = deque(maxlen=WINDOW_POINTS)
        self._outcome: Optional[Declared] = None
        self._announced: dict[str, Announced] = {}
        self._metrics: dict[str, float] = {}
        self._garbage = 0

    def read(self) -> DeclaredState:
        """One look. Raises OSError where a file is there and cannot be read."""
        now = self._wall()
        for line in self._progress_lines.new():
            self._take_progress(line, now)
        points: deque[MetricPoint] = deque(maxlen=POINTS_KEPT)
        for line in self._metric_lines.new():
            self._take_metrics(line, points)
        progress = self._with_rate(now)
        announced = tuple(self._announced.values())
        return DeclaredState(progress, self._outcome, announced, dict(self._metrics), tuple(points), self._garbage)

    def _object(self, line: bytes) -> Optional[dict[str, Any]]:
        found = load_object(line)
        if found is None and line.strip():
            self._garbage += 1
        return found

    def _take_progress(self, line: bytes, now: float) -> None:
        found = self._object(line)
        if found is None:
            return
        if "outcome" in found:
            self._take_outcome(found)
        elif "checkpoint" in found:
            self._take_checkpoint(found)
        else:
            self._take_step(found, now)

    def _take_outcome(self, found: dict[str, Any]) -> None:
        """The last word counts. That it succeeded or that nothing is known is no child's to say."""
        try:
            outcome = Outcome(found["outcome"])
        except ValueError:
            outcome = Outcome.UNKNOWN
        if outcome in (Outcome.SUCCEEDED, Outcome.UNKNOWN):
            self._garbage += 1
        else:
            self._outcome = Declared(outcome, str(found.get("reason") or "no reason was given")[:4000])

    def _take_checkpoint(self, found: dict[str, Any]) -> None:
        path, metrics = found["checkpoint"], found.get("metrics")
        if not isinstance(path, str) or not path or "\0" in path or len(path) > 4096:
            self._garbage += 1
            return
        given = metrics.items() if isinstance(metrics, dict) else ()
        values = {str(name): value for name, item in given if (value := number(item)) is not None}
        self._announced.pop(path, None)
        self._announced[path] = Announced(path, _count(found.get("step")), values)
        while len(self._announced) > NAMES_KEPT:
            del self._announced[next(iter(self._announced))]

    def _take_step(self, found: dict[str, Any], now: float) -> None:
        old = self._progress or Progress()
        step, total = _count(found.get("step")), _count(found.get("total"))
        stage, message = _text(found.get("stage")), _text(found.get("message"))
        if (step, total, stage, message) == (None, None, None, None):
            self._garbage += 1
            return
        at = old.at
        if (step is not None and step != old.step) or (stage is not None and stage != old.stage):
            at = now
        if step is not None and step != old.step:
            back = old.step is not None and step < old.step
            if back or (stage is not None and stage != old.stage):
                self._steps.clear()  # another count begins
            if self._steps and self._steps[-1][0] == now:
                self._steps[-1] = (now, step)
            else:
                self._steps.append((now, step))
        self._progress = Progress(
            step=old.step if step is None else step,
            total=old.total if total is None else total,
            stage=old.stage if stage is None else stage,
            message=old.message if message is None else message,
            at=at,
        )

    def _with_rate(self, now: float) -> Optional[Progress]:
        """Steps per second over the last minutes (over the last two changes, where steps are longer), and what is left."""
        if self._progress is None:
            return None
        while len(self._steps) > 2 and now - self._steps[0][0] > WINDOW_S:
            self._steps.popleft()
        rate = left = None
        if len(self._steps) >= 2:
            (then, had), (last, has) = self._steps[0], self._steps[-1]
            # A step that takes longer than all before is under way: the rate falls with it.
            usual = (last - then) / (len(self._steps) - 1)
            span = (last - then) + max(0.0, (now - last) - usual)
            rate = (has - had) / span if span > 0 and has > had else None
        step, total = self._progress.step, self._progress.total
        if rate and step is not None and total is not None:
            left = max(0.0, total - step) / rate
        return Progress(step, total, self._progress.stage, self._progress.message, rate, left, self._progress.at)

    def _take_metrics(self, line: bytes, points: deque[MetricPoint]) -> None:
        found = self._object(line)
        if found is None:
            return
        step = _count(found.get("step"))
        for name, item in found.items():
            value = number(item)
            if name == "step" or value is None:
                continue
            if name in self._metrics or len(self._metrics) < NAMES_KEPT:
                self._metrics[name] = value
                points.append(MetricPoint(name, value, step))


def _count(value: Any) -> Optional[float]:
    """A finite number; None for anything else."""
    found = None if isinstance(value, str) else number(value)
    return found if found is not None and math.isfinite(found) else None


def _text(value: Any) -> Optional[str]:
    return value[:TEXT] if isinstance(value, str) and value else None
