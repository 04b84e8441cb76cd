"""What a reader knows of a job after folding its records: derived, never stored. Unknown is None or UNKNOWN, with an age."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from launcher.model.outcome import Outcome, State
from launcher.model.records import Finding, GpuReading, Heartbeat, Progress


@dataclass(frozen=True)
class TaskView:
    """One task at its newest attempt. `silent` is seconds since the reader last saw the heartbeat's sequence number move,
    None where it is fresh or not expected; `why` says in words why it is pending, or how it ended. `seen` is the age of
    what is known of a running task, by the same measure, fresh or not."""

    index: int
    state: State
    outcome: Optional[Outcome] = None
    attempt: int = 0  # 0: none yet
    why: Optional[str] = None
    started_at: Optional[float] = None
    ended_at: Optional[float] = None
    stage: Optional[str] = None
    progress: Optional[Progress] = None
    last_line: Optional[str] = None
    log_size: Optional[int] = None
    metrics: dict[str, float] = field(default_factory=dict)
    gpus: Optional[tuple[GpuReading, ...]] = None
    disk_used: Optional[float] = None  # fraction of the fullest watched disk
    findings: tuple[Finding, ...] = ()
    cost: Optional[float] = None
    checkpoint: Optional[str] = None
    silent: Optional[float] = None
    seen: Optional[float] = None
    heartbeat: Optional[Heartbeat] = None
    evidence: Optional[str] = None  # folder of what was captured when it stalled
    kept: tuple[str, ...] = ()  # folders that hold work which was not committed
    allocation: Optional[str] = None
    host: Optional[str] = None


@dataclass(frozen=True)
class AllocationView:
    """One allocation, as its records and perhaps one look at its executor show it."""

    allocation: str
    native_id: Optional[str]
    state: State
    tasks: tuple[int, ...]
    why: Optional[str] = None  # waiting for what, or how it ended
    silent: Optional[float] = None
    lost: Optional[str] = None  # evidence that it is gone without having released


@dataclass(frozen=True)
class JobView:
    """`state` and `outcome` are derived from the tasks: ended when all are; succeeded when all did."""

    job: str
    phase: str
    name: str
    profile: str
    executor: str
    submitted_at: float
    state: State
    outcome: Optional[Outcome]
    tasks: tuple[TaskView, ...]
    allocations: tuple[AllocationView, ...] = ()
    cost: Optional[float] = None  # None: no price known
    problems: tuple[str, ...] = ()  # records that could not be read, in words
    smoke: tuple[int, ...] = ()

    def counts(self) -> dict[str, int]:
        """How many tasks there are in each state or, for ended ones, outcome."""
        found: dict[str, int] = {}
        for task in self.tasks:
            word = task.outcome.value if task.outcome is not None else task.state.value
            found[word] = found.get(word, 0) + 1
        return found
