"""A job: one submission of a phase to a profile, frozen in a JobSpec. Nothing later looks up configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Optional

from launcher.model.phase import Checkpoints, Input, Output, Resources, Retry, Scalar, Setup, Watches

SCHEMA = 1


@dataclass(frozen=True)
class TaskSpec:
    """One array index: the parameters in which it differs from the job's, and its place in `JobSpec.resources`."""

    index: int
    params: dict[str, Scalar] = field(default_factory=dict)
    group: int = 0

    def to_json(self) -> list[Any]:
        return [self.index, self.params, self.group]

    @classmethod
    def from_json(cls, data: Any) -> TaskSpec:
        index, params, group = data
        if type(index) is not int or type(group) is not int or not isinstance(params, dict):
            raise ValueError("a task is [index, params, group]")
        return cls(index, params, group)


@dataclass(frozen=True)
class Place:
    """Where the job runs, resolved from the profile."""

    profile: str
    executor: str
    options: dict[str, Any]
    store: str  # absolute folder
    workspace: str  # absolute folder
    price: Optional[float] = None  # dollars per hour of one allocation


@dataclass(frozen=True)
class Code:
    """The code that the job runs: an immutable archive `snapshots/<hash>`, or the project's own folder, unprotected."""

    kind: Literal["snapshot", "here"]
    hash: str  # of the archive's content; for `here`, of the same files at submit
    folder: Optional[str] = None  # for `here`


@dataclass(frozen=True)
class JobSpec:
    """Everything about a job that is known at submit. `command` is a template: filled per task by `template.fill`."""

    schema: int
    job: str
    phase: str
    name: str
    submitted_at: float
    submitted_by: str  # user@host
    version: str  # of launch
    place: Place
    code: Code
    kit: str  # hash of the node kit
    command: tuple[str, ...]
    shell: bool
    params: dict[str, Scalar]
    tasks: tuple[TaskSpec, ...]
    resources: tuple[Resources, ...]  # the groups of equal resources
    env: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    setup: Setup = field(default_factory=Setup)
    inputs: dict[str, Input] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    checkpoints: Optional[Checkpoints] = None
    watch: Watches = field(default_factory=Watches)
    retry: Retry = field(default_factory=Retry)
    distributed: str = "none"
    grace: float = 30.0
    beat: float = 10.0
    limit: Optional[int] = None  # tasks at once
    pack: int = 1  # tasks that share one allocation's resources
    budget: Optional[float] = None  # dollars for the whole job
    after: tuple[str, ...] = ()  # job ids that must succeed first
    smoke: tuple[int, ...] = ()  # tasks that run with the phase's small parameters
    description: str = ""

    def task(self, index: int) -> Optional[TaskSpec]:
        return next((t for t in self.tasks if t.index == index), None)

    def params_of(self, task: TaskSpec) -> dict[str, Scalar]:
        return {**self.params, **task.params}

    def resources_of(self, task: TaskSpec) -> Resources:
        return self.resources[task.group]


@dataclass(frozen=True)
class Share:
    """Tasks that are run within one set of resources, `slots` of them at once."""

    tasks: tuple[int, ...]
    resources: Resources
    slots: int = 1


@dataclass(frozen=True)
class Packing:
    """Which tasks go into which shares, in the order in which they should start."""

    shares: tuple[Share, ...]
    limit: Optional[int] = None


def pack(spec: JobSpec) -> Packing:
    """Tasks of equal resources, in the order of the array, `spec.pack` of them to a share."""
    by_group: dict[int, list[int]] = {}
    for task in spec.tasks:
        by_group.setdefault(task.group, []).append(task.index)
    shares = []
    for group, indices in by_group.items():
        for start in range(0, len(indices), spec.pack):
            part = tuple(indices[start : start + spec.pack])
            shares.append(Share(part, spec.resources[group], len(part)))
    order = {task.index: position for position, task in enumerate(spec.tasks)}
    shares.sort(key=lambda share: order[share.tasks[0]])
    return Packing(tuple(shares), spec.limit)
