"""`status --json` of one job with 10,000 tasks, as a whole command, beside `cat` of the files that it must read."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from benchmarks.measure import HEADER, LAUNCH, command, in_turn, project
from launcher.model import codec
from launcher.model.job import Code, JobSpec, Place, TaskSpec
from launcher.model.outcome import Outcome, State
from launcher.model.phase import Resources
from launcher.model.records import AgentView, EndedTask, Heartbeat, LogReading, Order, Progress, RunningTask
from launcher.store import keys
from launcher.store.folder import FolderStore
from launcher.store.processes import process_id

TASKS = 10_000
ENDED = 9_000
RUNNING = 16
JOB = "sweep-k3f9"


def main() -> str:
    """The bar: within 1 s. 9,000 tasks have ended, 16 run, the rest wait."""
    with project({"sweep": "command: ['true']\n"}) as (top, env):
        store = FolderStore(top / ".launch" / "store")
        build(store, top)
        files = [
            str(store.path(key)) for key in (keys.spec(JOB), keys.ended_segment(JOB, "a1"), keys.agent_view(JOB, "a1"))
        ]
        status = (*LAUNCH, "status", JOB, "--json")
        _checked(status, env, top)
        timings = in_turn(
            {"launch status --json": command(status, env, top), "cat": command(("cat", *files))},
            rounds=10,
        )
        table = in_turn({"launch status": command((*LAUNCH, "status", JOB), env, top)}, rounds=5)
    rows = "\n".join(timing.row() for timing in (*timings.values(), *table.values()))
    return f"{HEADER}\n{rows}\n\nbar: 1 s"


def build(store: FolderStore, project_folder: Path) -> None:
    """The records of a job in the middle of its work, as agent and supervisors write them; this process plays the agent."""
    now = time.time()
    agent = process_id(os.getpid())
    assert agent is not None
    tasks = tuple(TaskSpec(index, {"seed": index}) for index in range(TASKS))
    place = Place("local", "local", {}, str(store.root), str(project_folder), price=0.89)
    spec = JobSpec(
        1, JOB, "sweep", "sweep", now - 3600, "me@here", "0.1.0", place, Code("here", "0" * 64, str(project_folder)), "0" * 64,
        ("true",), False, {"seed": 0}, tasks, (Resources(),),
    )  # fmt: skip
    store.create(keys.spec(JOB), codec.dump(spec))
    store.create(keys.order(JOB, "a1"), codec.dump(Order(1, "a1", JOB, tuple(range(TASKS)), now - 3600, "me@here")))
    ended = (
        EndedTask(n, 1, Outcome.SUCCEEDED, "exit code 0", now - 3600 + n / 10, now - 3590 + n / 10, 0.01)
        for n in range(ENDED)
    )
    store.append(keys.ended_segment(JOB, "a1"), b"".join(codec.dump(task) for task in ended))
    running = tuple(RunningTask(n, 1, State.RUNNING) for n in range(ENDED, ENDED + RUNNING))
    queue = f"{ENDED + RUNNING}-{TASKS - 1}"
    store.replace(
        keys.agent_view(JOB, "a1"),
        codec.dump(AgentView(1, 9, now, JOB, "a1", agent, State.RUNNING, queue, running, "1 cpu", ENDED)),
    )
    for task in running:
        beat = Heartbeat(
            1, 40, now, JOB, task.task, 1, "a1", State.RUNNING, "run", now - 60, agent.host, 10.0,
            log=LogReading(1000, "step 10 loss=0.1", now), progress=Progress(10, 100, "train", None, 1.0, 90.0, now),
        )  # fmt: skip
        store.replace(keys.of_attempt(JOB, task.task, 1, keys.HEARTBEAT), codec.dump(beat))


def _checked(status: tuple[str, ...], env: dict[str, str], top: Path) -> None:
    """A fast wrong answer would be no measurement."""
    shown = json.loads(subprocess.run(status, env=env, cwd=top, stdout=subprocess.PIPE, check=False).stdout)
    job = shown["jobs"][0] if "jobs" in shown else shown
    ended = sum(1 for task in job["tasks"] if task["outcome"] == "succeeded")
    if (len(job["tasks"]), ended) != (TASKS, ENDED):
        raise SystemExit(f"status shows {len(job['tasks'])} tasks, {ended} of them succeeded")
