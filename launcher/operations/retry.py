"""Run tasks of a job again, in a new allocation: same spec, new attempts, each from its newest complete checkpoint."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from launcher.errors import LaunchError, NotFound, Refused, SubmitError
from launcher.executors import registry
from launcher.executors.contract import Executor, Part, Submission
from launcher.model import codec
from launcher.model.job import JobSpec, Packing, pack
from launcher.model.names import show_indices, show_tasks
from launcher.model.outcome import Outcome, State
from launcher.model.records import SCHEMA, Order, ProcessId, Released
from launcher.model.view import JobView, TaskView
from launcher.operations.gather import gather
from launcher.operations.parts import parts
from launcher.operations.reconcile import event, of_attempt, reconcile
from launcher.operations.signature import who
from launcher.store import keys, leftovers, processes, records
from launcher.store.folder import FolderStore


@dataclass(frozen=True)
class Again:
    """One task: how its last attempt ended, and the checkpoint that is known of (the node looks for newer ones)."""

    task: int
    attempt: int
    outcome: Optional[Outcome]
    checkpoint: Optional[str]


@dataclass(frozen=True)
class Retried:
    """What was submitted. `native_ids` by allocation."""

    job: str
    tasks: tuple[Again, ...]
    native_ids: dict[str, str]


def candidates(view: JobView) -> tuple[int, ...]:
    """Tasks that ended in any way but success."""
    return tuple(t.index for t in view.tasks if t.state is State.ENDED and t.outcome is not Outcome.SUCCEEDED)


def retry(store: FolderStore, job: str, tasks: Optional[Collection[int]] = None) -> Retried:
    """Run named tasks again; None: all that ended and did not succeed.

    Raises Refused for a task that succeeded, that has not ended, or whose earlier processes are not proved gone; then
    nothing was submitted. Raises NotFound, BadRecord, StoreError, SubmitError.
    """
    spec = records.read_spec(store, job)
    if spec is None:
        raise NotFound(f"job {job} is not in {store.root}", hint="launch status")
    reconcile(store, job)
    # The names first: who comes between this and the order has taken the name, and one of us two is refused.
    first = _next_number(records.allocations(store, job))
    view = gather(store, job, detail=len(spec.tasks))
    chosen = _chosen(view, tasks)
    _refuse(store, view, chosen)
    by_index = {task.index: task for task in spec.tasks}
    part_spec = replace(spec, tasks=tuple(by_index[task.index] for task in chosen))
    executor = registry.create(spec.place)
    native_ids = _send(store, part_spec, executor, first)
    again = tuple(Again(task.index, task.attempt, task.outcome, task.checkpoint) for task in chosen)
    return Retried(job, again, native_ids)


def _next_number(allocations: Sequence[str]) -> int:
    numbers = [int(name[1:]) for name in allocations if name[:1] == "a" and name[1:].isdecimal()]
    return max(numbers, default=-1) + 1


def _chosen(view: JobView, tasks: Optional[Collection[int]]) -> list[TaskView]:
    wanted = set(candidates(view) if tasks is None else tasks)
    absent = wanted - {task.index for task in view.tasks}
    if absent:
        raise NotFound(f"job {view.job} has no task {show_indices(absent)}", hint=f"launch status {view.job}")
    if not wanted:
        open_ones = [task.index for task in view.tasks if task.state is not State.ENDED]
        why = (
            f"{show_tasks(open_ones)} {'has' if len(open_ones) == 1 else 'have'} not ended"
            if open_ones
            else "all of its tasks succeeded"
        )
        raise Refused(f"there is nothing to retry in {view.job}", came_back=why)
    return [task for task in view.tasks if task.index in wanted]


def _refuse(store: FolderStore, view: JobView, chosen: Sequence[TaskView]) -> None:
    """Raises Refused, naming every reason."""
    reasons: list[str] = []
    hint = None
    watchers = leftovers.supervisors(store.root, view.job)
    for task in chosen:
        if task.state is not State.ENDED:
            word = f"task {task.index} has not ended: it is {task.state.value}"
            reasons.append(f"{word}, {task.why}" if task.why else word)
            hint = hint or f"launch status {view.job}, or launch cancel {view.job}:{task.index}"
        elif task.outcome is Outcome.SUCCEEDED:
            reasons.append(f"task {task.index} succeeded")
        else:
            still = _not_gone(store, view.job, task, watchers.get((task.index, task.attempt)))
            if still:
                reasons.append(f"task {task.index}: {still}")
                hint = f"launch cancel {view.job}:{task.index} ends what is left of it"
    if reasons:
        raise Refused(f"retry of {view.job}", came_back="; ".join(reasons), left="nothing was submitted", hint=hint)


def _not_gone(store: FolderStore, job: str, task: TaskView, watcher: Optional[ProcessId]) -> Optional[str]:
    """Why the last attempt may still be at work: two attempts at once would write to the same results."""
    if not task.attempt or store.exists(keys.of_attempt(job, task.index, task.attempt, keys.EXIT)):
        return None
    if watcher is not None:
        return f"attempt {task.attempt} is watched by its supervisor, process {watcher.pid}"
    claim = records.read_claim(store, job, task.index, task.attempt)
    if claim is not None and processes.alive(claim.child) is None:
        where = f"process {claim.child.pid} of {claim.child.host}"
        return f"attempt {task.attempt} may still run: {where} cannot be seen from {processes.host()}"
    left = of_attempt(store, job, task.index, task.attempt)
    if left:
        return f"attempt {task.attempt} still runs: process {', '.join(str(process.pid) for process in left)}"
    return None


def _send(store: FolderStore, spec: JobSpec, executor: Executor, first: int) -> dict[str, str]:
    """Orders, then the submission. `spec` holds the tasks of the retry only."""
    packing: Packing = pack(spec)
    asked = parts(spec, packing, executor, first=first)
    submission: Submission = executor.render(spec, packing, asked)
    by = who()
    stops = tuple(store.names(keys.stops(spec.job)))
    for part in asked:
        order = Order(SCHEMA, part.allocation, spec.job, part.tasks, time.time(), by, stops)
        if not store.create(keys.order(spec.job, part.allocation), codec.dump(order)):
            _give_up(store, spec.job, asked[: asked.index(part)], "another retry came first")
            raise Refused(
                f"somebody else is retrying {spec.job}", left="nothing was submitted", hint=f"launch status {spec.job}"
            )
    names = [part.allocation for part in asked]
    event(store, spec.job, "retried", {"tasks": [task.index for task in spec.tasks], "allocations": names})
    try:
        granted = executor.submit(submission)
    except SubmitError as error:
        event(store, spec.job, "submit failed", {"error": str(error)})
        if error.left is None:
            _give_up(store, spec.job, asked, f"never submitted: {error.tried}")
            error.left = "nothing runs"
        raise
    native_ids = {one.allocation: one.native_id for one in granted}
    event(store, spec.job, "allocated", {"native_ids": native_ids})
    return native_ids


def _give_up(store: FolderStore, job: str, asked: Sequence[Part], why: str) -> None:
    """Nobody waits for an allocation that is not going to be."""
    for part in asked:
        try:
            released = Released(SCHEMA, part.allocation, time.time(), who(), lost=why)
            store.create(keys.released(job, part.allocation), codec.dump(released))
        except LaunchError:
            continue  # reconcile finds it by its age
