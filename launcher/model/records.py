"""The records of an attempt and of an allocation, as they lie in the store. All times are seconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from launcher.model.outcome import Outcome, State

SCHEMA = 1


@dataclass(frozen=True)
class ProcessId:
    """A process that cannot be mistaken for another: pids are reused, a pid with its start time and boot is not.

    `start` is field 22 of /proc/PID/stat (clock ticks since boot), `boot` is /proc/sys/kernel/random/boot_id. `machine`
    stands for /etc/machine-id, which outlives boots: two machines may both be called `ubuntu`. None: it has none.
    """

    pid: int
    start: int
    boot: str
    host: str
    machine: Optional[str] = None


@dataclass(frozen=True)
class Claim:
    """Who runs an attempt. The folder's exclusive mkdir is the claim; this is written before the child's first instruction."""

    schema: int
    job: str
    task: int
    attempt: int
    allocation: str
    at: float
    supervisor: ProcessId
    child: ProcessId  # also its process group
    command: tuple[str, ...]
    folder: str  # working directory of the child
    gpus: tuple[str, ...] = ()  # as in CUDA_VISIBLE_DEVICES
    resumed_from: Optional[str] = None


@dataclass(frozen=True)
class Progress:
    """What the child declared, and what follows from it. `rate` is steps per second, `left` seconds."""

    step: Optional[float] = None
    total: Optional[float] = None
    stage: Optional[str] = None
    message: Optional[str] = None
    rate: Optional[float] = None
    left: Optional[float] = None
    at: Optional[float] = None  # when the step last changed


@dataclass(frozen=True)
class LogReading:
    """The child's log: bytes, the last line that is not empty, when it last grew."""

    size: int
    last_line: Optional[str] = None
    grew_at: Optional[float] = None


@dataclass(frozen=True)
class TreeReading:
    """The child's process tree: cpu in cores over the last interval, memory in bytes (proportional where readable)."""

    processes: int
    cpu: Optional[float] = None
    memory: Optional[int] = None


@dataclass(frozen=True)
class GpuReading:
    """One GPU. Fractions 0..1, bytes, watts, degrees Celsius; None is not available."""

    index: int
    name: Optional[str] = None
    uuid: Optional[str] = None
    utilisation: Optional[float] = None
    memory_used: Optional[int] = None
    memory_total: Optional[int] = None
    power: Optional[float] = None
    power_limit: Optional[float] = None
    temperature: Optional[float] = None
    throttled: Optional[tuple[str, ...]] = None  # reasons; empty: not throttled
    ecc_errors: Optional[int] = None  # uncorrected, since boot
    xid_errors: Optional[tuple[int, ...]] = None
    lost: bool = False


@dataclass(frozen=True)
class DiskReading:
    """One watched path. Bytes, inodes, bytes per second, seconds to full."""

    path: str
    used: Optional[int] = None
    free: Optional[int] = None
    total: Optional[int] = None
    inodes_free: Optional[int] = None
    inodes_total: Optional[int] = None
    rate: Optional[float] = None
    full_in: Optional[float] = None
    quota: Optional[bool] = None  # the figures are those of a quota that leaves less than the disk has


@dataclass(frozen=True)
class HostReading:
    """The node: memory in bytes, of the host and of the cgroup that limits us; `oom_kills` counted since the start."""

    memory_available: Optional[int] = None
    memory_total: Optional[int] = None
    cgroup_used: Optional[int] = None
    cgroup_limit: Optional[int] = None
    oom_kills: Optional[int] = None
    load: Optional[float] = None


@dataclass(frozen=True)
class Finding:
    """What a watchdog says. `level`: notice, warning, act."""

    watch: str  # disk, gpu, stall, metrics, time, budget, memory, setup, code
    code: str  # stable, for programs: disk.filling, stall.silent_but_busy
    level: str
    message: str
    since: float
    hint: Optional[str] = None


@dataclass(frozen=True)
class Heartbeat:
    """The only mutable record of an attempt. Freshness is judged by `seq` and the reader's own clock, never by `at`."""

    schema: int
    seq: int
    at: float
    job: str
    task: int
    attempt: int
    allocation: str
    state: State
    stage: str  # setup, unpack, run, checkpoint, stop, commit, ended
    started_at: float
    host: str
    beat: float  # seconds between two beats
    child: Optional[ProcessId] = None
    supervisor: Optional[ProcessId] = None
    log: Optional[LogReading] = None
    progress: Optional[Progress] = None
    tree: Optional[TreeReading] = None
    gpus: Optional[tuple[GpuReading, ...]] = None
    disks: Optional[tuple[DiskReading, ...]] = None
    host_reading: Optional[HostReading] = None
    metrics: dict[str, float] = field(default_factory=dict)  # newest value of each
    findings: tuple[Finding, ...] = ()
    cost: Optional[float] = None
    checkpoint: Optional[str] = None  # newest complete one
    missing: dict[str, float] = field(default_factory=dict)  # source -> not available since
    stop_reason: Optional[str] = None


