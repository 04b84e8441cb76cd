"""The watchdogs of an attempt and what becomes of what they say: since when, how sure, and with what consequence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Optional

from launcher.model.job import JobSpec, TaskSpec
from launcher.model.outcome import Outcome
from launcher.model.phase import Watch
from launcher.model.records import Finding
from launcher.supervisor.readings.sample import Judgement, Sample, Stop
from launcher.supervisor.watchdogs.disk import DiskWatch
from launcher.supervisor.watchdogs.gpu import GpuWatch
from launcher.supervisor.watchdogs.limits import BudgetWatch, TimeWatch
from launcher.supervisor.watchdogs.memory import MemoryWatch
from launcher.supervisor.watchdogs.metrics import MetricsWatch
from launcher.supervisor.watchdogs.raised import LEVELS, Raised, Watchdog
from launcher.supervisor.watchdogs.stall import StallWatch

Maker = Callable[[JobSpec, TaskSpec, int], Watchdog]

TABLE: tuple[tuple[str, Maker], ...] = (
    ("disk", lambda spec, task, gpus: DiskWatch(spec.checkpoints)),
    ("memory", lambda spec, task, gpus: MemoryWatch(spec.resources_of(task).memory)),
    ("gpu", lambda spec, task, gpus: GpuWatch(gpus)),
    ("metrics", lambda spec, task, gpus: MetricsWatch(spec.watch.rules)),
    ("stall", lambda spec, task, gpus: StallWatch(spec.watch.stall_after)),
    ("time", lambda spec, task, gpus: TimeWatch(spec.resources_of(task).time, spec.grace)),
    ("budget", lambda spec, task, gpus: BudgetWatch(spec.budget)),
)

KEPT_S = 30.0
"""A finding whose cause is gone stays so long (at least two samples), so that one which comes and goes is one finding."""
KEPT_SAMPLES = 2
MOST_FINDINGS = 50
EVIDENCE_APART_S = 600.0
MOST_EVIDENCE = 5


@dataclass
class _Kept:
    finding: Finding
    seen: float  # monotonic
    missed: int = 0
    evidence: bool = False


class Board:
    """Looks at each sample with every watchdog that is not off. Pure: no clock but the samples' own."""

    def __init__(self, spec: JobSpec, task: TaskSpec, gpus: int = 0) -> None:
        self._watchdogs: list[tuple[str, Watch, Watchdog]] = []
        for name, make in TABLE:
            mode = Watch(getattr(spec.watch, name))
            if mode is not Watch.OFF:
                self._watchdogs.append((name, mode, make(spec, task, gpus)))
        self._keep_s = min(KEPT_S, 3 * spec.beat)
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._evidence_at: Optional[float] = None
        self._evidence_count = 0

    def judge(self, sample: Sample) -> Judgement:
        """Everything that holds now. `stop` is the first watchdog's, in the order of the table, that may and wants to."""
        stop: Optional[tuple[Outcome, str, tuple[str, str]]] = None
        evidence = False
        for kept in self._kept.values():
            kept.missed += 1
        for watch, mode, watchdog in self._watchdogs:
            for raised in watchdog.look(sample):
                finding = self._take(watch, raised, sample)
                if finding is None:
                    continue
                stopping = mode is Watch.STOP and raised.stop is not None
                evidence = evidence or (raised.evidence and self._wants_evidence(watch, raised, sample, stopping))
                if stopping and stop is None and raised.stop is not None:
                    stop = (raised.stop, raised.message, (raised.code, raised.key))
        self._forget(sample.mono)
        order = {level: position for position, level in enumerate(reversed(LEVELS))}
        findings = sorted((kept.finding for kept in self._kept.values()), key=lambda one: (order[one.level], one.since))
        ending = Stop(stop[0], stop[1], self._kept[stop[2]].finding) if stop else None
        return Judgement(tuple(findings), ending, evidence)

    def _take(self, watch: str, raised: Raised, sample: Sample) -> Optional[Finding]:
        """Begin a finding, or renew one: its words change, its `since` stays."""
        key = (raised.code, raised.key)
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= MOST_FINDINGS:
                return None
            finding = Finding(watch, raised.code, raised.level, raised.message, sample.wall, raised.hint)
            self._kept[key] = _Kept(finding, sample.mono)
            return finding
        kept.finding = replace(kept.finding, level=raised.level, message=raised.message, hint=raised.hint)
        kept.seen, kept.missed = sample.mono, 0
        return kept.finding

    def _wants_evidence(self, watch: str, raised: Raised, sample: Sample, stopping: bool) -> bool:
        """Once for each finding, not often, and always before an end."""
        kept = self._kept[(raised.code, raised.key)]
        recently = self._evidence_at is not None and sample.mono - self._evidence_at < EVIDENCE_APART_S
        if not stopping and (kept.evidence or recently or self._evidence_count >= MOST_EVIDENCE):
            return False
        if stopping and recently and kept.evidence:
            return False
        kept.evidence, self._evidence_at = True, sample.mono
        self._evidence_count += 1
        return True

    def _forget(self, mono: float) -> None:
        gone = [
            key for key, kept in self._kept.items() if kept.missed >= KEPT_SAMPLES and mono - kept.seen >= self._keep_s
        ]
        for key in gone:
            del self._kept[key]
