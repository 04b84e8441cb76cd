"""Ending an attempt in order: ask, wait for the checkpoint, SIGTERM, grace, SIGKILL, to everything that belongs to it."""

from __future__ import annotations

import json
import signal
from typing import Optional

from launcher.errors import BadRecord
from launcher.model.outcome import Outcome
from launcher.model.records import SCHEMA, Order, StopRequest
from launcher.store import keys, records
from launcher.supervisor.members import Members, send
from launcher.supervisor.places import Places
from launcher.supervisor.verdict import Verdict

ASK_SIGNAL = signal.SIGUSR2
"""What asks a child that catches it, as submitit's do; not SIGUSR1, which NCCL may use for itself."""
AFTER_CHECKPOINT_S = 2.0
"""How long a child may take to end by itself once the checkpoint that it saved for the stop is complete."""
SURVIVORS_GRACE_S = 5.0
KILL_AGAIN_S = 1.0
GIVE_UP_S = 60.0
"""A process that SIGKILL has not ended after this long hangs in the kernel (a dead disk, a lost GPU)."""


def ask(places: Places, members: Optional[Members], verdict: Verdict, wall: float) -> None:
    """Make the stop file, and signal those who catch the signal. Raises StoreError where the file cannot be made."""
    try:
        content = {"outcome": verdict.outcome.value, "reason": verdict.reason, "at": wall}
        places.store.create(places.key(keys.STOP), json.dumps(content).encode() + b"\n")
    finally:
        for pid in members.catchers(ASK_SIGNAL) if members is not None else ():
            send(pid, ASK_SIGNAL)


def asked_before(places: Places) -> Optional[Verdict]:
    """What an earlier supervisor of this attempt asked for; what cannot be read was still a stop."""
    content = places.store.read(places.key(keys.STOP))
    if content is None:
        return None
    try:
        data = json.loads(content)
        return Verdict(Outcome(data["outcome"]), str(data["reason"]))
    except (ValueError, TypeError, KeyError):
        return Verdict(Outcome.CANCELLED, "stopped; the reason was lost")


class Stopping:
    """One stop under way. `advance` is called once in a while and never waits."""

    def __init__(self, members: Members, grace: float, mono: float, newest: Optional[str]) -> None:
        self._members = members
        self._grace = grace
        self._newest = newest
        self._term_at = mono + grace
        self._kill_at: Optional[float] = None
        self._checkpoint_seen = False
        self.signalled = False

    @property
    def due(self) -> float:
        """When `advance` has something to do next, monotonic."""
        return self._term_at if self._kill_at is None else self._kill_at

    def advance(self, mono: float, newest: Optional[str]) -> None:
        """`newest` is the newest complete checkpoint."""
        if self._kill_at is None and newest != self._newest and not self._checkpoint_seen:
            self._checkpoint_seen = True
            self._term_at = min(self._term_at, mono + AFTER_CHECKPOINT_S)
        if self._kill_at is None and mono >= self._term_at:
            self.signalled = True
            self._members.signal(signal.SIGTERM)
            self._kill_at = mono + self._grace
        elif self._kill_at is not None and mono >= self._kill_at:
            self._members.signal(signal.SIGKILL)
            self._kill_at = mono + KILL_AGAIN_S


class Survivors:
    """After the child's end: whoever is left of the attempt is ended too."""

    def __init__(self, members: Members, grace: float, mono: float) -> None:
        self._members = members
        self._kill_at = mono + min(grace, SURVIVORS_GRACE_S)
        self._give_up_at = self._kill_at + GIVE_UP_S
        self._asked = False
        self.found: set[int] = set()
        self.left: list[int] = []

    def gone(self, mono: float) -> bool:
        """True when nobody is left, or those that are cannot be ended (`left`)."""
        self._members.reap_orphans()
        alive = self._members.everyone()
        self.found.update(alive)
        if not alive:
            self.left = []
            return True
        if mono >= self._give_up_at:
            self.left = alive
            return True
        if mono >= self._kill_at:
            self._members.signal(signal.SIGKILL, alive)
        elif not self._asked:
            self._asked = True
            self._members.signal(signal.SIGTERM, alive)
        return False


class Requests:
    """Stop requests of the job in the store: each is read once, and those for earlier attempts are left out."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._order: Optional[Order] = None
        self._seen: set[str] = set()

    def poll(self) -> Optional[Verdict]:
        """The stop that somebody wants of this task. Raises StoreError."""
        job = self._places.spec.job
        for name in self._places.store.names(keys.stops(job)):
            if name in self._seen:
                continue
            if self._order is None:  # an order that cannot be read now says nothing of whom a request is for
                self._order = _order(self._places)
            try:
                request = records.read(self._places.store, StopRequest, f"{keys.stops(job)}/{name}")
            except BadRecord:
                request = None
            self._seen.add(name)
            if request is None or not self._order.is_stopped_by(name, request.at):
                continue
            if request.tasks is None or self._places.task.index in request.tasks:
                return _verdict(request.reason, request.by)
        return None


def _verdict(reason: str, by: str) -> Verdict:
    word = reason.lower()
    if word.startswith("time"):
        return Verdict(Outcome.TIMED_OUT, f"{reason} (by {by})")
    if word.startswith("preempt"):
        return Verdict(Outcome.PREEMPTED, f"{reason} (by {by})")
    if "budget" in word:
        return Verdict(Outcome.OVER_BUDGET, f"{reason} (by {by})")
    return Verdict(Outcome.CANCELLED, f"{reason} by {by}")


def _order(places: Places) -> Order:
    """The order that this attempt follows; where there is none, or it is garbage, every request counts. Raises StoreError."""
    try:
        order = records.read_order(places.store, places.spec.job, places.allocation)
    except BadRecord:
        order = None
    return order or Order(SCHEMA, places.allocation, places.spec.job, (places.task.index,), 0.0, "", ())
