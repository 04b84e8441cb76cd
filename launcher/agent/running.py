"""What runs in an allocation: supervisors are started, started again, told of orphans; what nobody watches is ended."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Optional

from launcher.agent.attempts import Attempt, Identity, Reaped
from launcher.agent.report import say
from launcher.errors import LaunchError
from launcher.model.outcome import Outcome, State
from launcher.model.records import ExitRecord, RunningTask
from launcher.store import keys, records
from launcher.store.folder import FolderStore
from launcher.store.leftovers import Ending, left_of

FORK_PAUSE_S = 5.0
ENDING_POLL_S = 0.2


@dataclass(frozen=True)
class Over:
    """An attempt that has ended, with or without an exit record. Times in seconds since 1970, cost in dollars."""

    task: int
    attempt: int
    outcome: Outcome
    reason: str
    started_at: Optional[float]
    cost: Optional[float] = None


class Running:
    """The attempts of one allocation, by task."""

    def __init__(self, store: FolderStore, job: str, allocation: str) -> None:
        self._store = store
        self._job = job
        self._allocation = allocation
        self._attempts: dict[int, Attempt] = {}
        self._endings: dict[int, Ending] = {}
        self._terminating = False
        self.changed = False

    def __bool__(self) -> bool:
        return bool(self._attempts)

    def start(self, task: int, gpus: tuple[str, ...], share: int) -> None:
        """Claim the task's next attempt and start its supervisor. Raises StoreError and OSError."""
        known = records.attempts(self._store, self._job, task)
        number = known[-1] + 1 if known else 1
        while not self._store.claim(keys.attempt(self._job, task, number)):
            number += 1
        identity = Identity(self._store.root, self._job, self._allocation, task, number, gpus)
        attempt = Attempt(identity, share, time.time())
        attempt.start()
        self._attempts[task] = attempt
        self.changed = True

    def reap(self, now: float) -> list[Over]:
        """All children and orphans that have ended; returns the attempts that are over with a verdict."""
        over: list[Over] = []
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return over
            if pid == 0:
                return over
            reaped = Reaped(pid, status, usage.ru_maxrss * 1024 or None, usage.ru_utime + usage.ru_stime)
            attempt = next((a for a in self._attempts.values() if a.supervisor == pid), None)
            if attempt is None:
                self._orphan_ended(reaped)
            else:
                over += self._supervisor_ended(attempt, reaped, now)

    def restart(self, now: float) -> None:
        """Supervisors whose back-off is over."""
        for attempt in self._attempts.values():
            if attempt.restart_at is not None and attempt.restart_at <= now:
                try:
                    attempt.start()
                    if self._terminating:
                        self._terminate(attempt)
                except OSError as error:  # the child runs on; nothing is lost by trying for long
                    say(f"a supervisor of {attempt.identity.attempt_id} cannot be started: {error}")
                    attempt.restart_at = now + FORK_PAUSE_S

    def end_leftovers(self, now: float) -> list[Over]:
        """One step in ending what the given-up supervisors ran; returns attempts of which nothing is left."""
        over: list[Over] = []
        for task, ending in list(self._endings.items()):
            if ending.step(now):
                del self._endings[task]
                attempt = self._attempts.pop(task)
                reason = (
                    f"its supervisor ended {attempt.deaths} times without a verdict, at last by {attempt.last_death}"
                )
                over.append(Over(task, attempt.identity.attempt, Outcome.UNKNOWN, reason, attempt.started_at))
                self.changed = True
        return over

    def asked_to_stop(self, tasks: Optional[frozenset[int]]) -> None:
        """A stop request names these tasks; their supervisors read it themselves."""
        for task, attempt in self._attempts.items():
            if tasks is None or task in tasks:
                attempt.state = State.STOPPING
                self.changed = True

    def terminate(self) -> None:
        """SIGTERM to the supervisors, which stop their attempts in order."""
        self._terminating = True
        for attempt in self._attempts.values():
            attempt.state = State.STOPPING
            self._terminate(attempt)
        self.changed = True

    def _terminate(self, attempt: Attempt) -> None:
        if attempt.supervisor is not None:
            try:
                os.kill(attempt.supervisor, signal.SIGTERM)  # not yet reaped, so the pid is still its own
            except ProcessLookupError:
                pass

    def tasks(self) -> list[RunningTask]:
        """For the view, in the order of the tasks; one whose child is known is running."""
        for attempt in self._attempts.values():
            if attempt.state is State.STARTING and attempt.claim(self._store) is not None:
                attempt.state = State.RUNNING
        return [
            RunningTask(task, attempt.identity.attempt, attempt.state, attempt.identity.gpus)
            for task, attempt in sorted(self._attempts.items())
        ]

    def next(self, now: float) -> Optional[float]:
        """When there is something to do that no signal announces."""
        times = [a.restart_at for a in self._attempts.values() if a.restart_at is not None]
        if self._endings:
            times.append(now + ENDING_POLL_S)
        return min(times, default=None)

    def _orphan_ended(self, reaped: Reaped) -> None:
        for attempt in self._attempts.values():
            claim = attempt.claim(self._store)
            if claim is not None and claim.child.pid == reaped.pid:
                attempt.orphan_ended(reaped)

    def _supervisor_ended(self, attempt: Attempt, reaped: Reaped, now: float) -> list[Over]:
        self.changed = True
        found = self._verdict(attempt) if reaped.clean else None
        if found is not None:
            attempt.gone()
            del self._attempts[found.task]
            return [Over(found.task, found.attempt, found.outcome, found.reason, found.started_at, found.cost)]
        identity = attempt.identity
        if attempt.died(reaped, now):
            say(f"the supervisor of {identity.attempt_id} ended without a verdict ({reaped}); starting it again")
        else:
            say(
                f"the supervisor of {identity.attempt_id} ended {attempt.deaths} times without a verdict; ending its child"
            )
            attempt.state = State.STOPPING
            claim = attempt.claim(self._store)
            self._endings[identity.task] = Ending(lambda: left_of(identity.store, identity.attempt_id, claim), now)
        return []

    def _verdict(self, attempt: Attempt) -> Optional[ExitRecord]:
        who = attempt.identity
        try:
            return records.read_exit(self._store, who.job, who.task, who.attempt)
        except LaunchError as error:
            say(f"the exit record of {who.attempt_id} cannot be read: {error}")
            return None
