"""Where one task stands, from what is known of it. Pure.

Who is believed, first to last: the newest attempt's exit record; the agent's line on it; processes that are seen to
live; evidence that the allocation is gone; the heartbeat; the agent's view; the order. Silence proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from launcher.model.freshness import Clock, Sighting, age, silent_after
from launcher.model.known import KnownAllocation, KnownAttempt, waiting_words
from launcher.model.outcome import Outcome, State
from launcher.model.readings import fullest, number
from launcher.model.records import EndedTask, ExitRecord, Progress, RunningTask
from launcher.model.view import TaskView


@dataclass(frozen=True)
class KnownTask:
    """What bears on one task. `order` is its newest allocation; `noted`: its agent's view is newer than the line `ended`;
    `retried` the outcomes after which the phase has a task tried again; `stop` the reason of a stop request that is meant for it;
    `upstream_failed` and `upstream_open` are in words."""

    index: int
    order: Optional[KnownAllocation] = None
    attempt: Optional[KnownAttempt] = None
    attempt_allocation: Optional[KnownAllocation] = None
    ended: Optional[EndedTask] = None
    ended_in: Optional[str] = None
    noted: bool = False
    retried: frozenset[Outcome] = frozenset()
    running: Optional[RunningTask] = None
    stop: Optional[str] = None
    upstream_failed: Optional[str] = None
    upstream_open: Optional[str] = None


def stand(task: KnownTask, now: Clock) -> TaskView:
    """The task at its newest attempt."""
    attempt, ended = task.attempt, task.ended
    newest = max(
        attempt.number if attempt is not None else 0,
        ended.attempt if ended is not None else 0,
        task.running.attempt if task.running is not None else 0,
    )
    if attempt is not None and attempt.number == newest and attempt.exit is not None:
        view = _by_exit(task, attempt, attempt.exit)
    elif ended is not None and ended.attempt == newest:
        view = _by_line(task.index, ended, task.ended_in)
    elif newest > 0:
        view = _unfinished(task, attempt if attempt is not None and attempt.number == newest else None, newest, now)
    else:
        return _waiting(task, None, now)
    return _waiting(task, view, now) if _again(task, view, now) else view


def _again(task: KnownTask, view: TaskView, now: Clock) -> bool:
    """Whether an attempt that ended is going to be followed by another: its agent has put it back into the queue, or has
    not decided yet and the phase allows it; or a newer order names it. A success is final."""
    order = task.order
    if view.state is not State.ENDED or view.outcome in (None, Outcome.SUCCEEDED) or order is None or order.gone:
        return False
    if view.allocation not in (None, order.allocation):
        return order.view is None or task.index in order.queue
    if order.view is None:
        return False
    if task.noted:
        return task.index in order.queue
    heard = order.view.state is not State.ENDED and _age(order.sighting, _view_beat(order), now)[1] is None
    return heard and view.outcome in task.retried


def _by_exit(task: KnownTask, attempt: KnownAttempt, record: ExitRecord) -> TaskView:
    beat = attempt.heartbeat
    progress = beat.progress if beat is not None else None
    if record.step is not None or record.total is not None:
        stage = progress.stage if progress is not None else None
        progress = Progress(step=number(record.step), total=number(record.total), stage=stage)
    return TaskView(
        index=task.index,
        state=State.ENDED,
        outcome=record.outcome,
        attempt=attempt.number,
        why=record.reason or None,
        started_at=number(record.started_at),
        ended_at=number(record.ended_at),
        progress=progress,
        last_line=beat.log.last_line if beat is not None and beat.log is not None else None,
        log_size=record.log_size,
        metrics=record.metrics,
        findings=record.findings,
        cost=number(record.cost),
        checkpoint=record.checkpoint,
        evidence=record.evidence,
        kept=record.kept,
        allocation=record.allocation,
        host=record.host,
    )


def _by_line(index: int, line: EndedTask, allocation: Optional[str]) -> TaskView:
    return TaskView(
        index=index,
        state=State.ENDED,
        outcome=line.outcome,
        attempt=line.attempt,
        why=line.reason or None,
        started_at=number(line.started_at),
        ended_at=number(line.ended_at),
        cost=number(line.cost),
        allocation=allocation,
    )


def _unfinished(task: KnownTask, attempt: Optional[KnownAttempt], newest: int, now: Clock) -> TaskView:
    """An attempt that began and has no verdict."""
    place = task.attempt_allocation
    if attempt is not None and "exit.json" in attempt.unreadable:
        return _lost(task, attempt, newest, Outcome.UNKNOWN, "its exit record cannot be read")
    if place is not None and place.gone and not (attempt is not None and (attempt.lives or _moving(attempt, now))):
        if place.lost is not None:
            return _lost(task, attempt, newest, Outcome.NODE_LOST, place.lost)
        return _lost(task, attempt, newest, Outcome.UNKNOWN, "its allocation was released without a verdict on it")
    return _live(task, attempt, newest, now)


def _moving(attempt: KnownAttempt, now: Clock) -> bool:
    """Whether this reader has seen the heartbeat move a short while ago, and nothing says that its supervisor is dead."""
    sighting, beat = attempt.sighting, attempt.heartbeat
    if sighting is None or beat is None or not sighting.moved or attempt.supervisor is False:
        return False
    return age(sighting, now) < silent_after(_beat(beat.beat))


def _lost(task: KnownTask, attempt: Optional[KnownAttempt], newest: int, outcome: Outcome, why: str) -> TaskView:
    beat = attempt.heartbeat if attempt is not None else None
    claim = attempt.claim if attempt is not None else None
    return TaskView(
        index=task.index,
        state=State.ENDED,
        outcome=outcome,
        attempt=newest,
        why=why,
        started_at=number(beat.started_at if beat is not None else claim.at if claim is not None else None),
        progress=beat.progress if beat is not None else None,
        last_line=beat.log.last_line if beat is not None and beat.log is not None else None,
        log_size=beat.log.size if beat is not None and beat.log is not None else None,
        metrics=beat.metrics if beat is not None else {},
        findings=beat.findings if beat is not None else (),
        cost=number(beat.cost) if beat is not None else None,
        checkpoint=beat.checkpoint if beat is not None else None,
        allocation=task.attempt_allocation.allocation if task.attempt_allocation is not None else None,
        host=beat.host if beat is not None else None,
    )


def _live(task: KnownTask, attempt: Optional[KnownAttempt], newest: int, now: Clock) -> TaskView:
    place, running = task.attempt_allocation, task.running
    beat = attempt.heartbeat if attempt is not None else None
    if beat is None:
        unreadable = attempt is not None and bool(attempt.unreadable)
        state = running.state if running is not None else State.UNKNOWN if unreadable else State.STARTING
        seen, silent = _age(place.sighting if place is not None else None, _view_beat(place), now)
        return TaskView(
            index=task.index,
            state=_begun(state),
            attempt=newest,
            why=f"{', '.join(attempt.unreadable)} cannot be read" if attempt is not None and unreadable else None,
            seen=seen,
            silent=silent,
            allocation=place.allocation if place is not None else None,
        )
    seen, silent = _age(attempt.sighting if attempt is not None else None, beat.beat, now)
    return TaskView(
        index=task.index,
        state=_begun(beat.state),
        attempt=newest,
        why=_why_live(task, attempt, silent),
        started_at=number(beat.started_at),
        stage=beat.stage,
        progress=beat.progress,
        last_line=beat.log.last_line if beat.log is not None else None,
        log_size=beat.log.size if beat.log is not None else None,
        metrics=beat.metrics,
        gpus=beat.gpus,
        disk_used=fullest(beat.disks),
        findings=beat.findings,
        cost=number(beat.cost),
        checkpoint=beat.checkpoint,
        silent=silent,
        seen=seen,
        heartbeat=beat,
        allocation=beat.allocation,
        host=beat.host,
    )


def _begun(state: State) -> State:
    """A heartbeat may be older than the claim, and never says that an attempt has ended: that is the exit record's."""
    if state is State.ENDED:
        return State.STOPPING
    return State.STARTING if state in (State.PENDING, State.SUBMITTED) else state


