"""Fold everything that is known of a job into one view. Pure, total, and blind to the order in which records were found."""

from __future__ import annotations

from typing import Optional

from launcher.model.freshness import Clock, age, silent_after
from launcher.model.known import Known, KnownAllocation, waiting_words
from launcher.model.outcome import Outcome, State
from launcher.model.readings import number
from launcher.model.records import EndedTask, RunningTask
from launcher.model.standing import KnownTask, stand
from launcher.model.view import AllocationView, JobView, TaskView

ACTIVE = (State.RUNNING, State.STARTING, State.STOPPING)


def fold(known: Known, now: Clock) -> JobView:
    """What a reader knows of the job at `now`. Never raises."""
    tasks = tuple(_tasks(known, now))
    state = job_state(tasks)
    spec = known.spec
    return JobView(
        job=spec.job,
        phase=spec.phase,
        name=spec.name,
        profile=spec.place.profile,
        executor=spec.place.executor,
        submitted_at=number(spec.submitted_at) or 0.0,
        state=state,
        outcome=job_outcome(tasks) if state is State.ENDED else None,
        tasks=tasks,
        allocations=tuple(_allocation(place, now) for place in known.allocations),
        cost=_cost(known, tasks),
        problems=known.problems,
        smoke=spec.smoke,
    )


def _tasks(known: Known, now: Clock) -> list[TaskView]:
    orders = newest_orders(known.allocations)
    ended: dict[int, EndedTask] = {}
    ended_in: dict[int, str] = {}
    noted: dict[int, bool] = {}
    running: dict[int, RunningTask] = {}
    by_name = {place.allocation: place for place in known.allocations}
    for place in known.allocations:
        known_to_view = place.view.ended if place.view is not None else 0
        for position, verdict in enumerate(place.ended):
            if verdict.task not in ended or ended[verdict.task].attempt <= verdict.attempt:
                ended[verdict.task], ended_in[verdict.task] = verdict, place.allocation
                noted[verdict.task] = position < known_to_view
        for one in place.view.running if place.view is not None else ():
            if one.task not in running or running[one.task].attempt < one.attempt:
                running[one.task] = one
    failed, unfinished = _upstream(known)
    retried = frozenset(o for o in Outcome if getattr(known.spec.retry, o.name.lower(), 0))
    views = []
    for spec in known.spec.tasks:
        index = spec.index
        order = orders.get(index)
        attempt = known.attempts.get(index)
        line = ended.get(index)
        at = by_name.get(attempt.allocation or "") if attempt is not None else None
        views.append(
            stand(
                KnownTask(
                    index=index,
                    order=order,
                    attempt=attempt,
                    attempt_allocation=at or order,
                    ended=line,
                    ended_in=ended_in.get(index),
                    noted=line is not None and noted[index] and (attempt is None or attempt.number <= line.attempt),
                    retried=retried,
                    running=running.get(index),
                    stop=_stop(known, index, order) if line is None else None,
                    upstream_failed=failed,
                    upstream_open=unfinished,
                ),
                now,
            )
        )
    return views


def newest_orders(allocations: tuple[KnownAllocation, ...]) -> dict[int, KnownAllocation]:
    """Task to the allocation that was last ordered for it."""
    found: dict[int, KnownAllocation] = {}
    for place in sorted(allocations, key=lambda p: (p.ordered_at, p.allocation)):
        found.update(dict.fromkeys(place.tasks, place))
    return found


def _stop(known: Known, index: int, order: Optional[KnownAllocation]) -> Optional[str]:
    """The reason of a stop request for this task; one that is older than the newest order was meant for an earlier one."""
    for stop in known.stops:
        if (stop.tasks is None or index in stop.tasks) and (order is None or stop.at >= order.ordered_at):
            return stop.reason or "asked to stop"
    return None


def _upstream(known: Known) -> tuple[Optional[str], Optional[str]]:
    """In words: the upstream job that failed, and the one that is waited for."""
    failed = unfinished = None
    for job, outcome in known.upstream.items():
        if outcome is None:
            unfinished = unfinished or f"waiting for {job}"
        elif outcome is not Outcome.SUCCEEDED:
            failed = failed or f"upstream {job} {outcome.value}, so this is not started"
    return failed, unfinished


def job_state(tasks: tuple[TaskView, ...]) -> State:
    """Ended when all are; running as soon as one has begun and until the last has ended."""
    states = {task.state for task in tasks}
    if not states:
        return State.UNKNOWN
    if states == {State.ENDED}:
        return State.ENDED
    for state in ACTIVE:
        if state in states:
            return state
    if State.UNKNOWN in states:
        return State.UNKNOWN
    if State.ENDED in states:
        return State.RUNNING
    return State.SUBMITTED if State.SUBMITTED in states else State.PENDING


def job_outcome(tasks: tuple[TaskView, ...]) -> Outcome:
    """Succeeded when all did; otherwise what all others have in common, or failed."""
    outcomes = {task.outcome or Outcome.UNKNOWN for task in tasks}
    others = outcomes - {Outcome.SUCCEEDED}
    if not others:
        return Outcome.SUCCEEDED
    if len(others) == 1:
        return others.pop()
    return Outcome.FAILED


def _cost(known: Known, tasks: tuple[TaskView, ...]) -> Optional[float]:
    """Dollars of all attempts, those that were followed by another included; None where no cost is known."""
    costs: dict[tuple[int, int], float] = {}
    for place in known.allocations:
        for line in place.ended:
            cost = number(line.cost)
            if cost is not None:
                costs[line.task, line.attempt] = cost
    for task in tasks:
        if task.cost is not None:  # an agent's line holds the cost of all attempts that it made of the task
            costs.setdefault((task.index, task.attempt), task.cost)
    return sum(costs.values()) if costs else None


def _allocation(place: KnownAllocation, now: Clock) -> AllocationView:
    silent = None
    if place.sighting is not None and place.view is not None and not place.gone:
        seconds = age(place.sighting, now)
        silent = seconds if seconds >= silent_after(place.view.beat) else None
    return AllocationView(
        allocation=place.allocation,
        native_id=place.native_id,
        state=_allocation_state(place),
        tasks=place.tasks,
        why=waiting_words(place.view.waiting_for) if place.view is not None else place.observed_why,
        silent=silent,
        lost=place.lost,
    )


def _allocation_state(place: KnownAllocation) -> State:
    if place.gone:
        return State.ENDED
    if place.view is not None:
        return place.view.state
    if place.observed is not State.UNKNOWN:
        return place.observed
    if place.unreadable:
        return State.UNKNOWN
    return State.SUBMITTED if place.native_id is not None else State.PENDING