@dataclass(frozen=True)
class Declared:
    """What the child said of its own end (`task.fail`)."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class ExitRecord:
    """The verdict on an attempt: the only thing that can say succeeded."""

    schema: int
    job: str
    task: int
    attempt: int
    allocation: str
    outcome: Outcome
    reason: str
    started_at: float
    ended_at: float
    host: str
    exit_code: Optional[int] = None
    signal: Optional[int] = None
    declared: Optional[Declared] = None
    step: Optional[float] = None
    total: Optional[float] = None
    metrics: dict[str, float] = field(default_factory=dict)
    peak_memory: Optional[int] = None
    peak_gpu_memory: Optional[int] = None
    cpu_seconds: Optional[float] = None
    log_size: Optional[int] = None
    cost: Optional[float] = None
    code: Optional[str] = None
    hardware: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    checkpoint: Optional[str] = None  # newest complete one: where a later attempt can resume
    kept: tuple[str, ...] = ()  # folders that hold work which was not committed
    evidence: Optional[str] = None


@dataclass(frozen=True)
class ManifestFile:
    """One file of an artifact."""

    path: str  # relative to the artifact
    size: int
    sha256: str


@dataclass(frozen=True)
class Fingerprint:
    """What an input was when it was used: the sha256 over its files' names and contents, and the job that made it."""

    path: str
    hash: str
    made_by: Optional[str] = None


@dataclass(frozen=True)
class Manifest:
    """A complete artifact. Lies beside the artifact in the workspace and, for the attempt, in the store."""

    schema: int
    name: str
    path: str  # relative to the workspace
    job: str
    phase: str
    task: int
    attempt: int
    at: float
    files: tuple[ManifestFile, ...]
    hash: str  # as in Fingerprint
    code: str
    command: tuple[str, ...]
    params: dict[str, Any]
    inputs: tuple[Fingerprint, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    seconds: Optional[float] = None
    cost: Optional[float] = None
    set_aside: Optional[str] = None  # where the previous artifact of this path went


@dataclass(frozen=True)
class ManifestList:
    """`manifest.json` of an attempt: everything that it committed."""

    schema: int
    artifacts: tuple[Manifest, ...]


@dataclass(frozen=True)
class Event:
    """Something that happened, once. `kind`: submitting, allocated, cancelled, retried, reconciled, started, pruned..."""

    schema: int
    kind: str
    at: float
    by: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StopRequest:
    """Somebody wants tasks stopped; None: all of the job's."""

    schema: int
    at: float
    by: str
    reason: str  # cancelled, time limit, ...
    tasks: Optional[tuple[int, ...]] = None


@dataclass(frozen=True)
class RunningTask:
    """A task that an agent has started and that has not ended."""

    task: int
    attempt: int
    state: State
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class EndedTask:
    """One line of the agent's ended segment: enough for a table, so that `status` need not open each exit record.

    A task gets its line when it is over for good: an attempt that is followed by another has none, and `cost` is that of
    all attempts which this agent made of the task. Attempt 0: none was begun.
    """

    task: int
    attempt: int
    outcome: Outcome
    reason: str
    started_at: Optional[float]
    ended_at: float
    cost: Optional[float] = None

    def to_json(self) -> list[Any]:
        return [self.task, self.attempt, self.outcome.value, self.reason, self.started_at, self.ended_at, self.cost]

    @classmethod
    def from_json(cls, data: Any) -> EndedTask:
        task, attempt, outcome, reason, started, ended, cost = data
        numbers = (started, ended, cost)
        if type(task) is not int or type(attempt) is not int or not isinstance(reason, str):
            raise ValueError("an ended task is [task, attempt, outcome, reason, started, ended, cost]")
        if (
            any(n is not None and (isinstance(n, bool) or not isinstance(n, (int, float))) for n in numbers)
            or ended is None
        ):
            raise ValueError("times and cost are numbers")
        return cls(task, attempt, Outcome(outcome), reason, started, ended, cost)


@dataclass(frozen=True)
class AgentView:
    """What the agent of an allocation knows of its tasks; replaced at each beat and each change."""

    schema: int
    seq: int
    at: float
    job: str
    allocation: str
    agent: ProcessId
    state: State  # running, stopping, ended
    queue: str  # array expression of the tasks that wait; may be empty
    running: tuple[RunningTask, ...] = ()
    waiting_for: Optional[str] = None  # in words: why the first of the queue does not start
    ended: int = 0  # lines in the ended segment
    beat: float = 10.0


@dataclass(frozen=True)
class Released:
    """The end of an allocation: by its agent, or found out by reconcile (then `lost` says by what evidence)."""

    schema: int
    allocation: str
    at: float
    by: str
    lost: Optional[str] = None


@dataclass(frozen=True)
class Order:
    """What an allocation is to run, written by the submitting side before the allocation exists.

    The agent takes the tasks in this order and starts nothing that another allocation's record shows as ended. `stops` names
    the stop requests that were there before it and were meant for earlier attempts: two machines' clocks cannot tell. None:
    written by a version that went by the time.
    """

    schema: int
    allocation: str
    job: str
    tasks: tuple[int, ...]
    at: float
    by: str
    stops: Optional[tuple[str, ...]] = None

    def is_stopped_by(self, name: str, at: float) -> bool:
        """Whether a stop request of the job, by its name in the store and its time, is meant for what was ordered here."""
        return at >= self.at if self.stops is None else name not in self.stops
