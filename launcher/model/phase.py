"""A phase: what to run. One YAML file in `jobs/`; these dataclasses are its schema."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Literal, Optional, Union

from launcher.model.units import Size, Time

STRICT = {"extra": "forbid"}  # read by pydantic: an unknown key is an error
Scalar = Union[bool, int, float, str, None]


class Watch(str, Enum):
    """What a watchdog may do with what it finds."""

    OFF = "off"
    WARN = "warn"
    STOP = "stop"


@dataclass(frozen=True)
class ResourceRequest:
    """What one task asks for; None is not said. Every figure is for one node, `gpu_memory` for one GPU."""

    __pydantic_config__ = STRICT
    gpus: Optional[int] = None
    gpu_memory: Optional[Size] = None
    cpus: Optional[int] = None
    memory: Optional[Size] = None
    disk: Optional[Size] = None
    time: Optional[Time] = None
    nodes: Optional[int] = None
    processes_per_node: Optional[int] = None


@dataclass(frozen=True)
class Resources:
    """What one task is given. Bytes and seconds; None: no limit asked for."""

    gpus: int = 0
    gpu_memory: Optional[int] = None
    cpus: int = 1
    memory: Optional[int] = None
    disk: Optional[int] = None
    time: Optional[float] = None
    nodes: int = 1
    processes_per_node: int = 1

    @staticmethod
    def of(*requests: Optional[ResourceRequest]) -> Resources:
        """Later requests override earlier ones, key by key."""
        said: dict[str, Any] = {}
        for request in requests:
            if request is not None:
                said.update({f.name: v for f in fields(request) if (v := getattr(request, f.name)) is not None})
        return Resources(**said)


@dataclass(frozen=True)
class ArrayEntry:
    """One index of an array: its parameters, and resources where they differ from the phase's."""

    params: dict[str, Scalar] = field(default_factory=dict)
    resources: Optional[ResourceRequest] = None


@dataclass(frozen=True)
class Matrix:
    """The product of parameter lists, first key slowest, less the combinations that match an `exclude` entry."""

    params: dict[str, tuple[Scalar, ...]] = field(default_factory=dict)
    exclude: tuple[dict[str, Scalar], ...] = ()


@dataclass(frozen=True)
class Setup:
    """What stands around the child. With `requirements`, uv makes a Python environment on the node from wheels only,
    within `time`; at most one of that, conda, venv and container."""

    __pydantic_config__ = STRICT
    modules: tuple[str, ...] = ()
    conda: Optional[str] = None
    venv: Optional[str] = None
    container: Optional[str] = None
    python: Optional[str] = None
    requirements: Optional[str] = None
    index: Optional[str] = None
    time: Time = 900.0


@dataclass(frozen=True)
class Input:
    """A file or folder of the workspace that the phase reads."""

    __pydantic_config__ = STRICT
    path: str
    optional: bool = False


@dataclass(frozen=True)
class Output:
    """A file or folder that the phase makes. Quality is a metric of the attempt: from `good` on it is worth keeping,
    below `poor` it is not; where `good` is less than `poor`, lower is better."""

    __pydantic_config__ = STRICT
    path: str
    metric: Optional[str] = None
    good: Optional[float] = None
    poor: Optional[float] = None
    optional: bool = False


@dataclass(frozen=True)
class Checkpoints:
    """Where the phase saves states from which it can resume: entries of `path` that match `pattern`."""

    __pydantic_config__ = STRICT
    path: str
    pattern: str = "*"
    keep_last: int = 2
    best: Optional[str] = None  # metric named in checkpoint_saved; the best is never pruned
    best_is: Literal["lowest", "highest"] = "lowest"
    marker: Optional[str] = None  # a file inside (or beside, with this suffix) that says complete
    size: Optional[Size] = None  # expected size of one
    every: Optional[Time] = None  # expected time between two


@dataclass(frozen=True)
class Watches:
    """The watchdogs of an attempt."""

    __pydantic_config__ = STRICT
    disk: Watch = Watch.STOP
    gpu: Watch = Watch.WARN
    stall: Watch = Watch.WARN
    metrics: Watch = Watch.WARN
    time: Watch = Watch.STOP
    budget: Watch = Watch.STOP
    memory: Watch = Watch.WARN
    stall_after: Time = 900.0
    rules: tuple[str, ...] = ()  # `val_loss < 0.01`: a finding when it becomes true
    paths: tuple[str, ...] = ()  # further disks to watch, beside outputs, checkpoints, store and working tree


@dataclass(frozen=True)
class Retry:
    """How often the same task is tried again without a person, by the reason of the ending."""

    __pydantic_config__ = STRICT
    failed: int = 0
    preempted: int = 3
    node_lost: int = 1
    timed_out: int = 0
    out_of_memory: int = 0
    stalled: int = 0
    start_failed: int = 0


@dataclass(frozen=True)
class Smoke:
    """Small parameters for a first try: with `--smoke`, and where `without_gpus` says so also, announced, on a machine
    that lacks the GPUs which a task asks for."""

    __pydantic_config__ = STRICT
    params: dict[str, Scalar] = field(default_factory=dict)
    resources: Optional[ResourceRequest] = None
    without_gpus: bool = False


@dataclass(frozen=True)
class Phase:
    """The whole file. `command` is split once and never given to a shell, unless `shell` asks for it."""

    __pydantic_config__ = STRICT
    command: Union[str, tuple[str, ...]]
    description: str = ""
    shell: bool = False
    params: dict[str, Scalar] = field(default_factory=dict)
    array: tuple[ArrayEntry, ...] = ()
    matrix: Optional[Matrix] = None
    resources: ResourceRequest = field(default_factory=ResourceRequest)
    env: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    setup: Setup = field(default_factory=Setup)
    inputs: dict[str, Input] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    checkpoints: Optional[Checkpoints] = None
    watch: Watches = field(default_factory=Watches)
    retry: Retry = field(default_factory=Retry)
    smoke: Smoke = field(default_factory=Smoke)
    after: tuple[str, ...] = ()
    distributed: Literal["none", "torchrun", "accelerate"] = "none"
    code: Literal["snapshot", "here"] = "snapshot"
    grace: Time = 30.0  # between asking to stop and SIGTERM, and again before SIGKILL
    beat: Time = 10.0
