"""What the stages of an attempt share: its state, its heartbeat, waiting while it beats, and stopping in order."""

from __future__ import annotations

import os
import time
from typing import Callable, Optional

from launcher.errors import LaunchError
from launcher.model.outcome import Outcome, State
from launcher.model.records import Finding, ProcessId
from launcher.store import processes
from launcher.supervisor import stopping
from launcher.supervisor.beats import Beats, Standing, say
from launcher.supervisor.loop import Loop
from launcher.supervisor.members import Members
from launcher.supervisor.observer import Observer
from launcher.supervisor.outputs import commit
from launcher.supervisor.places import Places
from launcher.supervisor.postmortem.capturing import Capturing
from launcher.supervisor.readings.host import HostReader
from launcher.supervisor.readings.sample import Sample
from launcher.supervisor.spent import Spent
from launcher.supervisor.start.inputs import Fingerprints
from launcher.supervisor.start.versions import Query
from launcher.supervisor.verdict import Verdict

FIRST_PAUSE_S = 1.0
SECOND = 1.0
"""How often stop requests, limits and orphans are looked at."""
STATUS_WAIT_S = 5.0
"""How long an agent may take to tell how an adopted child ended."""


class Attempt:
    """The state of one attempt. `life` leads it through its stages; each waits in `until`, where the heart beats."""

    def __init__(self, places: Places, gpus: tuple[str, ...], loop: Loop, share: Optional[int]) -> None:
        self.places = places
        self.gpus = gpus
        self.loop = loop
        self.share = share
        supervisor = processes.process_id(os.getpid())
        if supervisor is None:
            raise LaunchError("reading /proc", came_back="this process is not shown there")
        self.supervisor: ProcessId = supervisor
        self.started_at = time.time()
        self._elapsed_before, self._watched_since = 0.0, time.monotonic()
        self.stage = "unpack"
        self.state = State.STARTING
        self.members: Optional[Members] = None
        self.observer: Optional[Observer] = None
        self.query: Optional[Query] = None
        self.sample: Optional[Sample] = None
        self.judged: tuple[Finding, ...] = ()
        self.findings: list[Finding] = []
        self.asked: Optional[Verdict] = None
        self.declared_first = False
        self.capturing: Optional[Capturing] = None
        self.beats = Beats(places, supervisor, self._make_room)
        self.inputs: Optional[Fingerprints] = None
        self.host = HostReader()
        self.oom_known = False
        self._requests = stopping.Requests(places)
        self.spent = Spent(places)
        self._stopping: Optional[stopping.Stopping] = None
        self.has_ended: Optional[Callable[[], bool]] = None  # set while a child runs
        self.time_limit: Optional[float] = None  # monotonic
        self._born = self._next_beat = self._next_second = time.monotonic()

    def until(self, condition: Callable[[], bool], *descriptors: int, every: float = SECOND) -> None:
        """Beat, poll and stop in order until `condition` holds; it is asked at each event and `every` so many seconds."""
        while not condition():
            now = time.monotonic()
            wake = min(self._next_beat, self._next_second, now + every)
            if self._stopping is not None:
                wake = min(wake, max(self._stopping.due, now + 0.01))
            self.loop.wait(wake, *descriptors)
            self._tick(time.monotonic())

    def enter(self, stage: str, state: Optional[State] = None) -> None:
        """A beat tells of each change of stage at once."""
        if state is not None:
            self.state = state
        if stage != self.stage or state is not None:
            self.stage = stage
            self.beat(time.monotonic())

    def finding(self, watch: str, code: str, level: str, message: str, hint: Optional[str] = None) -> None:
        """A finding of the supervisor's own, kept until the end."""
        self.findings.append(Finding(watch, code, level, message, time.time(), hint))

    def cost(self) -> Optional[float]:
        """Dollars so far; None where no price is known."""
        price = self.price
        return None if price is None else price * self.elapsed() / 3600

    def elapsed(self) -> float:
        """Seconds since the child began, or since the attempt did; no clock that somebody sets has a say in it."""
        return self._elapsed_before + time.monotonic() - self._watched_since

    def child_began(self, at: float, child: ProcessId) -> None:
        """From here on times count from the child's beginning, also where another supervisor saw it. `at` is for people."""
        self.started_at = at
        age = processes.age(child)
        self._elapsed_before = age if age is not None else max(0.0, time.time() - at)
        self._watched_since = time.monotonic()

    @property
    def price(self) -> Optional[float]:
        """Dollars per hour of this attempt: its part of the allocation that it shares."""
        spec = self.places.spec
        return None if spec.place.price is None else spec.place.price / max(1, spec.pack)

    def checkpoint(self) -> Optional[str]:
        """The newest complete one, by the path under which it stays."""
        found = self.observer.newest_checkpoint() if self.observer is not None else None
        return None if found is None else str(found)

    def all_findings(self) -> tuple[Finding, ...]:
        """The watchdogs' and our own."""
        return (*self.findings, *self.judged)

    def beat(self, mono: float) -> None:
        """Sample, judge, write. The first beats come after 1, 2, 4 ... seconds: whoever has just submitted looks now."""
        pause = min(self.places.spec.beat, max(FIRST_PAUSE_S, mono - self._born))
        self._next_beat = mono + pause
        if self.observer is not None:
            self.sample = self.observer.sample(mono, time.time(), pause)
            judgement = self.observer.judge(self.sample)
            self.judged = judgement.findings
            if self.capturing is not None:
                self.capturing.heed(judgement, mono)
            for event in self.observer.events():
                kind = str(event.pop("kind", "observed"))
                self.beats.event(kind, time.time(), event)
        child_id = self.members.root if self.members is not None else None
        reason = self.asked.reason if self.asked is not None else None
        standing = Standing(
            self.state,
            self.stage,
            self.started_at,
            child_id,
            self.all_findings(),
            self.cost(),
            self.checkpoint(),
            reason,
        )
        self.beats.write(time.time(), standing, self.sample)

    def end_survivors(self) -> None:
        """Whoever the child has left behind, in its group or out of it."""
        assert self.members is not None
        self._stopping = None
        survivors = stopping.Survivors(self.members, self.places.spec.grace, time.monotonic())
        self.until(lambda: survivors.gone(time.monotonic()), every=0.05)
        if survivors.left:
            self.finding(
                "setup",
                "processes.left",
                "act",
                f"processes that SIGKILL does not end: {survivors.left}",
                "the node hangs",
            )
        if survivors.found:
            self.beats.event("survivors ended", time.time(), {"pids": sorted(survivors.found)})

    def ask(self, verdict: Verdict) -> None:
        """Stop the attempt; the first reason counts."""
        if self.asked is not None or self.stage in ("commit", "ended"):
            return
        if self.has_ended is not None and self.has_ended():
            return  # it had ended before anybody asked
        self.asked = verdict
        self.declared_first = self.observer is not None and self.observer.declared() is not None
        self.beats.event("stopping", time.time(), {"outcome": verdict.outcome.value, "reason": verdict.reason})
        self.begin_stopping()

    def begin_stopping(self) -> None:
        """Ask the child, then insist, in the order that `stopping` knows."""
        assert self.asked is not None
        try:
            stopping.ask(self.places, self.members, self.asked, time.time())
        except LaunchError as error:
            say(f"{self.places.attempt_id}: {error}")
        if self.members is not None:
            grace = self.places.spec.grace
            self._stopping = stopping.Stopping(self.members, grace, time.monotonic(), self.checkpoint())
            self.enter("stop", State.STOPPING)

    # What is looked at between two events.

    def _tick(self, mono: float) -> None:
        if self.loop.terminated:
            self.ask(Verdict(Outcome.PREEMPTED, "the allocation is being ended"))
        if mono >= self._next_second:
            self._next_second = mono + SECOND
            self._each_second(mono)
        if self._stopping is not None:
            self._stopping.advance(mono, self.checkpoint())
        if mono >= self._next_beat:
            self._check_superseded()
            self.beat(mono)

    def _each_second(self, mono: float) -> None:
        try:
            request = self._requests.poll()
        except LaunchError:
            request = None  # the store does not answer now; the next second is soon
        if request is not None:
            self.ask(request)
        if self.time_limit is not None and mono >= self.time_limit:
            limit = self.places.spec.resources_of(self.places.task).time or 0.0
            self.ask(Verdict(Outcome.TIMED_OUT, f"its time limit of {limit:g} s is reached"))
        if self.query is not None:
            self.query.poll(mono)
        if self.members is not None and (self.loop.child_ended or self.members.zombies):
            self.loop.child_ended = False  # all of /proc is read for it, so not without a cause
            self.members.reap_orphans()
        wanted = self.capturing.due(mono) if self.capturing is not None else None
        if wanted is not None:
            self.ask(wanted)

    def _check_superseded(self) -> None:
        try:
            newer = commit.superseded(self.places)
        except LaunchError:
            return
        if newer is not None:
            self.ask(Verdict(Outcome.CANCELLED, f"attempt {newer} has taken its place"))

    def _make_room(self) -> bool:
        return self.observer is not None and self.observer.free_ballast()

    def oom_kills(self) -> Optional[int]:
        """Kills for memory in our control group since before the child began; None where an adopted child's are not known."""
        return self.host.read().oom_kills if self.oom_known else None
