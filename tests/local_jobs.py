"""Jobs on this machine as a submit would start them, from the order on: a store, the kit, an order, a detached agent."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from launcher.archives import kit
from launcher.executors.contract import Granted
from launcher.executors.local import LocalExecutor, Options
from launcher.model import codec
from launcher.model.job import Code, JobSpec, Place, TaskSpec, pack
from launcher.model.outcome import Outcome
from launcher.model.phase import Resources, Watch, Watches
from launcher.model.records import SCHEMA, AgentView, Claim, EndedTask, Event, ExitRecord, Order, Released
from launcher.operations.plan import parts
from launcher.operations.signature import who
from launcher.store import keys, processes, records
from launcher.store.folder import FolderStore
from tests.waiting import until

QUIET = Watches(*[Watch.OFF] * 7)
DEADLINE_S = 40.0


@dataclass
class Job:
    """One job of this machine."""

    store: FolderStore
    spec: JobSpec
    executor: LocalExecutor
    granted: tuple[Granted, ...] = ()

    @property
    def name(self) -> str:
        return self.spec.job

    def submit(self, tasks: Optional[Sequence[int]] = None) -> Granted:
        """Order and start one allocation, for all tasks or some."""
        allocation = f"a{len(records.allocations(self.store, self.name))}"
        chosen = self.spec.tasks if tasks is None else tuple(t for t in self.spec.tasks if t.index in tasks)
        spec = replace(self.spec, tasks=chosen)
        asked = parts(spec, pack(spec), self.executor, first=int(allocation[1:]))
        order = Order(SCHEMA, allocation, self.name, asked[0].tasks, time.time(), who())
        self.store.create(keys.order(self.name, allocation), codec.dump(order))
        granted = self.executor.submit(self.executor.render(spec, pack(spec), asked))
        now = time.time()
        data = {"native_ids": {one.allocation: one.native_id for one in granted}}
        event = Event(SCHEMA, "allocated", now, who(), data)
        self.store.create(keys.event(self.name, now, allocation), codec.dump(event))
        self.granted += granted
        return granted[0]

    def agent(self, allocation: str = "a0") -> int:
        """The pid of an agent, as soon as it has said who it is."""
        return self.view(allocation).agent.pid

    def view(self, allocation: str = "a0") -> AgentView:
        return until(lambda: records.read_view(self.store, self.name, allocation), DEADLINE_S, self.story)

    def claim(self, task: int = 0, attempt: int = 1) -> Claim:
        """Who runs an attempt, as soon as its child is there."""
        return until(lambda: records.read_claim(self.store, self.name, task, attempt), DEADLINE_S, self.story)

    def released(self, allocation: str = "a0") -> Released:
        return until(lambda: records.read_released(self.store, self.name, allocation), DEADLINE_S, self.story)

    def ended(self, allocation: str = "a0") -> dict[int, EndedTask]:
        """The lines of an allocation that has released, by task: at most one for each."""
        self.released(allocation)
        lines = records.read_ended(self.store, self.name, allocation)
        assert len({line.task for line in lines}) == len(lines), lines
        return {line.task: line for line in lines}

    def outcomes(self, allocation: str = "a0") -> dict[int, Outcome]:
        return {task: line.outcome for task, line in self.ended(allocation).items()}

    def exit(self, task: int = 0, attempt: int = 1) -> ExitRecord:
        found = until(lambda: records.read_exit(self.store, self.name, task, attempt), DEADLINE_S, self.story)
        assert isinstance(found, ExitRecord)
        return found

    def log(self, task: int = 0, attempt: int = 1) -> str:
        content = self.store.read(keys.of_attempt(self.name, task, attempt, keys.LOG))
        return (content or b"").decode()

    def agent_log(self, allocation: str = "a0") -> str:
        return (self.store.read(keys.agent_log(self.name, allocation)) or b"").decode()

    def story(self) -> str:
        """What there is to know when a wait was in vain."""
        lines = []
        for allocation in records.allocations(self.store, self.name):
            lines += [self.agent_log(allocation), repr(records.read_view(self.store, self.name, allocation))]
        lines += sorted(str(path) for path in self.store.path(keys.job(self.name)).rglob("*"))
        return "a record of the job; " + "\n".join(lines)


def job(
    root: Path,
    command: Sequence[str],
    *,
    tasks: int = 1,
    name: Optional[str] = None,
    options: Options | None = None,
    **changes: Any,
) -> Job:
    """A job that runs `command` (a program of sh after `sh`), its store in `root`; not submitted yet."""
    # A name of its own: processes are found by it, and other tests may run at the same time.
    name = name or f"try-{uuid.uuid4().hex[:12]}"
    store_root, code = root / "store", root / "code"
    code.mkdir(parents=True, exist_ok=True)
    built = kit.build()
    store = FolderStore(store_root)
    store.create(keys.kit(built.hash), built.content)
    chosen = options or Options(cpus=4)
    declared = {k: v for k, v in vars(chosen).items() if v is not None}
    place = Place("local", "local", {"python": sys.executable, **declared}, str(store_root), str(root), None)
    spec = JobSpec(
        schema=SCHEMA,
        job=name,
        phase=name.rpartition("-")[0],
        name=name,
        submitted_at=time.time(),
        submitted_by=who(),
        version="0",
        place=place,
        code=Code("here", "0" * 64, str(code)),
        kit=built.hash,
        command=tuple(command),
        shell=False,
        params={},
        tasks=tuple(TaskSpec(index) for index in range(tasks)),
        resources=(Resources(),),
        watch=QUIET,
        grace=1.0,
        beat=0.5,
    )
    spec = replace(spec, **changes)
    store.create(keys.spec(name), codec.dump(spec))
    return Job(store, spec, LocalExecutor(chosen, patience=15.0))


def sh(text: str) -> tuple[str, ...]:
    """A command of a phase that runs a line of shell; braces are written once."""
    return ("sh", "-c", text.replace("{", "{{").replace("}", "}}"))


def gone(pid: int) -> bool:
    """Whether no such process runs, a zombie aside."""
    found = processes.stat(pid)
    return found is None or found.ended


def of_job(name: str) -> list[int]:
    """Every process that belongs to a job: agent, supervisors, children."""
    found = []
    for pid in processes.all_pids():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        ours = any(word.startswith(f"LAUNCH_ATTEMPT_ID={name}/".encode()) for word in processes.environment(pid))
        if pid != os.getpid() and (ours or (b"--job" in words and name.encode() in words)):
            found.append(pid)
    return found
