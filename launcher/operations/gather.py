"""Read what is known of one job, in few files, and fold it.

The order of reading is part of the meaning. Who looks at the end of an allocation first and at the verdict last can
never miss a verdict that was written before that end: place, released, agent's view, its ended lines, processes, exit.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Optional, TypeVar

from launcher.errors import LaunchError, NotFound
from launcher.executors import registry
from launcher.executors.contract import Observation
from launcher.model.fold import fold, newest_orders
from launcher.model.freshness import Clock, sight
from launcher.model.job import JobSpec
from launcher.model.known import Known, KnownAllocation, KnownAttempt
from launcher.model.names import parse_array
from launcher.model.outcome import Outcome, State
from launcher.model.records import AgentView, Claim, EndedTask, ExitRecord, Heartbeat, Order, Released
from launcher.model.view import JobView, TaskView
from launcher.operations.reading import Reader
from launcher.operations.sightings import Sightings
from launcher.store import keys, processes, records
from launcher.store.folder import FolderStore

DEPTH = 16  # jobs that wait for one another in a row
Own = TypeVar("Own", Claim, Heartbeat, ExitRecord)
_ORDER, _RELEASED = ".order.json", ".released.json"


def clock() -> Clock:
    """The reader's time."""
    return Clock(time.monotonic(), time.time(), processes.host())


def gather(store: FolderStore, job: str, observe: bool = True, detail: int = 0) -> JobView:
    """The job as it is known now. `observe`: ask the place too; `detail`: up to so many ended tasks are read with their
    exit records, where there are more the agents' lines are enough.

    Raises NotFound for a job that the store does not have, BadRecord where its spec is garbage, StoreError.
    """
    return _gather(store, job, observe, detail, 0)


def _gather(store: FolderStore, job: str, observe: bool, detail: int, depth: int) -> JobView:
    spec = records.read_spec(store, job)
    if spec is None:
        raise NotFound(f"job {job} is not in {store.root}", hint="launch status")
    reader = Reader(store, job)
    sightings = Sightings(store, job)
    now = clock()
    places = _allocations(reader, spec, sightings, observe, now)
    attempts = {
        index: attempt
        for index in _to_read(reader, spec, places, detail)
        if (attempt := _attempt(reader, index, sightings, now)) is not None
    }
    settled = {line.task for place in places for line in place.ended}
    upstream = {}
    if spec.after and any(t.index not in attempts and t.index not in settled for t in spec.tasks):
        upstream = {name: _outcome(reader, name, depth) for name in spec.after}
    known = Known(
        spec=spec,
        allocations=places,
        attempts=attempts,
        stops=() if len(settled) == len(spec.tasks) else reader.stops(),
        upstream=upstream,
        problems=reader.problems,
    )
    sightings.save()
    view = fold(known, now)
    return replace(view, tasks=tuple(_with_evidence(store, job, task) for task in view.tasks))


def _with_evidence(store: FolderStore, job: str, task: TaskView) -> TaskView:
    """Where the evidence lies, as a path: named by the exit record, else looked for where a stall is told of."""
    named = task.evidence
    if named is None and task.attempt and any(one.watch == "stall" for one in task.findings):
        found = store.names(keys.of_attempt(job, task.index, task.attempt, keys.EVIDENCE))
        named = keys.EVIDENCE if any(name[:1].isdigit() for name in found) else None
    if named is None:
        return task
    return replace(task, evidence=str(store.root / keys.of_attempt(job, task.index, task.attempt, named)))


def _outcome(reader: Reader, job: str, depth: int) -> Optional[Outcome]:
    if depth >= DEPTH:
        return None
    try:
        return _gather(reader.store, job, False, 0, depth + 1).outcome
    except LaunchError as error:
        reader.problem(f"upstream job: {error}")
        return None


def _allocations(
    reader: Reader, spec: JobSpec, sightings: Sightings, observe: bool, now: Clock
) -> tuple[KnownAllocation, ...]:
    names = frozenset(reader.names(keys.agents(spec.job)))
    ordered = sorted(name[: -len(_ORDER)] for name in names if name.endswith(_ORDER))
    open_ones = [name for name in ordered if f"{name}{_RELEASED}" not in names]
    native = _native_ids(reader) if open_ones else {}
    looks = _observe(reader, spec, [native[n] for n in open_ones if n in native]) if observe else {}
    return tuple(_allocation(reader, name, native.get(name), looks, sightings, now) for name in ordered)


def _native_ids(reader: Reader) -> dict[str, str]:
    found: dict[str, str] = {}
    for event in reader.events():
        granted = event.data.get("native_ids")
        if isinstance(granted, dict):
            found.update({str(a): str(n) for a, n in granted.items()})
    return found


def _observe(reader: Reader, spec: JobSpec, native_ids: list[str]) -> dict[str, Observation]:
    """One query; an outage of the place is a problem in words and says nothing about the job."""
    if not native_ids:
        return {}
    try:
        return registry.create(spec.place).observe(native_ids)
    except LaunchError as error:
        reader.problem(f"{spec.place.executor} could not be asked: {error}")
        return {}


