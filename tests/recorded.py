"""A recorded series of samples, played to the judges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from launcher.model.phase import Watch, Watches
from launcher.model.records import DiskReading, Finding, LogReading, TreeReading
from launcher.supervisor.readings.sample import Judgement, Sample
from launcher.supervisor.watchdogs.table import Board
from tests.test_observer import spec

GB = 10**9
NAMES = ("disk", "gpu", "stall", "metrics", "time", "budget", "memory")


def all_of(mode: Watch) -> Watches:
    chosen: dict[str, Any] = dict.fromkeys(NAMES, mode)
    return replace(Watches(), **chosen)


ALL_STOP = all_of(Watch.STOP)
Series = Iterable[Sample]


def board(watch: Watches = ALL_STOP, *, gpus: int = 0, **changes: Any) -> Board:
    job = spec(watch=watch, beat=10.0, **changes)
    return Board(job, job.tasks[0], gpus)


def play(judge: Board, series: Series) -> list[tuple[Sample, Judgement]]:
    return [(sample, judge.judge(sample)) for sample in series]


def at(seconds: float, **given: Any) -> Sample:
    """A sample of a job that is well, but for what is given. It prints and computes."""
    plain: dict[str, Any] = {
        "mono": 5000.0 + seconds,
        "wall": 1.7e9 + seconds,
        "elapsed": seconds,
        "log": LogReading(size=int(seconds * 10), last_line="fine", grew_at=1.7e9 + seconds),
        "tree": TreeReading(3, 1.0, GB),
    }
    return Sample(**{**plain, **given})


def codes(judgement: Judgement) -> set[str]:
    return {finding.code for finding in judgement.findings}


def first(played: list[tuple[Sample, Judgement]], code: str, level: str | None = None) -> tuple[Sample, Finding]:
    for sample, judgement in played:
        for finding in judgement.findings:
            if finding.code == code and level in (None, finding.level):
                return sample, finding
    raise AssertionError(f"no {code} at level {level}; found {sorted({c for _, one in played for c in codes(one)})}")


def levels(played: list[tuple[Sample, Judgement]], code: str) -> list[str]:
    """The levels of a finding in the order in which they came, repetitions left out."""
    found: list[str] = []
    for _, judgement in played:
        for finding in judgement.findings:
            if finding.code == code and found[-1:] != [finding.level]:
                found.append(finding.level)
    return found


def disk(used: float, total: float = 100 * GB, rate: float | None = None, **more: Any) -> DiskReading:
    free = int(total - used)
    full_in = free / rate if rate else None
    return DiskReading("/data", int(used), free, int(total), 10**6, 2 * 10**6, rate, full_in, **more)