def _why_live(task: KnownTask, attempt: Optional[KnownAttempt], silent: Optional[float]) -> Optional[str]:
    beat = attempt.heartbeat if attempt is not None else None
    if attempt is None or beat is None:
        return None
    if task.attempt_allocation is not None and task.attempt_allocation.gone and attempt.lives:
        if attempt.supervisor is True:
            return "its agent is gone; its supervisor goes on and will write the verdict"
        return "agent and supervisor are gone; its process goes on unwatched"
    if attempt.supervisor is False and attempt.child is True:
        return "its supervisor died; its process goes on"
    if attempt.supervisor is False and attempt.child is False:
        return "its processes are gone; the verdict is not written yet"
    if silent is not None and attempt.sighting is not None and attempt.sighting.before > 0:
        return "by the node's clock: it was not looked at from this machine before"
    return task.stop or beat.stop_reason


def _waiting(task: KnownTask, before: Optional[TaskView], now: Clock) -> TaskView:
    """No attempt has begun, or the one of `before` is to be followed by another."""
    place = task.order
    newest = before.attempt if before is not None else 0
    if place is None:
        return TaskView(task.index, State.PENDING, attempt=newest, why=task.stop or "is being submitted")
    if place.gone:
        outcome, why = _never(task, place)
        return TaskView(task.index, State.ENDED, outcome, attempt=newest, why=why, allocation=place.allocation)
    seen, silent = _age(place.sighting, _view_beat(place), now)
    return TaskView(
        index=task.index,
        state=_waiting_state(place),
        attempt=newest,
        why=_why_waiting(task, before, place),
        silent=silent,
        seen=seen,
        allocation=place.allocation,
    )