def _allocation(
    reader: Reader,
    name: str,
    native_id: Optional[str],
    looks: dict[str, Observation],
    sightings: Sightings,
    now: Clock,
) -> KnownAllocation:
    job, unreadable = reader.job, list[str]()
    released = reader.record(Released, keys.released(job, name), unreadable)
    view = reader.record(AgentView, keys.agent_view(job, name), unreadable) if released is None else None
    alive = processes.alive(view.agent) if view is not None else None
    ended = reader.lines(keys.ended_segment(job, name))
    order = reader.record(Order, keys.order(job, name), unreadable)
    sighting = None
    if view is not None:
        sighting = sight(sightings.get(f"agent/{name}"), view.seq, view.at, view.beat, view.agent.host, now)
        sightings.put(f"agent/{name}", sighting)
    look = looks.get(native_id or "")
    return KnownAllocation(
        allocation=name,
        tasks=order.tasks if order is not None else tuple(line.task for line in ended),
        ordered_at=order.at if order is not None else 0.0,
        native_id=native_id,
        view=view,
        sighting=sighting,
        queue=_queue(reader, name, view),
        ended=ended,
        released=released,
        agent=alive,
        observed=look.state if look is not None else State.UNKNOWN,
        observed_why=look.why if look is not None else None,
        evidence=look.evidence if look is not None else None,
        unreadable=tuple(unreadable),
    )


def _queue(reader: Reader, name: str, view: Optional[AgentView]) -> frozenset[int]:
    if view is None or not view.queue:
        return frozenset()
    try:
        return frozenset(parse_array(view.queue).indices)
    except ValueError as error:
        reader.problem(f"the queue of allocation {name} cannot be read: {error}")
        return frozenset()


def _to_read(reader: Reader, spec: JobSpec, places: tuple[KnownAllocation, ...], detail: int) -> Iterable[int]:
    """The tasks whose attempts must be opened: those that no agent's line settles, where they have begun; and the others
    too where they are few."""
    lines: dict[int, tuple[EndedTask, str]] = {}
    busy: dict[int, int] = {}
    for place in places:
        for line in place.ended:
            if line.task not in lines or lines[line.task][0].attempt <= line.attempt:
                lines[line.task] = (line, place.allocation)
        for running in place.view.running if place.view is not None else ():
            busy[running.task] = max(busy.get(running.task, 0), running.attempt)
    orders = newest_orders(places)
    if len(spec.tasks) <= detail:
        unsettled = [task.index for task in spec.tasks]
    else:
        unsettled = [t.index for t in spec.tasks if not _settled(t.index, lines.get(t.index), busy, orders)]
    if not unsettled:
        return ()
    begun = frozenset(reader.numbers(keys.tasks(spec.job)))
    return [index for index in unsettled if index in begun]


def _settled(
    index: int, line: Optional[tuple[EndedTask, str]], busy: dict[int, int], orders: dict[int, KnownAllocation]
) -> bool:
    if line is None or busy.get(index, 0) > line[0].attempt:
        return False
    order = orders.get(index)
    if line[0].outcome is Outcome.SUCCEEDED or order is None:
        return True
    return order.allocation == line[1] and index not in order.queue


def _attempt(reader: Reader, index: int, sightings: Sightings, now: Clock) -> Optional[KnownAttempt]:
    """The newest attempt of a task; the exit record is read last."""
    numbers = reader.numbers(keys.task(reader.job, index))
    if not numbers:
        return None
    number, unreadable = numbers[-1], list[str]()
    of = keys.attempt(reader.job, index, number)
    beat = _own(reader, reader.record(Heartbeat, f"{of}/{keys.HEARTBEAT}", unreadable), index, number)
    claim = None
    if beat is None or beat.child is None:
        claim = _own(reader, reader.record(Claim, f"{of}/{keys.CLAIM}", unreadable), index, number)
    supervisor = (beat.supervisor if beat is not None else None) or (claim.supervisor if claim is not None else None)
    child = (beat.child if beat is not None else None) or (claim.child if claim is not None else None)
    lives = tuple(None if process is None else processes.alive(process) for process in (supervisor, child))
    ended = _own(reader, reader.record(ExitRecord, f"{of}/{keys.EXIT}", unreadable), index, number)
    sighting = None
    if beat is not None and ended is None:
        key = f"task/{index}/{number}"
        sighting = sight(sightings.get(key), beat.seq, beat.at, beat.beat, beat.host, now)
        sightings.put(key, sighting)
    return KnownAttempt(number, claim, beat, ended, sighting, lives[0], lives[1], tuple(unreadable))


def _own(reader: Reader, record: Optional[Own], index: int, number: int) -> Optional[Own]:
    """A record that says of itself that it belongs elsewhere is nobody's testimony here."""
    if record is None or (record.job, record.task, record.attempt) == (reader.job, index, number):
        return record
    reader.problem(
        f"{reader.store.root / keys.attempt(reader.job, index, number)}: the {type(record).__name__} in it is of"
        f" attempt {record.attempt} of task {record.task} of {record.job}"
    )
    return None
