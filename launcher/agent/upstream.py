"""Whether the jobs that must succeed first have: read from their records, in the same store.

Upstream jobs may run anywhere; their records are all that is known of them. What is not known is waited for, and said.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from launcher.errors import LaunchError
from launcher.model.outcome import Outcome
from launcher.model.records import EndedTask
from launcher.store import keys, records
from launcher.store.folder import FolderStore


@dataclass(frozen=True)
class Answer:
    """`waiting_for`: why not yet; `failed`: why never. Neither: all have succeeded."""

    waiting_for: Optional[str] = None
    failed: Optional[str] = None


class Upstream:
    """Looks at the jobs' records, at most as often as they change."""

    def __init__(self, store: FolderStore, jobs: Sequence[str]) -> None:
        self._store = store
        self._waiting = list(jobs)
        self._seen: tuple[str, object, Answer] = ("", None, Answer())

    def look(self) -> Answer:
        """The first job that has not succeeded decides. An unreadable store is a reason to wait."""
        while self._waiting:
            job = self._waiting[0]
            try:
                signature = self._signature(job)
                if self._seen[:2] != (job, signature):
                    self._seen = (job, signature, look_at(self._store, job))
            except (LaunchError, OSError) as error:
                return Answer(waiting_for=f"job {job}, whose records cannot be read: {error}")
            answer = self._seen[2]
            if answer.waiting_for or answer.failed:
                return answer
            self._waiting.pop(0)
        return Answer()

    def _signature(self, job: str) -> object:
        """Changes when a record of one of its allocations does; views of running agents are left out."""
        folder = self._store.path(keys.agents(job))
        found = []
        for name in self._store.names(keys.agents(job)):
            if name.endswith((".order.json", ".ended.jsonl", ".released.json")):
                status = os.stat(folder / name)
                found.append((name, status.st_size, status.st_mtime_ns))
        return found


def look_at(store: FolderStore, job: str) -> Answer:
    """One upstream job. Raises BadRecord and StoreError."""
    spec = records.read_spec(store, job)
    if spec is None:
        return Answer(waiting_for=f"job {job}, of which this store knows nothing")
    allocations = records.allocations(store, job)
    ended: dict[int, EndedTask] = {}
    for allocation in allocations:
        for task in records.read_ended(store, job, allocation):
            before = ended.get(task.task)
            if before is None or (task.attempt, task.ended_at) >= (before.attempt, before.ended_at):
                ended[task.task] = task
    outcomes = {task.index: _outcome(ended.get(task.index)) for task in spec.tasks}
    released = [records.read_released(store, job, allocation) is not None for allocation in allocations]
    if not released or not all(released):
        return _while_it_lasts(job, outcomes, bool(released))
    for index, outcome in outcomes.items():
        if outcome is None:
            outcomes[index] = _recorded(store, job, index)
    failed = {index: outcome for index, outcome in outcomes.items() if outcome is not Outcome.SUCCEEDED}
    if not failed:
        return Answer()
    first, outcome = next(iter(failed.items()))
    how = outcome.value if outcome is not None else "did not run"
    more = f" ({len(failed)} of {len(outcomes)} did not succeed)" if len(outcomes) > 1 else ""
    return Answer(failed=f"upstream {job} failed: task {first} {how}{more}")


def _while_it_lasts(job: str, outcomes: dict[int, Optional[Outcome]], ordered: bool) -> Answer:
    succeeded = sum(outcome is Outcome.SUCCEEDED for outcome in outcomes.values())
    if succeeded == len(outcomes):
        return Answer()
    if not ordered:
        return Answer(waiting_for=f"job {job}, which was not submitted yet")
    others = sum(outcome is not None and outcome is not Outcome.SUCCEEDED for outcome in outcomes.values())
    text = f"job {job}: {succeeded} of {len(outcomes)} tasks have succeeded"
    return Answer(waiting_for=f"{text}, {others} have not" if others else text)


def _outcome(task: Optional[EndedTask]) -> Optional[Outcome]:
    return None if task is None else task.outcome


def _recorded(store: FolderStore, job: str, task: int) -> Optional[Outcome]:
    """The verdict of a task's newest attempt, where its agent did not live to note it."""
    attempts = records.attempts(store, job, task)
    if not attempts:
        return None
    exit_record = records.read_exit(store, job, task, attempts[-1])
    return Outcome.UNKNOWN if exit_record is None else exit_record.outcome
