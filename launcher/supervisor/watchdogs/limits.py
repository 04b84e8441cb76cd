"""Time and money: a limit that comes near, one that the work will not meet, one that is reached."""

from __future__ import annotations

from typing import Optional

from launcher.model.outcome import Outcome
from launcher.supervisor.readings.sample import Sample
from launcher.supervisor.watchdogs.raised import ACT, NOTICE, WARNING, Raised
from launcher.supervisor.watchdogs.words import show_time

NEAR = 0.9
MARGIN = 1.1
"""A forecast must miss a limit by this factor before it is told."""


class TimeWatch:
    """`limit` in seconds; the stop is asked for `grace` earlier (at most a tenth of the limit), so that the work is saved
    within the limit."""

    def __init__(self, limit: Optional[float], grace: float) -> None:
        self._limit = limit
        self._end = None if limit is None else limit - min(grace, limit / 10)
        self._late = False

    def look(self, sample: Sample) -> list[Raised]:
        """Nothing where there is no limit."""
        if self._limit is None or self._end is None:
            return []
        left = self._limit - sample.elapsed
        of = f"of the time limit {show_time(self._limit)}"
        hint = "ask for more time, or resume from the last checkpoint"
        if sample.elapsed >= self._end:
            message = f"the time limit {show_time(self._limit)} is reached"
            return [Raised("time.limit", ACT, message, hint, stop=Outcome.TIMED_OUT)]
        found = []
        if sample.elapsed >= self._limit * NEAR:
            found.append(Raised("time.near", WARNING, f"{show_time(left)} {of} are left", hint))
        needs = sample.progress.left if sample.progress else None
        if needs is not None:
            self._late = needs > left * (1.0 if self._late else MARGIN)
            if self._late:
                message = f"the work needs {show_time(needs)} more, {show_time(left)} {of} are left"
                found.append(Raised("time.too_short", WARNING, message, hint))
        return found


class BudgetWatch:
    """`cap` in dollars, for the whole job: what this attempt costs, and what the rest has cost where that is known."""

    def __init__(self, cap: Optional[float]) -> None:
        self._cap = cap

    def look(self, sample: Sample) -> list[Raised]:
        """Nothing where there is no cap or no price."""
        if self._cap is None or sample.cost is None:
            return []
        cost = sample.cost + (sample.spent or 0.0)
        state = f"${cost:.2f} of the budget of ${self._cap:.2f} are spent"
        if cost >= self._cap:
            return [Raised("budget.reached", ACT, state, "submit again with a larger budget", stop=Outcome.OVER_BUDGET)]
        if cost >= self._cap * NEAR:
            return [Raised("budget.near", WARNING, state)]
        needs = sample.progress.left if sample.progress else None
        if (
            needs is not None
            and sample.elapsed > 60
            and cost + sample.cost / sample.elapsed * needs > self._cap * MARGIN
        ):
            more = sample.cost / sample.elapsed * needs
            return [Raised("budget.too_small", NOTICE, f"{state}; the rest of the work costs about ${more:.2f}")]
        return []
