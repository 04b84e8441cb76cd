"""What the rest of a job has cost so far, for its budget: from the ended segments of its allocations."""

from __future__ import annotations

import time
from typing import Optional

from launcher.errors import LaunchError
from launcher.store import records
from launcher.supervisor.places import Places

EVERY_S = 60.0


class Spent:
    """Read at most once a minute, and only where there is a budget. Tasks that run elsewhere are not in it."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._read_at: Optional[float] = None
        self._known: Optional[float] = None

    def now(self) -> Optional[float]:
        """Dollars; None where it is not known or of no use."""
        spec = self._places.spec
        if spec.budget is None or spec.place.price is None:
            return None
        mono = time.monotonic()
        if self._read_at is None or mono - self._read_at >= EVERY_S:
            self._read_at = mono
            self._known = self._read()
        return self._known

    def _read(self) -> Optional[float]:
        store, job = self._places.store, self._places.spec.job
        try:
            ended = [task for each in records.allocations(store, job) for task in records.read_ended(store, job, each)]
        except LaunchError:
            return self._known
        return sum(task.cost for task in ended if task.cost is not None)
