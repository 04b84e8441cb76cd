"""What an allocation is still to run, read once when its agent starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Optional

from launcher.errors import LaunchError
from launcher.model.outcome import Outcome
from launcher.model.records import EndedTask, Order
from launcher.store import processes, records
from launcher.store.folder import FolderStore


def to_do(store: FolderStore, order: Order, ended_here: Iterable[EndedTask]) -> tuple[Order, list[str]]:
    """The order less the tasks that have ended since, or still run; and in words which those were that still run.

    A task has ended since where this allocation noted it (its agent was started a second time), where another one noted
    it after the order, or where its newest attempt succeeded. Raises BadRecord and StoreError.
    """
    done = {task.task for task in ended_here}
    for allocation in records.allocations(store, order.job):
        if allocation != order.allocation:
            ended = records.read_ended(store, order.job, allocation)
            done.update(task.task for task in ended if task.ended_at >= order.at)
    kept: list[int] = []
    words: list[str] = []
    started = set(records.tasks_with_attempts(store, order.job))
    for task in order.tasks:
        if task in done:
            continue
        if task in started:
            attempt = records.attempts(store, order.job, task)[-1:]
            if attempt and _succeeded(store, order.job, task, attempt[0]):
                continue
            still = _still_working(store, order.job, task, attempt[0]) if attempt else None
            if still:
                words.append(still)
                continue
        kept.append(task)
    return replace(order, tasks=tuple(kept)), words


def _succeeded(store: FolderStore, job: str, task: int, attempt: int) -> bool:
    try:
        found = records.read_exit(store, job, task, attempt)
    except LaunchError:
        return False  # garbage says nothing
    return found is not None and found.outcome is Outcome.SUCCEEDED


def _still_working(store: FolderStore, job: str, task: int, attempt: int) -> Optional[str]:
    """In words, if an earlier attempt's supervisor or child is seen to run on this host."""
    try:
        if records.read_exit(store, job, task, attempt) is not None:
            return None
        claim = records.read_claim(store, job, task, attempt)
    except LaunchError:
        claim = None
    if claim is not None and any(processes.alive(process) for process in (claim.supervisor, claim.child)):
        return f"task {task}: attempt {attempt} still runs (process {claim.child.pid}); it is left to its supervisor"
    return None
