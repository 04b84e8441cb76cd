"""The queue of an allocation: which share comes next, which task starts on which GPUs, when one is tried again.

Pure: no clock, no files. The order is that of the packing; a task that is tried again keeps its share.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Optional

from launcher.agent.shares import Need, Taken
from launcher.model.job import JobSpec, Share, pack
from launcher.model.outcome import Outcome
from launcher.model.phase import Retry
from launcher.model.records import Order

PAUSES_S = (1.0, 5.0, 30.0)
"""Before a task is tried again for the first, second and every further time: what failed it may pass."""


def shares_of(spec: JobSpec, order: Order) -> tuple[Share, ...]:
    """The packing of the tasks that this allocation was ordered to run, in the order's order."""
    by_index = {task.index: task for task in spec.tasks}
    ordered = tuple(by_index[index] for index in order.tasks if index in by_index)
    return pack(replace(spec, tasks=ordered)).shares


def need_of(job: str, share: Share) -> Need:
    """What a share asks of the machine."""
    asked = share.resources
    return Need(job, share.tasks, asked.gpus, asked.cpus, asked.memory or 0)


def divide(gpus: tuple[str, ...], slots: int) -> tuple[tuple[str, ...], ...]:
    """The GPUs of each slot: as equal parts as they make, each whole; with fewer GPUs than slots, one each, shared."""
    if not gpus:
        return ((),) * slots
    if len(gpus) < slots:
        return tuple((gpus[slot % len(gpus)],) for slot in range(slots))
    each, more = divmod(len(gpus), slots)
    parts, start = [], 0
    for slot in range(slots):
        end = start + each + (1 if slot < more else 0)
        parts.append(gpus[start:end])
        start = end
    return tuple(parts)


def tries(retry: Retry, outcome: Outcome) -> int:
    """How often a task is tried again without a person after this outcome."""
    allowed = {
        Outcome.FAILED: retry.failed,
        Outcome.PREEMPTED: retry.preempted,
        Outcome.NODE_LOST: retry.node_lost,
        Outcome.TIMED_OUT: retry.timed_out,
        Outcome.OUT_OF_MEMORY: retry.out_of_memory,
        Outcome.STALLED: retry.stalled,
        Outcome.START_FAILED: retry.start_failed,
    }
    return allowed.get(outcome, 0)


@dataclass
class OpenShare:
    """A share that the machine granted: its tasks run in its slots."""

    share: Share
    taken: Taken
    gpus: tuple[tuple[str, ...], ...]  # of each slot
    waiting: deque[int]
    running: dict[int, int] = field(default_factory=dict)  # task to slot

    def free_slot(self) -> Optional[int]:
        used = set(self.running.values())
        return next((slot for slot in range(len(self.gpus)) if slot not in used), None)

    @property
    def over(self) -> bool:
        return not self.waiting and not self.running

    @property
    def claims(self) -> int:
        """How many of its tasks run at once, now or as soon as they are started."""
        return min(len(self.gpus), len(self.waiting) + len(self.running))


@dataclass(frozen=True)
class Start:
    """A task that can start now."""

    task: int
    gpus: tuple[str, ...]
    share: OpenShare


class Queue:
    """What waits and what runs. `limit` is the most tasks at once; None: as many as the machine grants."""

    def __init__(self, shares: tuple[Share, ...], limit: Optional[int], retry: Retry) -> None:
        self.closed: deque[Share] = deque(shares)
        self.open: list[OpenShare] = []
        self._limit = limit
        self._retry = retry
        self._tried: Counter[tuple[int, Outcome]] = Counter()
        self._not_before: dict[int, float] = {}

    # --- shares ----------------------------------------------------------------------------------------------------------

    def wanted(self) -> Iterator[Share]:
        """Shares to ask the machine for, in order; as many as the limit leaves room for. Ask again after `opened`."""
        claimed = sum(share.claims for share in self.open)
        for share in tuple(self.closed):
            if self._limit is not None and claimed >= self._limit:
                return
            claimed += min(share.slots, len(share.tasks))
            yield share

    def opened(self, share: Share, taken: Taken) -> None:
        """The machine granted a share."""
        self.closed.remove(share)
        self.open.append(OpenShare(share, taken, divide(taken.gpus, share.slots), deque(share.tasks)))

    def over(self) -> list[OpenShare]:
        """Shares whose tasks have all ended, to be given back; they leave the queue with `gave_back`."""
        return [share for share in self.open if share.over]

    def gave_back(self, share: OpenShare) -> None:
        self.open.remove(share)

    # --- tasks -----------------------------------------------------------------------------------------------------------

    def next_start(self, now: float) -> Optional[Start]:
        """The first task that has a slot and whose pause is over."""
        if self._limit is not None and self.running >= self._limit:
            return None
        for share in self.open:
            slot = share.free_slot()
            if slot is None:
                continue
            for task in share.waiting:
                if self._not_before.get(task, now) <= now:
                    share.waiting.remove(task)
                    share.running[task] = slot
                    return Start(task, share.gpus[slot], share)
        return None

    def next_pause(self, now: float) -> Optional[float]:
        """When the next pause ends, of the tasks that wait in open shares; None: none pauses."""
        pauses = (self._not_before.get(task, now) for share in self.open for task in share.waiting)
        return min((until for until in pauses if until > now), default=None)

    def try_again(self, task: int, outcome: Outcome, now: float) -> bool:
        """Whether the phase wants another attempt after this end; then the task waits again, in its share, after a pause."""
        if self._tried[task, outcome] >= tries(self._retry, outcome):
            return False
        self._tried[task, outcome] += 1
        count = sum(number for (index, _), number in self._tried.items() if index == task)
        self.postpone(task, now + PAUSES_S[min(count, len(PAUSES_S)) - 1])
        return True

    def postpone(self, task: int, until: float) -> None:
        """A running task goes back to waiting, ahead of those of its share that never ran."""
        share = self._share_of(task)
        del share.running[task]
        share.waiting.appendleft(task)
        self._not_before[task] = until

    def ended(self, task: int) -> None:
        """A running task is over for good."""
        del self._share_of(task).running[task]

    def cancel(self, tasks: Optional[Collection[int]]) -> list[int]:
        """Take waiting tasks out, all of them for None; returns those that were there."""
        taken: list[int] = []
        for opened in self.open:
            gone = [task for task in opened.waiting if tasks is None or task in tasks]
            opened.waiting = deque(task for task in opened.waiting if task not in set(gone))
            taken += gone
        kept: deque[Share] = deque()
        for share in self.closed:
            left = tuple(task for task in share.tasks if tasks is not None and task not in tasks)
            taken += [task for task in share.tasks if task not in left]
            if left:
                kept.append(replace(share, tasks=left, slots=min(share.slots, len(left))))
        self.closed = kept
        return taken

    @property
    def running(self) -> int:
        return sum(len(share.running) for share in self.open)

    def waiting(self) -> list[int]:
        """Every task that has not ended and does not run."""
        opened = [task for share in self.open for task in share.waiting]
        return opened + [task for share in self.closed for task in share.tasks]

    @property
    def empty(self) -> bool:
        return not self.closed and all(share.over for share in self.open)

    def _share_of(self, task: int) -> OpenShare:
        return next(share for share in self.open if task in share.running)
