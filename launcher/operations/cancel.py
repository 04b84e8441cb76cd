"""Stop a job, or some of its tasks, in order: what would be lost first, then the request, then what nobody watches."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Optional

from launcher.errors import NotFound, StoreError
from launcher.executors import registry
from launcher.model import codec
from launcher.model.names import show_indices
from launcher.model.outcome import State
from launcher.model.records import SCHEMA, Progress, StopRequest
from launcher.model.view import JobView, TaskView
from launcher.operations import stores
from launcher.operations.gather import gather
from launcher.operations.reconcile import event, left_running, of_attempt, reconcile
from launcher.operations.signature import who
from launcher.store import keys, leftovers, records
from launcher.store.folder import FolderStore
from launcher.store.leftovers import Ending

LOOK_S = 0.2
MARGIN_S = 30.0  # beyond the two graces of a stop in order: the commit of outputs, a busy machine


@dataclass(frozen=True)
class Loss:
    """What stopping one running task throws away: everything since `checkpoint`. Seconds, dollars; None: not known."""

    task: int
    attempt: int
    state: State
    seconds: Optional[float]
    checkpoint: Optional[str]
    progress: Optional[Progress]
    cost: Optional[float]


@dataclass(frozen=True)
class Preview:
    """`running` would lose work, `waiting` would never start, `ended` are over already and stay as they are."""

    job: str
    running: tuple[Loss, ...]
    waiting: tuple[int, ...]
    ended: tuple[int, ...]
    cost: Optional[float]

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to stop."""
        return not self.running and not self.waiting


@dataclass(frozen=True)
class Cancelled:
    """What was asked for, and what came of it. `killed` are processes that nobody watched any more and that were ended
    here; `open` the tasks that have not ended yet, which is usual where nobody waited."""

    job: str
    preview: Preview
    requested: bool
    killed: int
    open: tuple[int, ...]


def preview(store: FolderStore, job: str, tasks: Optional[Collection[int]] = None) -> Preview:
    """What `cancel` would stop. Raises NotFound, BadRecord, StoreError."""
    return _preview(gather(store, job), tasks, time.time())


def cancel(
    store: FolderStore,
    job: str,
    tasks: Optional[Collection[int]] = None,
    *,
    reason: str = "cancelled",
    wait_s: Optional[float] = None,
) -> Cancelled:
    """Ask for a stop; with `wait_s` stay until the tasks have ended, at most so many seconds (`long_enough` tells how many).

    Where an agent is gone for certain, what it left running is ended here and now. An agent that does not stop a whole job
    within `wait_s` is killed, with everything that belongs to it. Raises NotFound, BadRecord, StoreError.
    """
    view = gather(store, job)
    found = _preview(view, tasks, time.time())
    requested = not found.nothing
    if requested:
        _request(store, job, None if tasks is None else tuple(sorted(set(tasks))), reason)
    killed = _end_unwatched(store, view, tasks)
    if any(place.lost is not None for place in view.allocations):
        reconcile(store, job)
    if wait_s is None:
        return Cancelled(job, found, requested, killed, _open(gather(store, job), tasks))
    until = time.monotonic() + wait_s
    while _unfinished(store, view, tasks) and time.monotonic() < until:
        time.sleep(LOOK_S)
        view = gather(store, job)
        killed += _end_unwatched(store, view, tasks)
    if tasks is None and _unfinished(store, view, tasks):
        killed += _force(store, job)
    return Cancelled(job, found, requested, killed, _open(gather(store, job), tasks))


def long_enough(store: FolderStore, job: str) -> float:
    """Seconds in which a stop in order is over, unless something is wrong. Raises NotFound, BadRecord, StoreError."""
    spec = records.read_spec(store, job)
    if spec is None:
        raise NotFound(f"job {job} is not in {store.root}", hint="launch status")
    return 2 * spec.grace + MARGIN_S


def _preview(view: JobView, tasks: Optional[Collection[int]], now: float) -> Preview:
    chosen = _chosen(view, tasks)
    running = tuple(_loss(task, now) for task in chosen if task.state not in _WAITING and task.state is not State.ENDED)
    costs = [loss.cost for loss in running if loss.cost is not None]
    return Preview(
        job=view.job,
        running=running,
        waiting=tuple(task.index for task in chosen if task.state in _WAITING),
        ended=tuple(task.index for task in chosen if task.state is State.ENDED),
        cost=sum(costs) if costs else None,
    )


_WAITING = (State.PENDING, State.SUBMITTED)


def _chosen(view: JobView, tasks: Optional[Collection[int]]) -> list[TaskView]:
    if tasks is None:
        return list(view.tasks)
    absent = set(tasks) - {task.index for task in view.tasks}
    if absent:
        raise NotFound(f"job {view.job} has no task {show_indices(absent)}", hint=f"launch status {view.job}")
    return [task for task in view.tasks if task.index in tasks]


def _loss(task: TaskView, now: float) -> Loss:
    seconds = max(0.0, now - task.started_at) if task.started_at is not None else None
    return Loss(task.index, task.attempt, task.state, seconds, task.checkpoint, task.progress, task.cost)


def _request(store: FolderStore, job: str, tasks: Optional[tuple[int, ...]], reason: str) -> None:
    now = time.time()
    request = StopRequest(SCHEMA, now, who(), reason, tasks)
    if not store.create(keys.stop(job, now, secrets.token_hex(4)), codec.dump(request)):
        raise StoreError(f"a stop request of this very name exists in {store.root}", transient=True)
    event(store, job, "cancelled", {"tasks": None if tasks is None else list(tasks), "reason": reason})


def _open(view: JobView, tasks: Optional[Collection[int]]) -> tuple[int, ...]:
    return tuple(task.index for task in _chosen(view, tasks) if task.state is not State.ENDED)


def _unfinished(store: FolderStore, view: JobView, tasks: Optional[Collection[int]]) -> bool:
    """Tasks that have not ended; for a whole job, agents that have not yet left; supervisors at their last lines."""
    if _open(view, tasks):
        return True
    if tasks is None and any(place.state is not State.ENDED for place in view.allocations if place.native_id):
        return True
    return any(tasks is None or task in tasks for task, _ in leftovers.supervisors(store.root, view.job))


def _end_unwatched(store: FolderStore, view: JobView, tasks: Optional[Collection[int]]) -> int:
    """End what lives of attempts whose agent and supervisor are both gone; the number of processes."""
    endings: list[Ending] = []
    seen = 0
    for left in left_running(store, view):
        if left.supervisor is None and (tasks is None or left.task in tasks):
            seen += len(left.processes)
            find = functools.partial(of_attempt, store, view.job, left.task, left.attempt)
            endings.append(Ending(find, time.monotonic()))
    while endings:
        endings = [ending for ending in endings if not ending.step(time.monotonic())]
        if endings:
            time.sleep(LOOK_S)
    return seen


def _force(store: FolderStore, job: str) -> int:
    """The place ends the agents that did not stop in time; then what they have left is ended."""
    spec = records.read_spec(store, job)
    if spec is None:
        return 0
    executor = registry.create(spec.place)
    executor.cancel(list(stores.native_ids(store, job).values()))
    reconcile(store, job)
    return _end_unwatched(store, gather(store, job), None)
