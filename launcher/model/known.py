"""Everything that a reader found of a job, before it is folded: records as they lie, and what was seen of processes.

Absent and unreadable are told apart: None is absent, a name in `unreadable` is a record that exists and is garbage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from launcher.model.freshness import Sighting
from launcher.model.job import JobSpec
from launcher.model.outcome import Outcome, State
from launcher.model.records import AgentView, Claim, EndedTask, ExitRecord, Heartbeat, Released, StopRequest


@dataclass(frozen=True)
class KnownAttempt:
    """The newest attempt of one task. `supervisor` and `child`: whether they live; None where that cannot be told."""

    number: int
    claim: Optional[Claim] = None
    heartbeat: Optional[Heartbeat] = None
    exit: Optional[ExitRecord] = None
    sighting: Optional[Sighting] = None  # of the heartbeat
    supervisor: Optional[bool] = None
    child: Optional[bool] = None
    unreadable: tuple[str, ...] = ()

    @property
    def lives(self) -> bool:
        """Whether one of its processes is known to run."""
        return self.supervisor is True or self.child is True

    @property
    def allocation(self) -> Optional[str]:
        """In which allocation it runs or ran, as its own records say."""
        for record in (self.exit, self.heartbeat, self.claim):
            if record is not None:
                return record.allocation
        return None


@dataclass(frozen=True)
class KnownAllocation:
    """One allocation: its order, what its agent wrote, and what the place says of it. `agent`: whether the agent lives."""

    allocation: str
    tasks: tuple[int, ...]
    ordered_at: float
    native_id: Optional[str] = None
    view: Optional[AgentView] = None
    sighting: Optional[Sighting] = None  # of the view
    queue: frozenset[int] = frozenset()  # of the view
    ended: tuple[EndedTask, ...] = ()
    released: Optional[Released] = None
    agent: Optional[bool] = None
    observed: State = State.UNKNOWN  # by the place
    observed_why: Optional[str] = None
    evidence: Optional[str] = None  # where it is observed to have ended: what proves it
    unreadable: tuple[str, ...] = ()

    @property
    def lost(self) -> Optional[str]:
        """By what evidence it is gone without having released; None where it is not known to be."""
        if self.released is not None:
            return self.released.lost
        if self.observed is State.ENDED:
            return self.evidence or "its place says that it has ended"
        return "its agent is dead" if self.agent is False else None

    @property
    def gone(self) -> bool:
        """Whether it is known that nothing will be started in it any more."""
        return self.released is not None or self.lost is not None


@dataclass(frozen=True)
class Known:
    """A job. `attempts` holds the newest attempt of those tasks that the agents' own words do not settle; `upstream` the
    outcomes of the jobs in `spec.after`, None for one that has not ended."""

    spec: JobSpec
    allocations: tuple[KnownAllocation, ...] = ()
    attempts: Mapping[int, KnownAttempt] = field(default_factory=dict)
    stops: tuple[StopRequest, ...] = ()
    upstream: Mapping[str, Optional[Outcome]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def waiting_words(what: Optional[str]) -> Optional[str]:
    """What an agent waits for, as people read it."""
    return f"waiting for {what}" if what else None
