"""The agent's loop: one thread, woken by children that end, by signals, and by the nearest of its timers."""

from __future__ import annotations

import itertools
import os
import select
import time
from dataclasses import dataclass, field
from typing import Optional

from launcher.agent.machine import Busy, Ledger
from launcher.agent.queue import Queue, Start, need_of
from launcher.agent.report import Report, say
from launcher.agent.requests import Requests
from launcher.agent.running import Over, Running
from launcher.agent.upstream import Upstream
from launcher.errors import LaunchError
from launcher.model.outcome import Outcome, State
from launcher.model.records import EndedTask

STOP_POLL_S = 1.0
LEDGER_POLL_S = 0.25  # only while something waits for the machine
BUSY_PAUSE_S = 0.02
UPSTREAM_POLL_S = 2.0
ASKED_AT_ONCE = 64  # shares, so that a long queue costs no more than a short one
START_TRIES = 3
START_PAUSE_S = 5.0
LAST_WORDS_S = 300.0  # how long a full disk may keep an agent that has nothing else left to do


@dataclass
class Agent:
    """One allocation from its first task to its release. `beat` in seconds; `upstream` is None where nothing is waited for."""

    job: str
    beat: float
    queue: Queue
    running: Running
    ledger: Ledger
    report: Report
    requests: Requests
    upstream: Optional[Upstream] = None
    asked_to_end: Optional[str] = None  # set by a signal's handler: which
    _stopping: bool = False
    _waiting_for: Optional[str] = None
    _changed: bool = True
    _failed_starts: dict[int, int] = field(default_factory=dict)
    _spent: dict[int, float] = field(default_factory=dict)  # dollars of all attempts of a task
    _due: dict[str, float] = field(default_factory=dict)

    def run(self, wake: int) -> None:
        """Until every task has ended and the release is written. `wake` is readable when a signal has come."""
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        while True:
            now = time.monotonic()
            if self.asked_to_end and not self._stopping:
                self._stop(self.asked_to_end)
            for over in self.running.reap(now):
                self._attempt_ended(over, now)
            self._hear_stops(now)
            self._ask_upstream(now)
            self._ask_machine(now)
            self._start_tasks(now)
            self.running.restart(now)
            for over in self.running.end_leftovers(now):
                self._attempt_ended(over, now)
            self._publish(now)
            if self.queue.empty and not self.running:
                break
            poller.poll(max(0.0, self._next(now) - time.monotonic()) * 1000 + 1)
            _drain(wake)
        self._release()

    # --- stopping --------------------------------------------------------------------------------------------------------

    def _stop(self, why: str) -> None:
        """Everything in order: what waits is cancelled, what runs is asked to end."""
        self._stopping = True
        self._end_waiting(None, Outcome.CANCELLED, why)
        self.running.terminate()

    def _hear_stops(self, now: float) -> None:
        if not self._due_now("stops", now, STOP_POLL_S):
            return
        for request in self.requests.new():
            tasks = None if request.tasks is None else frozenset(request.tasks)
            self._end_waiting(tasks, Outcome.CANCELLED, request.reason)
            self.running.asked_to_stop(tasks)
        self.report.write_ended()

    def _end_waiting(self, tasks: Optional[frozenset[int]], outcome: Outcome, reason: str) -> None:
        gone = self.queue.cancel(tasks)
        if gone:
            now = time.time()
            self.report.ended([EndedTask(t, 0, outcome, reason, None, now, self._spent.get(t)) for t in gone])
            self._changed = True

    # --- tasks -----------------------------------------------------------------------------------------------------------

    def _start_tasks(self, now: float) -> None:
        while not self._stopping:
            start = self.queue.next_start(now)
            if start is None:
                return
            try:
                self.running.start(start.task, start.gpus, start.share.taken.descriptor)
                self._failed_starts.pop(start.task, None)
            except (LaunchError, OSError) as error:
                self._start_failed(start, str(error), now)

    def _start_failed(self, start: Start, reason: str, now: float) -> None:
        tried = self._failed_starts[start.task] = self._failed_starts.get(start.task, 0) + 1
        say(f"task {start.task} cannot be started: {reason}")
        if tried < START_TRIES:
            self.queue.postpone(start.task, now + START_PAUSE_S)
        else:
            self.queue.ended(start.task)
            self._note(Over(start.task, 0, Outcome.START_FAILED, reason, None))
        self._changed = True

    def _attempt_ended(self, over: Over, now: float) -> None:
        if over.cost is not None:
            self._spent[over.task] = self._spent.get(over.task, 0.0) + over.cost
        unwanted = self._stopping or self.requests.stopped(over.task)
        if unwanted or not self.queue.try_again(over.task, over.outcome, now):
            self.queue.ended(over.task)
            self._note(over)
        self._changed = True

    def _note(self, over: Over) -> None:
        """A task is over for good: only then it has its line, so that a reader of lines never takes a pause for the end."""
        cost = self._spent.get(over.task)
        line = EndedTask(over.task, over.attempt, over.outcome, over.reason, over.started_at, time.time(), cost)
        self.report.ended([line])

    # --- waiting ---------------------------------------------------------------------------------------------------------

    def _ask_upstream(self, now: float) -> None:
        if self.upstream is None or not self._due_now("upstream", now, UPSTREAM_POLL_S):
            return
        answer = self.upstream.look()
        if answer.failed:
            self._end_waiting(None, Outcome.START_FAILED, answer.failed)
        self._say_waiting(answer.waiting_for)
        if not answer.waiting_for:
            self.upstream = None

    def _ask_machine(self, now: float) -> None:
        """Give back the shares that are over and take those that can be had."""
        over = self.queue.over()
        if self.upstream is not None:
            return
        wanted = list(itertools.islice(self.queue.wanted(), ASKED_AT_ONCE))
        if not over and not wanted and self._waiting_for is None:
            return
        if not over and not self._due_now("machine", now, LEDGER_POLL_S):
            return
        self._due["machine"] = now + LEDGER_POLL_S
        needs = [need_of(self.job, share) for share in wanted]
        try:
            advance = self.ledger.advance(needs, over=[share.taken for share in over])
        except Busy:
            self._due["machine"] = now + BUSY_PAUSE_S
            return
        except LaunchError as error:
            self._say_waiting(str(error))
            return
        for opened in over:
            self.queue.gave_back(opened)
        shares = {need.tasks: share for need, share in zip(needs, wanted)}
        for need, why in advance.never:
            self._end_waiting(frozenset(need.tasks), Outcome.START_FAILED, why)
        for taken in advance.granted:
            self.queue.opened(shares[taken.need.tasks], taken)
            self._changed = True
        self._say_waiting(advance.waiting_for)
        if advance.waiting_for is None:
            self._due["machine"] = now  # more may be wanted than was asked for

    def _say_waiting(self, text: Optional[str]) -> None:
        if text != self._waiting_for:
            self._waiting_for = text
            self._changed = True

    # --- records and time ------------------------------------------------------------------------------------------------

    def _publish(self, now: float) -> None:
        if self._due_now("beat", now, self.beat) or self._changed or self.running.changed:
            self._changed = self.running.changed = False
            self._write_view(State.STOPPING if self._stopping else State.RUNNING, sync=False)

    def _write_view(self, state: State, *, sync: bool) -> bool:
        waiting = self.queue.waiting()
        waiting_for = self._waiting_for if waiting else None
        return self.report.view(state, waiting, self.running.tasks(), waiting_for, sync=sync)

    def _release(self) -> None:
        """The last records, as soon as the store takes them."""
        until = time.monotonic() + LAST_WORDS_S
        while True:
            if self.report.write_ended() and self._write_view(State.ENDED, sync=True) and self.report.released():
                return
            if time.monotonic() >= until:
                say("the store has not taken the last records; reconcile will find them missing")
                return
            time.sleep(STOP_POLL_S)

    def _due_now(self, timer: str, now: float, every: float) -> bool:
        """Whether a timer is due; then it is set again."""
        if now < self._due.get(timer, now):
            return False
        self._due[timer] = now + every
        return True

    def _next(self, now: float) -> float:
        """When the loop has something to do next, unless it is woken."""
        times = [self._due["stops"], self._due["beat"]]
        if self.upstream is not None:
            times.append(self._due["upstream"])
        elif self.queue.over() or self._waiting_for or next(self.queue.wanted(), None) is not None:
            times.append(self._due["machine"])
        times += [t for t in (self.running.next(now), self.queue.next_pause(now)) if t is not None]
        return min(times)


def _drain(wake: int) -> None:
    try:
        while os.read(wake, 4096):
            pass
    except BlockingIOError:
        pass