def _never(task: KnownTask, place: KnownAllocation) -> tuple[Outcome, str]:
    """The end of a task that never began, in an allocation that is gone."""
    if task.stop is not None:
        return Outcome.CANCELLED, f"{task.stop} before it began"
    if task.upstream_failed is not None:
        return Outcome.START_FAILED, task.upstream_failed
    if place.lost is not None:
        return Outcome.NODE_LOST, f"it had not begun: {place.lost}"
    return Outcome.UNKNOWN, "its allocation was released before it began"


def _waiting_state(place: KnownAllocation) -> State:
    if place.view is not None:
        return State.SUBMITTED
    if place.unreadable:
        return State.UNKNOWN
    return State.SUBMITTED if place.native_id is not None else State.PENDING


def _why_waiting(task: KnownTask, before: Optional[TaskView], place: KnownAllocation) -> Optional[str]:
    again = None
    if before is not None and before.outcome is not None:
        decided = task.index in place.queue or before.allocation != place.allocation
        what = "to be tried again" if decided else "its agent decides whether to try again"
        again = f"attempt {before.attempt} {before.outcome.value}; {what}"
    said = task.stop or task.upstream_failed or task.upstream_open
    if said is None and place.view is not None:
        said = waiting_words(place.view.waiting_for)
    if said is None and place.view is None:
        if place.unreadable:
            said = f"{', '.join(place.unreadable)} cannot be read"
        elif place.native_id is None:
            said = "is being submitted"
        else:
            said = place.observed_why or "its agent has not reported yet"
    return ", ".join(part for part in (again, said) if part) or None


def _view_beat(place: Optional[KnownAllocation]) -> float:
    return place.view.beat if place is not None and place.view is not None else 10.0


def _beat(seconds: float) -> float:
    return seconds if 0 < seconds < 3600 else 10.0


def _age(sighting: Optional[Sighting], beat: float, now: Clock) -> tuple[Optional[float], Optional[float]]:
    """The age of the news, and the same where it is long enough to be called silence."""
    if sighting is None:
        return None, None
    seconds = age(sighting, now)
    return seconds, seconds if seconds >= silent_after(_beat(beat)) else None
