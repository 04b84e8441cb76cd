"""One attempt from its first beat to its exit record: prepared, started or adopted, watched, stopped, ended."""

from __future__ import annotations

import time

from launcher.model.outcome import State
from launcher.store import keys, records
from launcher.supervisor import ending, starting, stopping
from launcher.supervisor.attempt import Attempt
from launcher.supervisor.members import Members
from launcher.supervisor.observer import Observer
from launcher.supervisor.postmortem.capturing import Capturing
from launcher.supervisor.readings.sample import Watched
from launcher.supervisor.start.child import Ended
from launcher.supervisor.start.inputs import Fingerprints
from launcher.supervisor.starting import ExitWatch, Started

STATUS_WAIT_S = 5.0
"""How long an agent may take to tell how an adopted child ended."""


def run(attempt: Attempt) -> int:
    """0 once the exit record lies in the store. Raises what cannot be mended here: the agent then starts another supervisor,
    which goes on."""
    if attempt.places.store.exists(attempt.places.key(keys.EXIT)):
        return 0
    claim = records.read_claim(
        attempt.places.store, attempt.places.spec.job, attempt.places.task.index, attempt.places.attempt
    )
    if claim is None:
        attempt.host.read()  # from here on, kills for memory count
        started = starting.start(attempt)
    else:
        started = starting.adopt(attempt.places, claim)
    if not isinstance(started, Started):
        return ending.end(attempt, started, None)
    _observe(attempt, started)
    ended = _watch(attempt, started)
    attempt.end_survivors()
    return ending.end(attempt, started, ended)


def refuse(attempt: Attempt, reason: str) -> int:
    """End an attempt that cannot be started at all."""
    if attempt.places.store.exists(attempt.places.key(keys.EXIT)):
        return 0
    attempt.beat(time.monotonic())
    return ending.end(attempt, starting.NotStarted(reason), None)


def _observe(attempt: Attempt, started: Started) -> None:
    """Open the eyes, once the child runs."""
    places = attempt.places
    attempt.members = Members(started.child, places.attempt_id, str(places.store.root))
    attempt.child_began(started.at, started.child)
    if started.fresh:
        attempt.oom_known = True
    limit = places.spec.resources_of(places.task).time
    if limit is not None and places.spec.watch.time == "stop":
        attempt.time_limit = time.monotonic() + limit - attempt.elapsed()
    watched = _watched(attempt, attempt.members)
    attempt.capturing = Capturing(watched, attempt.members)
    attempt.observer = Observer(watched)
    attempt.observer.start()
    if places.inputs:
        attempt.inputs = Fingerprints(places)


def _watched(attempt: Attempt, members: Members) -> Watched:
    places = attempt.places
    trees = (places.tree,) if places.here else ()  # else it lies among the data
    return Watched(
        spec=places.spec,
        task=places.task,
        attempt=places.attempt,
        folder=places.folder,
        checkpoints=places.checkpoints,
        disks=(places.data, *trees, *(places.workspace.root / path for path in places.spec.watch.paths)),
        gpus=attempt.gpus,
        started_at=attempt.started_at,
        elapsed=attempt.elapsed(),
        price=attempt.price,
        pids=members.pids,
        spent=attempt.spent.now,
        ballast=(places.folder, places.data),
    )


def _watch(attempt: Attempt, started: Started) -> Ended:
    """Until the child has ended; None as its status: nobody saw it."""
    attempt.asked = attempt.asked or stopping.asked_before(attempt.places)
    attempt.enter("run", State.RUNNING)
    if attempt.asked is not None:
        attempt.begin_stopping()
    watch = ExitWatch(started, attempt.loop)
    attempt.has_ended = watch.over
    attempt.until(watch.over, *watch.descriptors())
    if watch.ended is None and attempt.loop.agent:
        limit = time.monotonic() + STATUS_WAIT_S
        attempt.until(lambda: watch.told() or not attempt.loop.agent or time.monotonic() > limit, every=0.1)
    watch.close()
    return watch.ended or Ended(None)
