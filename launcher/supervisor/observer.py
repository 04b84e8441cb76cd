"""Puts the readings of an attempt together, has them judged, and keeps its checkpoints pruned. Never waits for any of them."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from launcher.model.records import Declared, DiskReading
from launcher.store import keys
from launcher.supervisor.checkpointing.keeping import CheckpointKeeper, Kept
from launcher.supervisor.readings.declared import DeclaredReader, DeclaredState
from launcher.supervisor.readings.disks import Ballast, DiskReader, red
from launcher.supervisor.readings.gpusources import GpuSources
from launcher.supervisor.readings.host import HostReader
from launcher.supervisor.readings.logscan import LogScan, LogState, wanted_names
from launcher.supervisor.readings.mail import Mail, drained
from launcher.supervisor.readings.proctree import TreeReader
from launcher.supervisor.readings.sample import (
    Judgement,
    MetricPoint,
    Peaks,
    Sample,
    Sign,
    Stop,
    Watched,
)
from launcher.supervisor.readings.sources import Source
from launcher.supervisor.readings.telemetry import Telemetry
from launcher.supervisor.watchdogs.table import Board

__all__ = ["Judgement", "Observer", "Peaks", "Sample", "Sign", "Stop", "Watched"]

DEADLINE_S = 10.0
LEAST_DEADLINE_S = 1.0
EARLY = 0.9
"""Readings are taken this part of a beat after the last sample, so that they are fresh at the next."""
FINAL_S = 2.0
EVENTS_KEPT = 200
METRICS_KEPT = 200


class Observer:
    """The eyes of a supervisor. `start` it, call `sample` once per beat and `judge` what it returned; `close` at the end.

    All methods are for one thread. None of them waits for a reading, but `final_log_scan`, which waits two seconds at most.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        spec = watched.spec
        folder = watched.folder
        self._beat = max(0.05, spec.beat)
        self._deadline = max(LEAST_DEADLINE_S, min(DEADLINE_S, 2 * self._beat))
        self._happened: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._metrics: dict[str, float] = {}
        self._peaks = Peaks()
        self._judgement = Judgement()
        self._started_mono: Optional[float] = None
        self._elapsed_before = 0.0
        self._board = Board(spec, watched.task, len(watched.gpus))
        self._telemetry = Telemetry(folder / keys.TELEMETRY, self._beat)
        self._ballast = Ballast(watched.ballast or (folder,))
        self._ballast_freed = self._ballast_laid = False

        names = wanted_names(
            spec.watch.rules,
            spec.checkpoints.best if spec.checkpoints else None,
            *(output.metric for output in spec.outputs.values()),
        )
        self._log_scan = LogScan(folder / keys.LOG, names)
        self._ended = False
        self._log_mail = Mail()
        self._declared_reader = DeclaredReader(folder / keys.PROGRESS, folder / keys.METRICS)
        self._metric_mail = Mail()
        self._log: Source[LogState] = self._source("log", self._read_log)
        self._declared: Source[DeclaredState] = self._source("progress", self._read_declared)
        self._tree = self._source("processes", TreeReader(watched.pids).read)
        self._host = self._source("host", HostReader().read)
        self._disks = [
            self._source(f"disk {path}", DiskReader(path).read) for path in _distinct((*watched.disks, folder))
        ]
        self.keeper: Optional[CheckpointKeeper] = None
        self._checkpoints: Optional[Source[Kept]] = None
        if spec.checkpoints is not None and watched.checkpoints is not None:
            since = watched.started_at if spec.code.kind == "here" else 0.0  # in the project's folder lie others', too
            self.keeper = CheckpointKeeper(watched.checkpoints, spec.checkpoints, self._beat, since=since)
            self._checkpoints = self._source("checkpoints", self.keeper.read)
        self._telemetry_mail: deque[Sample] = deque(maxlen=20)
        self._writer = self._source("telemetry", self._write_telemetry)
        self._gpus = GpuSources(watched.gpus, self._deadline)

    def start(self) -> None:
        """Begin all readings."""
        self._started_mono = mono = time.monotonic()
        before = self._watched.elapsed
        self._elapsed_before = max(0.0, time.time() - self._watched.started_at) if before is None else before
        for source in self._sources():
            source.start()
            if source is not self._writer:
                source.ask(mono)

    def sample(self, mono: float, wall: float, until_next: Optional[float] = None) -> Sample:
        """Everything that is known now, and the next readings asked for: in time for the next sample, which comes after
        `until_next` seconds (None: a beat)."""
        kept = self._checkpoints.value(mono) if self._checkpoints else None
        log, declared = self._log.value(mono), self._declared.value(mono)
        tree = self._tree.value(mono)
        points = (*self._log_mail.take(), *self._metric_mail.take())
        self._remember(points)
        elapsed = self._elapsed(mono)
        sample = Sample(
            mono=mono,
            wall=wall,
            log=log.reading if log else None,
            progress=declared.progress if declared else None,
            tree=tree.reading if tree else None,
            io_bytes=tree.io_bytes if tree else None,
            gpus=self._gpus.readings(mono),
            disks=self._disk_readings(mono),
            host=self._host.value(mono),
            metrics=dict(self._metrics),
            points=points,
            signs=log.signs if log else (),
            checkpoints=kept.reading if kept else None,
            elapsed=elapsed,
            cost=None if self._watched.price is None else self._watched.price * elapsed / 3600,
            spent=self._spent(),
            missing=self._missing(mono),
        )
        self._peak(sample)
        self._tell_keeper(declared)
        self._ask_all(mono, sample, self._beat if until_next is None else until_next)
        return sample

    def judge(self, sample: Sample) -> Judgement:
        """What the watchdogs say of a sample. Each sample once, in order. A judge that fails takes nothing else with it."""
        try:
            self._judgement = self._board.judge(sample)
        except Exception as error:  # noqa: BLE001 - the attempt goes on whatever the judges make of its readings
            self._happened.append({"kind": "judge failed", "why": f"{type(error).__name__}: {error}"})
            return Judgement(self._judgement.findings)
        return self._judgement

    def declared(self) -> Optional[Declared]:
        """What the child said of its own end, as far as it has been read."""
        state = self._declared.value(time.monotonic())
        return state.outcome if state else None

    def signs(self) -> tuple[Sign, ...]:
        """Lines of the log that say why something failed."""
        state = self._log.value(time.monotonic())
        return state.signs if state else ()

    def peaks(self) -> Peaks:
        """The highest memory readings so far."""
        return self._peaks

    def events(self) -> list[dict[str, Any]]:
        """What happened since the last call: sources that went missing, log that was skipped, checkpoints pruned."""
        mono = time.monotonic()
        found = drained(self._happened)
        for source in self._sources():
            event = source.event(mono)
            if event is not None:
                found.append(event)
        skipped = self._log_mail.take_skipped()
        if skipped:
            found.append({"kind": "log skipped", "bytes": skipped})
        if self.keeper is not None:
            found.extend(self.keeper.take_events())
        return found

    def newest_checkpoint(self) -> Optional[Path]:
        """The newest complete checkpoint that is known."""
        kept = self._checkpoints.value(time.monotonic()) if self._checkpoints else None
        return Path(kept.reading.complete[-1]) if kept and kept.reading.complete else None

    def free_ballast(self) -> bool:
        """Give up the room that was kept for the last words. True where that freed something."""
        return bool(self._ballast.free())

    def final_log_scan(self) -> None:
        """Read what the child wrote at its very end: log, declarations, checkpoints. Waits two seconds at most, for all."""
        self._ended = True
        limit = time.monotonic() + FINAL_S
        last = [self._log, self._declared, *((self._checkpoints,) if self._checkpoints else ())]
        # A reading may be under way that began before the end: it is let finish, and then asked for again.
        for source in last:
            source.settle(max(0.0, limit - time.monotonic()), due=False)
        for source in last:
            source.ask(time.monotonic(), urgent=True)
        for source in last:
            source.settle(max(0.0, limit - time.monotonic()))

    def close(self) -> None:
        """End the readings and give up the ballast. Whatever hangs is left hanging."""
        mono = time.monotonic()
        self._ended = True
        self._writer.ask(mono, urgent=True)
        self._writer.settle(0.5)
        for source in self._sources():
            source.close()
        self._ballast.free()

    def _source(self, name: str, read: Callable[[], Any]) -> Source[Any]:
        return Source(name, read, deadline=self._deadline)

    def _sources(self) -> list[Source[Any]]:
        found: list[Source[Any]] = [self._log, self._declared, self._tree, self._host, *self._disks, self._writer]
        return [*found, *((self._checkpoints,) if self._checkpoints else ()), *self._gpus.sources]

    def _ask_all(self, mono: float, sample: Sample, until_next: float) -> None:
        self._telemetry_mail.append(sample)
        for source in self._sources():
            if source is not self._writer:
                source.ask(mono, EARLY * until_next)
        if self._writer.started:
            self._writer.ask(mono)

    def _elapsed(self, mono: float) -> float:
        """Seconds since the attempt began; by the monotonic clock since this supervisor watches."""
        return self._elapsed_before + (mono - self._started_mono if self._started_mono is not None else 0.0)

    def _spent(self) -> Optional[float]:
        return self._watched.spent() if self._watched.spent is not None else None

    def _missing(self, mono: float) -> dict[str, float]:
        found = {}
        for source in self._sources():
            since = None if source in self._gpus.sources else source.missing_since(mono)
            if since is not None:
                found[source.name] = since
        since = self._gpus.missing_since(mono)
        if since is not None:
            found["gpus"] = since
        return found

    def _disk_readings(self, mono: float) -> Optional[tuple[DiskReading, ...]]:
        found = tuple(reading for reading in (disk.value(mono) for disk in self._disks) if reading is not None)
        for one in found:
            full = one.used is not None and one.free is not None and red(one.used, one.free, one.total or 0)
            if full and not self._ballast_freed:
                self._ballast_freed = True
                freed = self._ballast.free()
                if freed:
                    self._happened.append({"kind": "ballast freed", "paths": [str(path) for path in freed]})
        return found or None

    def _remember(self, points: tuple[MetricPoint, ...]) -> None:
        """The newest of each. What a metric is in metrics.jsonl, a log that repeats it does not change."""
        for point in points:
            repeated = point.source != "metrics" and point.name in self._metric_mail.names
            if not repeated and (point.name in self._metrics or len(self._metrics) < METRICS_KEPT):
                self._metrics[point.name] = point.value

    def _peak(self, sample: Sample) -> None:
        memory = sample.tree.memory if sample.tree else None
        used = [gpu.memory_used for gpu in sample.gpus or () if gpu.memory_used is not None]
        self._peaks = Peaks(
            _larger(self._peaks.memory, memory), _larger(self._peaks.gpu_memory, max(used, default=None))
        )

    def _tell_keeper(self, declared: Optional[DeclaredState]) -> None:
        if self.keeper is not None and declared is not None:
            self.keeper.tell(declared.announced)

    def _read_log(self) -> LogState:
        state = self._log_scan.read_rest() if self._ended else self._log_scan.read()
        self._log_mail.put(state.points, state.skipped)
        return state

    def _read_declared(self) -> DeclaredState:
        state = self._declared_reader.read()
        self._metric_mail.put(state.points)
        if self._ended and self.keeper is not None:
            self.keeper.tell(state.announced)
        return state

    def _write_telemetry(self) -> None:
        if not self._ballast_laid:  # here, since a dead mount keeps whoever asks
            self._ballast_laid = True
            for trouble in self._ballast.place():
                self._happened.append({"kind": "no ballast", "why": trouble})
        for sample in drained(self._telemetry_mail):
            self._telemetry.add(sample)
        if self._ended:
            self._telemetry.close()


def _distinct(paths: tuple[Path, ...]) -> list[Path]:
    """Each path once. Whether two lie on one disk is not asked here: a dead mount would keep the answer."""
    return list(dict.fromkeys(Path(os.path.abspath(path)) for path in paths))


def _larger(one: Optional[int], other: Optional[int]) -> Optional[int]:
    return other if one is None else one if other is None else max(one, other)
