"""What one thread leaves for another, who never waits for it. What is done to a deque is atomic, so nothing here has a lock."""

from __future__ import annotations

from collections import deque
from typing import TypeVar

from launcher.supervisor.readings.sample import MetricPoint

T = TypeVar("T")

POINTS_KEPT = 4000


class Mail:
    """Metric points and skipped bytes, from a source's thread to the sampling one."""

    def __init__(self) -> None:
        self._letters: deque[MetricPoint] = deque(maxlen=POINTS_KEPT)
        self._skipped: deque[int] = deque(maxlen=POINTS_KEPT)
        self.names: set[str] = set()

    def put(self, points: tuple[MetricPoint, ...], skipped: int = 0) -> None:
        self._letters.extend(points)
        self.names.update(point.name for point in points)
        if skipped:
            self._skipped.append(skipped)

    def take(self) -> tuple[MetricPoint, ...]:
        return tuple(drained(self._letters))

    def take_skipped(self) -> int:
        return sum(drained(self._skipped))


def drained(queue: deque[T]) -> list[T]:
    """What is in it now, taken out, while another thread may go on filling it."""
    return [queue.popleft() for _ in range(len(queue))]
