"""Jobs in a store, record by record, as client, agent and supervisor would write them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher.model import codec
from launcher.model.job import Code, JobSpec, Place, TaskSpec
from launcher.model.names import show_indices
from launcher.model.outcome import Outcome, State
from launcher.model.phase import Resources
from launcher.model.records import (
    SCHEMA,
    AgentView,
    Claim,
    EndedTask,
    Event,
    ExitRecord,
    Heartbeat,
    LogReading,
    Order,
    ProcessId,
    Progress,
    Released,
    RunningTask,
    StopRequest,
)
from launcher.store import keys, processes
from launcher.store.folder import FolderStore

NOBODY = ProcessId(2**22 + 1, 1, "another boot", "another-host")
"""A process of which nothing can be known from here."""


def spec(job: str, store: Path, tasks: int, **changes: Any) -> JobSpec:
    """A plain job of equal tasks; `executor` is one that no test asks anything."""
    phase = job.rpartition("-")[0]
    place = Place("local", "local", {}, str(store), str(store.parent), None)
    made = JobSpec(
        schema=SCHEMA,
        job=job,
        phase=phase,
        name=phase,
        submitted_at=time.time(),
        submitted_by="researcher@here",
        version="0",
        place=place,
        code=Code("here", "0" * 64, str(store.parent)),
        kit="0" * 64,
        command=("true",),
        shell=False,
        params={},
        tasks=tuple(TaskSpec(index) for index in range(tasks)),
        resources=(Resources(),),
    )
    return replace(made, **changes)


def me() -> ProcessId:
    """A process that lives: this one."""
    found = processes.process_id(os.getpid())
    assert found is not None
    return found


def dead() -> ProcessId:
    """A process of this host that does not live: one of an earlier boot."""
    return replace(me(), boot="00000000-0000-0000-0000-000000000000")


@dataclass
class Written:
    """One job and what is written of it."""

    store: FolderStore
    spec: JobSpec
    allocation: str = "a1"
    seq: int = 0
    queue: tuple[int, ...] = ()
    running: tuple[RunningTask, ...] = ()
    lines: int = 0

    @property
    def job(self) -> str:
        return self.spec.job

    def _put(self, key: str, record: Any) -> None:
        self.store.replace(key, codec.dump(record), sync=False)

    def submitted(self, tasks: tuple[int, ...] | None = None, *, at: float | None = None) -> Written:
        wanted = tasks if tasks is not None else tuple(task.index for task in self.spec.tasks)
        self._put(keys.spec(self.job), self.spec)
        order = Order(SCHEMA, self.allocation, self.job, wanted, time.time() if at is None else at, "researcher@here")
        self._put(keys.order(self.job, self.allocation), order)
        self.queue = wanted
        return self

    def allocated(self, native_id: str = "native-1") -> Written:
        event = Event(SCHEMA, "allocated", time.time(), "researcher@here", {"native_ids": {self.allocation: native_id}})
        self._put(keys.event(self.job, event.at, self.allocation), event)
        return self

    def viewed(self, agent: ProcessId = NOBODY, **changes: Any) -> Written:
        self.seq += 1
        view = AgentView(
            SCHEMA,
            self.seq,
            time.time(),
            self.job,
            self.allocation,
            agent,
            State.RUNNING,
            show_indices(self.queue),
            self.running,
            ended=self.lines,
        )
        self._put(keys.agent_view(self.job, self.allocation), replace(view, **changes))
        return self

    def claimed(
        self, task: int, attempt: int = 1, *, child: ProcessId = NOBODY, supervisor: ProcessId = NOBODY
    ) -> Written:
        claim = Claim(SCHEMA, self.job, task, attempt, self.allocation, time.time(), supervisor, child, ("true",), "/")
        self._put(keys.of_attempt(self.job, task, attempt, keys.CLAIM), claim)
        self.queue = tuple(index for index in self.queue if index != task)
        self.running = (*self.running, RunningTask(task, attempt, State.RUNNING))
        return self

    def beat(self, task: int, attempt: int = 1, **changes: Any) -> Written:
        """A heartbeat; the keywords are the record's own fields."""
        now = time.time()
        beat = Heartbeat(
            SCHEMA,
            1,
            now,
            self.job,
            task,
            attempt,
            self.allocation,
            State.RUNNING,
            "run",
            now - 60,
            "another-host",
            10.0,
            child=NOBODY,
            supervisor=NOBODY,
            log=LogReading(100, "a last line", now),
            progress=Progress(step=5, total=10, rate=0.5, left=10.0),
        )
        self._put(keys.of_attempt(self.job, task, attempt, keys.HEARTBEAT), replace(beat, **changes))
        return self

    def exited(self, task: int, outcome: Outcome = Outcome.SUCCEEDED, attempt: int = 1, **changes: Any) -> Written:
        now = time.time()
        reason = "" if outcome is Outcome.SUCCEEDED else f"it {outcome.value}"
        record = ExitRecord(
            SCHEMA, self.job, task, attempt, self.allocation, outcome, reason, now - 60, now, "another-host"
        )
        self._put(keys.of_attempt(self.job, task, attempt, keys.EXIT), replace(record, **changes))
        return self

    def noted(self, task: int, outcome: Outcome = Outcome.SUCCEEDED, attempt: int = 1, **changes: Any) -> Written:
        """The agent's line on an ended attempt."""
        now = time.time()
        line = EndedTask(
            task, attempt, outcome, "" if outcome is Outcome.SUCCEEDED else f"it {outcome.value}", now - 60, now
        )
        key = keys.ended_segment(self.job, self.allocation)
        self.store.append(key, codec.dump(replace(line, **changes)))
        self.lines += 1
        self.queue = tuple(index for index in self.queue if index != task)
        self.running = tuple(one for one in self.running if one.task != task)
        return self

    def released(self, lost: str | None = None) -> Written:
        self._put(
            keys.released(self.job, self.allocation),
            Released(SCHEMA, self.allocation, time.time(), "agent" if lost is None else "reconcile", lost),
        )
        return self

    def stop_asked(self, tasks: tuple[int, ...] | None = None, at: float | None = None) -> Written:
        stop = StopRequest(SCHEMA, time.time() if at is None else at, "researcher@here", "cancelled", tasks)
        self._put(keys.stop(self.job, stop.at, "s1"), stop)
        return self

    def next_order(self, allocation: str, tasks: tuple[int, ...]) -> Written:
        """A later allocation for some tasks, as `retry` makes it."""
        return Written(self.store, self.spec, allocation).submitted(tasks, at=time.time() + 1)


def large(store: Path, job: str, tasks: int, running: int) -> Written:
    """A job of many tasks: most have ended, some run, the last few wait."""
    made = Written(FolderStore(store), spec(job, store, tasks)).submitted().allocated()
    now = time.time()
    waiting = running
    ended = tasks - running - waiting
    lines = b"".join(
        codec.dump(
            EndedTask(i, 1, Outcome.FAILED if i % 997 == 5 else Outcome.SUCCEEDED, "", now - 900, now - i % 60, 0.01)
        )
        for i in range(ended)
    )
    made.store.append(keys.ended_segment(job, made.allocation), lines)
    for index in range(ended):
        os.makedirs(made.store.path(keys.attempt(job, index, 1)), exist_ok=True)
    for index in range(ended, ended + running):
        made.claimed(index).beat(index)
    made.queue = tuple(range(ended + running, tasks))
    made.lines = ended
    return made.viewed()
