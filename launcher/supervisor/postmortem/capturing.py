"""Evidence before consequences: a watchdog's stop waits until what shows its reason has been captured."""

from __future__ import annotations

from typing import Optional

from launcher.store import keys
from launcher.supervisor.aside import Aside
from launcher.supervisor.members import Members
from launcher.supervisor.readings.sample import Judgement, Watched
from launcher.supervisor.verdict import Verdict

DEADLINE_S = 30.0


class Capturing:
    """Of one attempt. `folder` names where evidence lies in the attempt's folder, once there is some."""

    def __init__(self, watched: Watched, members: Members) -> None:
        self.folder: Optional[str] = None
        self._watched = watched
        self._members = members
        self._work: Optional[Aside[tuple[str, ...]]] = None
        self._wanted: Optional[Verdict] = None
        self._limit = 0.0

    def heed(self, judgement: Judgement, mono: float) -> None:
        """Begin to capture where that is asked for, and remember the stop that follows."""
        if judgement.evidence and not self._busy(mono):
            self._limit = mono + DEADLINE_S
            self._work = Aside(self._capture, "evidence")
        if judgement.stop is not None and self._wanted is None:
            self._wanted = Verdict(judgement.stop.outcome, judgement.stop.reason)

    def due(self, mono: float) -> Optional[Verdict]:
        """The stop that may be carried out now."""
        return None if self._busy(mono) else self._wanted

    def _busy(self, mono: float) -> bool:
        return self._work is not None and not self._work.done() and mono < self._limit

    def _capture(self) -> tuple[str, ...]:
        from launcher.supervisor.postmortem import evidence  # most attempts never need it

        self.folder = keys.EVIDENCE
        return evidence.capture(
            self._watched.folder / keys.EVIDENCE, self._watched, self._members.pids(), DEADLINE_S - 5.0
        )
