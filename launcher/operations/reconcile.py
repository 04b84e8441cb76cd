"""Find allocations that are gone without a word, write down that they are, and say what was lost with them.

Nothing is ended here, and nothing is concluded from silence: only the place's own word, or the kernel's, counts.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from typing import Any, Optional

from launcher.errors import LaunchError, NotFound
from launcher.executors import registry
from launcher.executors.contract import Executor
from launcher.model import codec
from launcher.model.job import JobSpec
from launcher.model.outcome import Outcome, State
from launcher.model.records import SCHEMA, Event, Order, ProcessId, Released
from launcher.model.view import JobView, TaskView
from launcher.operations import stores
from launcher.operations.gather import gather
from launcher.operations.signature import who
from launcher.store import keys, leftovers, processes, records
from launcher.store.folder import FolderStore

SETTLED_S = 60.0
"""How old an order without an allocation must be before its submit is taken to have died: a live one needs seconds."""

NEVER_STARTED = "had not started"
ATTEMPT_LOST = "its attempt was lost"
FINISHED = "finished on its own"
GOES_ON = "goes on"


@dataclass(frozen=True)
class LostTask:
    """A task of a lost allocation. `what` is one of the four constants above; `checkpoint` is where it can resume."""

    task: int
    attempt: int
    what: str
    outcome: Optional[Outcome]
    checkpoint: Optional[str] = None


@dataclass(frozen=True)
class LostAllocation:
    """`new`: it was found out by this call."""

    allocation: str
    native_id: Optional[str]
    evidence: str
    tasks: tuple[LostTask, ...]
    new: bool


@dataclass(frozen=True)
class Leftover:
    """Processes of an attempt whose agent is gone. With a supervisor it ends in order and writes its verdict."""

    task: int
    attempt: int
    processes: tuple[ProcessId, ...]
    supervisor: Optional[ProcessId]


@dataclass(frozen=True)
class Unclear:
    """An allocation of which nothing was concluded, and why."""

    allocation: str
    native_id: Optional[str]
    why: str


@dataclass(frozen=True)
class Reconciled:
    """`adopted`: allocations whose id had been lost, with the id that was found."""

    job: str
    lost: tuple[LostAllocation, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    adopted: tuple[tuple[str, str], ...] = ()
    unclear: tuple[Unclear, ...] = ()


def reconcile(store: FolderStore, job: str) -> Reconciled:
    """One job; again and again with the same result. Raises NotFound, BadRecord, StoreError."""
    spec = records.read_spec(store, job)
    if spec is None:
        raise NotFound(f"job {job} is not in {store.root}", hint="launch status")
    open_ones = _open(store, job)
    adopted, unclear = _without_id(store, spec, open_ones) if open_ones else ([], {})
    native = stores.native_ids(store, job)
    view = gather(store, job)
    lost: list[LostAllocation] = []
    for name, why in _unseen(spec, view, open_ones).items():
        unclear.setdefault(name, why)
    for place in view.allocations:
        if place.lost is None:
            continue
        unclear.pop(place.allocation, None)
        new = place.allocation in open_ones
        if new and not _release(store, job, place.allocation, place.lost):
            continue  # it has released by itself meanwhile
        tasks = tuple(_lost_task(view.tasks, index, place.allocation) for index in place.tasks)
        kept = tuple(task for task in tasks if task is not None)
        lost.append(LostAllocation(place.allocation, native.get(place.allocation), place.lost, kept, new))
    words = tuple(Unclear(name, native.get(name), why) for name, why in sorted(unclear.items()))
    left = tuple(left_running(store, view)) if any(place.lost for place in view.allocations) else ()
    return Reconciled(job, tuple(lost), left, tuple(adopted), words)


def _unseen(spec: JobSpec, view: JobView, open_ones: set[str]) -> dict[str, str]:
    """Allocations whose place cannot tell, and whose agent does not speak either."""
    mute = {
        place.native_id: place.allocation
        for place in view.allocations
        if place.allocation in open_ones and place.lost is None and place.native_id is not None
        if place.silent is not None or place.state in (State.UNKNOWN, State.SUBMITTED, State.PENDING)
    }
    if not mute:
        return {}
    try:
        looks = registry.create(spec.place).observe(list(mute))
    except LaunchError as error:
        return dict.fromkeys(mute.values(), f"{spec.place.executor} could not be asked: {error}")
    found = {}
    for native_id, name in mute.items():
        look = looks.get(native_id)
        if look is None or look.state is State.UNKNOWN:
            found[name] = look.why if look is not None and look.why else "its place did not say"
    return found


def left_running(store: FolderStore, view: JobView) -> list[Leftover]:
    """What runs on this host for attempts whose allocation is gone."""
    gone = {place.allocation for place in view.allocations if place.lost is not None}
    watchers = leftovers.supervisors(store.root, view.job)
    found = []
    for task in view.tasks:
        if (
            task.attempt
            and (task.allocation in gone or task.allocation is None)
            and not _verdict(store, view.job, task)
        ):
            left = of_attempt(store, view.job, task.index, task.attempt)
            supervisor = watchers.get((task.index, task.attempt))
            if left or supervisor:
                found.append(Leftover(task.index, task.attempt, tuple(left), supervisor))
    return found


def of_attempt(store: FolderStore, job: str, task: int, attempt: int) -> list[ProcessId]:
    """The child's processes that still run on this host, however far they have got from it."""
    claim = records.read_claim(store, job, task, attempt)
    return leftovers.left_of(store.root, f"{job}/{task}/{attempt}", claim)


