"""What is watched, what one look at it found, and what was made of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from launcher.model.job import JobSpec, TaskSpec
from launcher.model.outcome import Outcome
from launcher.model.records import DiskReading, Finding, GpuReading, HostReading, LogReading, Progress, TreeReading


@dataclass(frozen=True)
class Watched:
    """One attempt and its surroundings. `price` is dollars per hour of this attempt, `started_at` wall time.

    `elapsed`: seconds of it that were over when the watch began; None: by the wall clock.
    `spent` tells what the rest of the job has cost so far, for the budget; None where that is not known.
    `ballast` are folders of ours, one on each disk, that may hold the ballast file; empty: the attempt's folder.
    """

    spec: JobSpec
    task: TaskSpec
    attempt: int
    folder: Path  # the attempt's, in the store
    checkpoints: Optional[Path]
    disks: tuple[Path, ...]
    gpus: tuple[str, ...]
    started_at: float
    price: Optional[float]
    pids: Callable[[], list[int]]
    spent: Optional[Callable[[], Optional[float]]] = None
    ballast: tuple[Path, ...] = ()
    elapsed: Optional[float] = None


@dataclass(frozen=True)
class MetricPoint:
    """One value as it was read. `source` is "metrics" (metrics.jsonl) or "log"."""

    name: str
    value: float
    step: Optional[float] = None
    source: str = "metrics"


@dataclass(frozen=True)
class Sign:
    """A line of the log that says why something failed. `count`: how often such lines were seen."""

    code: str  # cuda_out_of_memory, out_of_memory, disk_full, nccl, cuda_error, exception, crash
    line: str
    count: int = 1


@dataclass(frozen=True)
class CheckpointReading:
    """The checkpoints of the attempt: complete ones oldest first. Bytes, wall times."""

    complete: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    times: tuple[float, ...] = ()
    incomplete: int = 0
    unprunable: int = 0  # more than keep_last, and kept because the best is not known or deleting failed


@dataclass(frozen=True)
class Sample:
    """Everything that is known at one moment. None: not available; `missing` says since when, by source."""

    mono: float
    wall: float
    log: Optional[LogReading] = None
    progress: Optional[Progress] = None
    tree: Optional[TreeReading] = None
    io_bytes: Optional[int] = None  # read and written by the tree so far, page cache included
    gpus: Optional[tuple[GpuReading, ...]] = None
    disks: Optional[tuple[DiskReading, ...]] = None
    host: Optional[HostReading] = None
    metrics: dict[str, float] = field(default_factory=dict)  # newest value of each
    points: tuple[MetricPoint, ...] = ()  # what came since the last sample
    signs: tuple[Sign, ...] = ()
    checkpoints: Optional[CheckpointReading] = None
    elapsed: float = 0.0  # seconds since the attempt started
    cost: Optional[float] = None  # dollars of this attempt
    spent: Optional[float] = None  # dollars of the rest of the job
    missing: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stop:
    """A watchdog wants the attempt ended."""

    outcome: Outcome
    reason: str
    finding: Finding


@dataclass(frozen=True)
class Judgement:
    """`evidence`: capture it now, before anything is done about the stall."""

    findings: tuple[Finding, ...] = ()
    stop: Optional[Stop] = None
    evidence: bool = False


@dataclass(frozen=True)
class Peaks:
    """The highest readings so far, in bytes; `gpu_memory` is that of the fullest GPU."""

    memory: Optional[int] = None
    gpu_memory: Optional[int] = None
