"""The heartbeat: the one record that changes. Losing a beat to a full or dead disk never ends an attempt."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Callable, Optional

from launcher.errors import BadRecord, LaunchError
from launcher.model import codec
from launcher.model.outcome import State
from launcher.model.records import SCHEMA, Event, Finding, Heartbeat, ProcessId
from launcher.store import keys, processes, records
from launcher.supervisor.places import Places
from launcher.supervisor.readings.sample import Sample


@dataclass(frozen=True)
class Standing:
    """What a beat says beside the readings."""

    state: State
    stage: str
    started_at: float
    child: Optional[ProcessId]
    findings: tuple[Finding, ...]
    cost: Optional[float]
    checkpoint: Optional[str]
    stop_reason: Optional[str]


class Beats:
    """Numbers go on where an earlier supervisor of the attempt stopped. `make_room` gives up what is kept for a full disk."""

    def __init__(self, places: Places, supervisor: ProcessId, make_room: Callable[[], bool]) -> None:
        self._places = places
        self._supervisor = supervisor
        self._make_room = make_room
        self._failing = False
        try:
            before = records.read_heartbeat(places.store, places.spec.job, places.task.index, places.attempt)
        except (BadRecord, LaunchError):
            before = None
        self._seq = 0 if before is None else before.seq

    def write(self, wall: float, standing: Standing, sample: Optional[Sample]) -> bool:
        """False where it could not be written, which is said once on standard error and tried again at the next beat."""
        self._seq += 1
        beat = Heartbeat(
            schema=SCHEMA,
            seq=self._seq,
            at=wall,
            job=self._places.spec.job,
            task=self._places.task.index,
            attempt=self._places.attempt,
            allocation=self._places.allocation,
            state=standing.state,
            stage=standing.stage,
            started_at=standing.started_at,
            host=processes.host(),
            beat=self._places.spec.beat,
            child=standing.child,
            supervisor=self._supervisor,
            findings=standing.findings,
            cost=standing.cost,
            checkpoint=standing.checkpoint,
            stop_reason=standing.stop_reason,
            **_readings(sample),
        )
        content = codec.dump(beat)
        return self._try(lambda: self._places.store.replace(self._places.key(keys.HEARTBEAT), content, sync=False))

    def event(self, kind: str, at: float, data: dict[str, Any]) -> None:
        """One line of the attempt's events; best effort, as beats are."""
        line = codec.dump(Event(SCHEMA, kind, at, "supervisor", data))
        self._try(lambda: self._places.store.append(self._places.key(keys.EVENTS), line))

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except LaunchError as error:
            if not self._failing:
                say(f"{self._places.attempt_id}: {error}")
            self._failing = True
            if not self._make_room():
                return False
            try:
                write()
            except LaunchError:
                return False
        self._failing = False
        return True


def _readings(sample: Optional[Sample]) -> dict[str, Any]:
    if sample is None:
        return {}
    return {
        "log": sample.log,
        "progress": sample.progress,
        "tree": sample.tree,
        "gpus": sample.gpus,
        "disks": sample.disks,
        "host_reading": sample.host,
        "metrics": sample.metrics,
        "missing": sample.missing,
    }


def say(text: str) -> None:
    """To standard error, which is the log of the allocation: only what goes wrong with the supervisor itself."""
    try:
        # Not through sys.stderr: what its buffer could not write it tries again at exit, and changes the exit code.
        os.write(2, f"launch supervisor: {text}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        pass  # the disk of that log is full, or nobody holds it open