def _verdict(store: FolderStore, job: str, task: TaskView) -> bool:
    return store.exists(keys.of_attempt(job, task.index, task.attempt, keys.EXIT))


def _open(store: FolderStore, job: str) -> set[str]:
    return {name for name in records.allocations(store, job) if not store.exists(keys.released(job, name))}


def _without_id(store: FolderStore, spec: JobSpec, open_ones: set[str]) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Allocations whose submit died before it wrote their id: looked for by their tag, and adopted."""
    native = stores.native_ids(store, spec.job)
    missing = sorted(name for name in open_ones if name not in native)
    if not missing:
        return [], {}
    try:
        executor = registry.create(spec.place)
        found = {granted.allocation: granted.native_id for granted in executor.find(spec.job)}
    except LaunchError as error:
        return [], dict.fromkeys(missing, f"{spec.place.executor} could not be asked: {error}")
    adopted = [(name, found[name]) for name in missing if name in found]
    if adopted:
        event(store, spec.job, "allocated", {"native_ids": dict(adopted), "found_by": "reconcile"})
    unclear: dict[str, str] = {}
    for name in missing:
        if name not in found:
            order = records.read_order(store, spec.job, name)
            evidence = _never_began(executor, order)
            if evidence is None or store.exists(keys.agent_view(spec.job, name)):
                unclear[name] = "no id was noted for it, and nothing that carries its tag was found"
            elif _release(store, spec.job, name, evidence):
                open_ones.discard(name)
    return adopted, unclear


def _never_began(executor: Executor, order: Optional[Order]) -> Optional[str]:
    """Proof that what an order asked for does not exist: a machine shows all of its processes, another place may be late."""
    here = processes.host()
    if order is None or not executor.capabilities.shares_machine or order.by.rpartition("@")[2] != here:
        return None
    if time.time() - order.at < SETTLED_S:
        return None
    return f"it was never started: no process of {here} carries its tag"


def _release(store: FolderStore, job: str, allocation: str, evidence: str) -> bool:
    """False where it has a release already."""
    released = Released(SCHEMA, allocation, time.time(), who(), lost=evidence)
    if not store.create(keys.released(job, allocation), codec.dump(released)):
        return False
    event(store, job, "reconciled", {"allocation": allocation, "lost": evidence})
    return True


def event(store: FolderStore, job: str, kind: str, data: dict[str, Any]) -> None:
    """Note that something happened. Raises StoreError."""
    now = time.time()
    store.create(keys.event(job, now, secrets.token_hex(4)), codec.dump(Event(SCHEMA, kind, now, who(), data)))


def _lost_task(tasks: tuple[TaskView, ...], index: int, allocation: str) -> Optional[LostTask]:
    """None for a task that another allocation has taken up since, or that this one had ended in order."""
    task = next((one for one in tasks if one.index == index), None)
    if task is None or task.allocation not in (None, allocation):
        return None
    found = LostTask(index, task.attempt, ATTEMPT_LOST, task.outcome, task.checkpoint)
    if task.state is not State.ENDED:
        return replace(found, what=GOES_ON)
    if task.outcome in (Outcome.NODE_LOST, Outcome.UNKNOWN):
        return found if task.attempt else replace(found, what=NEVER_STARTED)
    return replace(found, what=FINISHED)
