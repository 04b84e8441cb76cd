"""What a submit would find, without submitting."""

from __future__ import annotations

import time
from dataclasses import dataclass

from launcher.checks.facts import Objection
from launcher.operations import explain
from launcher.operations.plan import PlannedJob, plan
from launcher.operations.request import SubmitRequest


@dataclass(frozen=True)
class Checked:
    """One phase. `tasks` would run; `results` says in words what exists already; `undecided` tasks would be asked about."""

    phase: str
    profile: str
    tasks: tuple[int, ...]
    smoke: tuple[int, ...]
    objections: tuple[Objection, ...]
    undecided: tuple[int, ...]
    results: tuple[str, ...]

    @property
    def errors(self) -> bool:
        return any(objection.fatal for objection in self.objections)


def check(request: SubmitRequest) -> tuple[Checked, ...]:
    """In the order in which the phases would be submitted. Raises ConfigError, UsageError, NotFound and Refused."""
    now = time.time()
    return tuple(_checked(job, now) for job in plan(request).jobs)


def _checked(job: PlannedJob, now: float) -> Checked:
    existing = [decision for decision in job.decisions if decision.existing]
    return Checked(
        phase=job.spec.phase,
        profile=job.spec.place.profile,
        tasks=tuple(task.index for task in job.spec.tasks) if job.submission is not None else (),
        smoke=job.spec.smoke if job.submission is not None else (),
        objections=job.objections,
        undecided=tuple(decision.task for decision in job.undecided),
        results=tuple(explain.decisions(job.spec.phase, existing, now)),
    )
