"""What every executor promises. One suite of tests, tests/test_executor_contract.py, holds each of them to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Protocol

from launcher.model.job import JobSpec, Packing
from launcher.model.outcome import State
from launcher.model.phase import Resources


@dataclass(frozen=True)
class Capabilities:
    """What this kind of place can do; read by checks and by the words of submit."""

    arrays: bool  # one submission for many tasks
    shares_machine: bool  # tasks of several jobs share the machine's slots
    rents: bool  # every allocation costs money until it is ended


@dataclass(frozen=True)
class Part:
    """One allocation to ask for: its own id, and the tasks that it will run."""

    allocation: str
    tasks: tuple[int, ...]
    resources: Resources
    boot: tuple[str, ...]  # argument vector that starts the agent on the node
    log: str  # absolute path on the node for what boot and agent print


@dataclass(frozen=True)
class Submission:
    """Everything that would be sent. `text` is what a person reads in `--dry-run` and in `submission.txt`."""

    job: str
    parts: tuple[Part, ...]
    text: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Granted:
    """What an executor calls an allocation."""

    allocation: str
    native_id: str


@dataclass(frozen=True)
class Observation:
    """One look at one allocation. `state` is pending (queued), running, ended or unknown; absent is unknown."""

    native_id: str
    state: State
    why: Optional[str] = None
    evidence: Optional[str] = None  # for ended: what proves it


@dataclass(frozen=True)
class Inventory:
    """What one task could be given at most, for each node. None: not known, which refuses nothing."""

    gpus: Optional[int] = None
    gpu_memory: Optional[int] = None
    cpus: Optional[int] = None
    memory: Optional[int] = None
    nodes: Optional[int] = None


class Executor(Protocol):
    """One kind of place."""

    capabilities: Capabilities

    def inventory(self) -> Inventory:
        """What the place has; measured within seconds, unknown where it does not say."""

    def render(self, spec: JobSpec, packing: Packing, parts: Sequence[Part]) -> Submission:
        """Pure: the exact text or requests that would be sent."""

    def submit(self, submission: Submission) -> tuple[Granted, ...]:
        """Once for a whole array. On success every allocation has a native id; on SubmitError nothing was created, or the
        error says what may have been."""

    def observe(self, native_ids: Sequence[str]) -> dict[str, Observation]:
        """One query whatever the number. An id that the answer does not hold is unknown. Never raises for an outage."""

    def find(self, job_id: str) -> tuple[Granted, ...]:
        """Everything that carries the job's tag, also when its id was lost."""

    def cancel(self, native_ids: Sequence[str]) -> None:
        """End allocations, agent and all. Already gone is success."""

    def console(self, native_id: str) -> Optional[str]:
        """Boot output, for what never started; None where there is none."""
