"""Records to views: total, forward only, and a success only where an exit record says so."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.model.fold import fold, job_outcome
from launcher.model.freshness import Clock, Sighting, age, sight
from launcher.model.known import Known, KnownAllocation, KnownAttempt
from launcher.model.outcome import Outcome, State, forward
from launcher.model.phase import Retry
from launcher.model.records import (
    AgentView,
    DiskReading,
    EndedTask,
    ExitRecord,
    Heartbeat,
    Progress,
    Released,
    RunningTask,
    StopRequest,
)
from launcher.model.view import JobView, TaskView
from tests.written_jobs import NOBODY, spec

NOW = Clock(1000.0, 1_700_000_000.0, "here")
JOB = "train-k3f9"
SPEC = spec(JOB, Path("/s"), 1)


def place(**changes: object) -> KnownAllocation:
    return replace(KnownAllocation("a1", (0,), 100.0, native_id="n"), **changes)  # type: ignore[arg-type]


def view(**changes: object) -> AgentView:
    made = AgentView(1, 1, NOW.wall, JOB, "a1", NOBODY, State.RUNNING, "")
    return replace(made, **changes)  # type: ignore[arg-type]


def beat(**changes: object) -> Heartbeat:
    made = Heartbeat(1, 1, NOW.wall, JOB, 0, 1, "a1", State.RUNNING, "run", NOW.wall - 60, "there", 10.0)
    return replace(made, **changes)  # type: ignore[arg-type]


def verdict(outcome: Outcome = Outcome.SUCCEEDED, **changes: object) -> ExitRecord:
    made = ExitRecord(1, JOB, 0, 1, "a1", outcome, "why", NOW.wall - 60, NOW.wall, "there")
    return replace(made, **changes)  # type: ignore[arg-type]


def task(allocation: KnownAllocation | None, attempt: KnownAttempt | None = None, **known: object) -> TaskView:
    made = Known(SPEC, () if allocation is None else (allocation,), {} if attempt is None else {0: attempt})
    return fold(replace(made, **known), NOW).tasks[0]  # type: ignore[arg-type]


MOVING = Sighting(1, NOW.mono - 1, moved=True)
LINE = EndedTask(0, 1, Outcome.FAILED, "exit code 1", NOW.wall - 60, NOW.wall)


def test_a_task_goes_through_its_states() -> None:
    assert task(None).state is State.PENDING
    assert task(place(native_id=None)).why == "is being submitted"
    assert task(place()).state is State.SUBMITTED
    waiting = task(place(view=view(queue="0", waiting_for="a GPU"), queue=frozenset({0})))
    assert (waiting.state, waiting.why) == (State.SUBMITTED, "waiting for a GPU")
    assert task(place(view=view(running=(RunningTask(0, 1, State.STARTING),)))).state is State.STARTING
    assert task(place(view=view()), KnownAttempt(1)).state is State.STARTING
    running = task(place(view=view()), KnownAttempt(1, heartbeat=beat(), sighting=MOVING))
    assert (running.state, running.silent, running.attempt) == (State.RUNNING, None, 1)
    ended = task(place(view=view()), KnownAttempt(1, heartbeat=beat(), exit=verdict()))
    assert (ended.state, ended.outcome) == (State.ENDED, Outcome.SUCCEEDED)


def test_an_exit_record_wins_over_everything() -> None:
    lost = place(released=Released(1, "a1", NOW.wall, "reconcile", "the host has booted since"), ended=(LINE,))
    assert task(lost, KnownAttempt(1, exit=verdict(), supervisor=True)).outcome is Outcome.SUCCEEDED


def test_the_agents_line_is_enough() -> None:
    ended = task(place(ended=(LINE,)))
    assert (ended.state, ended.outcome, ended.why) == (State.ENDED, Outcome.FAILED, "exit code 1")


def test_a_heartbeat_never_ends_an_attempt() -> None:
    assert task(place(view=view()), KnownAttempt(1, heartbeat=beat(state=State.ENDED))).state is State.STOPPING


@pytest.mark.parametrize(
    ("allocation", "outcome", "words"),
    [
        (place(agent=False), Outcome.NODE_LOST, "its agent is dead"),
        (place(observed=State.ENDED, evidence="NODE_FAIL"), Outcome.NODE_LOST, "NODE_FAIL"),
        (place(released=Released(1, "a1", 1.0, "reconcile", "gone")), Outcome.NODE_LOST, "gone"),
        (place(released=Released(1, "a1", 1.0, "agent")), Outcome.UNKNOWN, "without a verdict"),
    ],
)
def test_a_begun_attempt_in_an_allocation_that_is_gone(
    allocation: KnownAllocation, outcome: Outcome, words: str
) -> None:
    for attempt in (KnownAttempt(1), KnownAttempt(1, heartbeat=beat(), supervisor=False, child=False, sighting=MOVING)):
        found = task(allocation, attempt)
        assert (found.state, found.outcome) == (State.ENDED, outcome)
        assert words in (found.why or "")
    assert task(allocation, KnownAttempt(1, heartbeat=beat(), sighting=MOVING)).state is State.RUNNING, "it still beats"


def test_a_supervisor_outlives_its_agent_and_a_child_both() -> None:
    gone = place(agent=False)
    assert task(gone, KnownAttempt(1, heartbeat=beat(), supervisor=True)).state is State.RUNNING
    alone = task(gone, KnownAttempt(1, heartbeat=beat(), supervisor=False, child=True))
    assert (alone.state, alone.why) == (State.RUNNING, "agent and supervisor are gone; its process goes on unwatched")


def test_silence_proves_nothing() -> None:
    old = Sighting(1, NOW.mono - 500, moved=True)
    found = task(place(view=view()), KnownAttempt(1, heartbeat=beat(), sighting=old))
    assert (found.state, found.outcome, found.silent) == (State.RUNNING, None, 500.0)


def test_an_observer_that_knows_nothing_changes_nothing() -> None:
    running = KnownAttempt(1, heartbeat=beat(), sighting=MOVING)
    assert task(place(observed=State.UNKNOWN), running) == task(place(observed=State.RUNNING), running)


def test_an_unreadable_exit_record_is_an_unknown_end() -> None:
    found = task(place(view=view()), KnownAttempt(1, unreadable=("exit.json",)))
    assert (found.state, found.outcome) == (State.ENDED, Outcome.UNKNOWN)
    assert task(place(view=view()), KnownAttempt(1, unreadable=("heartbeat.json",))).state is State.UNKNOWN


def test_tasks_that_never_began() -> None:
    gone = place(agent=False)
    assert task(gone).outcome is Outcome.NODE_LOST
    stop = StopRequest(1, 200.0, "me", "cancelled")
    cancelled = task(gone, stops=(stop,))
    assert (cancelled.outcome, cancelled.why) == (Outcome.CANCELLED, "cancelled before it began")
    assert task(gone, stops=(replace(stop, tasks=(3,)),)).outcome is Outcome.NODE_LOST, "meant for another task"
    assert task(gone, stops=(replace(stop, at=50.0),)).outcome is Outcome.NODE_LOST, "meant for an earlier order"
    upstream = task(gone, upstream={"collect-2222": Outcome.FAILED})
    assert upstream.outcome is Outcome.START_FAILED
    assert "collect-2222 failed" in (upstream.why or "")
    waits = task(place(view=view(queue="0"), queue=frozenset({0})), upstream={"collect-2222": None})
    assert (waits.state, waits.why) == (State.SUBMITTED, "waiting for collect-2222")


def test_an_attempt_that_is_followed_by_another() -> None:
    again = task(place(view=view(queue="0", ended=1), queue=frozenset({0}), ended=(LINE,)))
    assert (again.state, again.attempt, again.why) == (State.SUBMITTED, 1, "attempt 1 failed; to be tried again")
    second = task(place(view=view(running=(RunningTask(0, 2, State.RUNNING),)), ended=(LINE,)))
    assert (second.state, second.attempt) == (State.RUNNING, 2)
    older = task(place(view=view(queue="0"), queue=frozenset({0}), ended=(LINE,)))
    assert older.outcome is Outcome.FAILED, "the view is older than the end"
    won = replace(LINE, outcome=Outcome.SUCCEEDED)
    assert task(place(view=view(queue="0"), queue=frozenset({0}), ended=(won,))).outcome is Outcome.SUCCEEDED


def test_an_agent_that_has_yet_to_decide() -> None:
    """Nobody who waits for the end is told of one before the agent has decided whether to try again."""
    preempted = replace(LINE, outcome=Outcome.PREEMPTED)
    undecided = task(place(view=view(), ended=(preempted,)))
    assert (undecided.state, undecided.why) == (
        State.SUBMITTED,
        "attempt 1 preempted; its agent decides whether to try again",
    )
    by_exit = task(place(view=view()), KnownAttempt(1, exit=verdict(Outcome.PREEMPTED)))
    assert by_exit.state is State.SUBMITTED
    assert task(place(view=view(ended=1), ended=(preempted,))).outcome is Outcome.PREEMPTED, "decided: not again"
    silent = place(view=view(), sighting=Sighting(1, NOW.mono - 500, moved=True), ended=(preempted,))
    assert task(silent).outcome is Outcome.PREEMPTED, "an agent that is not heard decides nothing"


def test_a_newer_order_after_a_loss() -> None:
    lost = place(agent=False)
    newer = replace(place(), allocation="a2", ordered_at=200.0, native_id="m")
    known = Known(SPEC, (lost, newer), {0: KnownAttempt(1, heartbeat=beat(), supervisor=False)})
    found = fold(known, NOW).tasks[0]
    assert (found.state, found.allocation) == (State.SUBMITTED, "a2")
    assert "attempt 1 node lost" in (found.why or "")
    also_gone = replace(known, allocations=(lost, replace(newer, agent=False)))
    assert fold(also_gone, NOW).tasks[0].outcome is Outcome.NODE_LOST


def test_readings_reach_the_view() -> None:
    disks = (DiskReading("/a", used=1, total=2), DiskReading("/b"), DiskReading("/c", used=3, total=4))
    found = task(place(view=view()), KnownAttempt(1, heartbeat=beat(disks=disks, progress=Progress(1, 2), cost=1.5)))
    assert (found.disk_used, found.cost, found.gpus) == (0.75, 1.5, None)
    assert task(place(view=view()), KnownAttempt(1, heartbeat=beat(disks=(DiskReading("/b"),)))).disk_used is None


def test_a_jobs_outcome() -> None:
    def of(*outcomes: Outcome) -> Outcome:
        return job_outcome(tuple(TaskView(i, State.ENDED, o) for i, o in enumerate(outcomes)))

    assert of(Outcome.SUCCEEDED, Outcome.SUCCEEDED) is Outcome.SUCCEEDED
    assert of(Outcome.SUCCEEDED, Outcome.CANCELLED) is Outcome.CANCELLED
    assert of(Outcome.STALLED, Outcome.STALLED) is Outcome.STALLED
    assert of(Outcome.STALLED, Outcome.CANCELLED) is Outcome.FAILED


# --- freshness ------------------------------------------------------------------------------------------------------------


def test_a_skewed_clock_does_no_harm() -> None:
    first = sight(None, 7, NOW.wall + 9000, 10.0, "there", NOW)
    assert age(first, NOW) == 0, "ahead: unknown until the next look, and never negative"
    later = Clock(NOW.mono + 300, NOW.wall + 300, "here")
    assert age(sight(first, 7, NOW.wall + 9000, 10.0, "there", later), later) == 300
    moved = sight(first, 37, NOW.wall - 9000, 10.0, "there", later)
    assert age(moved, later) == 0, "as many beats as fit were counted, whatever its clock says"


def test_who_comes_back_later_sees_that_it_has_stopped() -> None:
    first = sight(None, 7, NOW.wall, 10.0, "there", NOW)
    later = Clock(NOW.mono + 3600, NOW.wall + 3600, "here")
    stopped = sight(first, 13, NOW.wall + 60, 10.0, "there", later)
    assert age(stopped, later) == 3540


def test_the_first_look_asks_the_nodes_clock_with_tolerance() -> None:
    assert age(sight(None, 1, NOW.wall - 3600, 10.0, "there", NOW), NOW) == 3600
    assert age(sight(None, 1, NOW.wall - 100, 10.0, "there", NOW), NOW) == 0, "clocks may differ"
    assert age(sight(None, 1, NOW.wall - 100, 10.0, "here", NOW), NOW) == 100, "not on the same host"
    before_boot = Sighting(1, NOW.mono + 5, moved=True)
    assert not sight(before_boot, 2, NOW.wall, 10.0, "there", NOW).moved


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@given(st.integers(), NUMBERS, NUMBERS, st.integers(), NUMBERS, NUMBERS)
def test_an_age_is_never_negative(seq: int, at: float, beat_s: float, before: int, seen_at: float, was: float) -> None:
    for previous in (None, Sighting(before, seen_at, was)):
        assert not age(sight(previous, seq, at, beat_s, "there", NOW), NOW) < 0


# --- properties -----------------------------------------------------------------------------------------------------------

STATES = st.sampled_from(State)
OUTCOMES = st.sampled_from(Outcome)
INDICES = st.integers(-1, 3)
COUNTS = st.integers(0, 3)
LINES = st.builds(
    EndedTask, INDICES, COUNTS, OUTCOMES, st.text(max_size=3), st.none() | NUMBERS, NUMBERS, st.none() | NUMBERS
)
SEEN = st.none() | st.builds(Sighting, COUNTS, NUMBERS, NUMBERS, st.booleans())
VIEWS = st.builds(
    AgentView,
    st.just(1),
    COUNTS,
    NUMBERS,
    st.just(JOB),
    st.sampled_from(["a1", "a2"]),
    st.just(NOBODY),
    STATES,
    st.just(""),
    st.lists(st.builds(RunningTask, INDICES, COUNTS, STATES), max_size=3).map(tuple),
    st.none() | st.just("a GPU"),
    COUNTS,
    NUMBERS,
)
BEATS = st.builds(
    Heartbeat,
    st.just(1),
    COUNTS,
    NUMBERS,
    st.just(JOB),
    INDICES,
    COUNTS,
    st.sampled_from(["a1", "a2", "a3"]),
    STATES,
    st.just("run"),
    NUMBERS,
    st.just("there"),
    NUMBERS,
    cost=st.none() | NUMBERS,
)
EXITS = st.builds(
    ExitRecord,
    st.just(1),
    st.just(JOB),
    INDICES,
    COUNTS,
    st.sampled_from(["a1", "a2"]),
    OUTCOMES,
    st.just("why"),
    NUMBERS,
    NUMBERS,
    st.just("there"),
    cost=st.none() | NUMBERS,
)
TRUTH = st.sampled_from([None, True, False])
ATTEMPTS = st.builds(
    KnownAttempt,
    COUNTS,
    st.none(),
    st.none() | BEATS,
    st.none() | EXITS,
    SEEN,
    TRUTH,
    TRUTH,
    st.sampled_from([(), ("exit.json",), ("claim.json",)]),
)
PLACES = st.builds(
    KnownAllocation,
    st.sampled_from(["a1", "a2"]),
    st.lists(INDICES, max_size=4).map(tuple),
    NUMBERS,
    st.none() | st.just("n"),
    st.none() | VIEWS,
    SEEN,
    st.frozensets(INDICES),
    st.lists(LINES, max_size=4).map(tuple),
    st.none() | st.builds(Released, st.just(1), st.just("a1"), NUMBERS, st.just("x"), st.none() | st.just("lost")),
    TRUTH,
    STATES,
    st.none(),
    st.none(),
    st.sampled_from([(), ("a1.json",)]),
)
STOPS = st.builds(StopRequest, st.just(1), NUMBERS, st.just("me"), st.text(max_size=2), st.none() | st.tuples(INDICES))
KNOWN = st.builds(
    Known,
    st.just(spec(JOB, Path("/s"), 3)),
    st.lists(PLACES, max_size=3).map(tuple),
    st.dictionaries(INDICES, ATTEMPTS),
    st.lists(STOPS, max_size=2).map(tuple),
    st.dictionaries(st.sampled_from(["u-1", "u-2"]), st.none() | OUTCOMES),
)


@settings(max_examples=400, deadline=None)
@given(KNOWN)
def test_fold_never_raises_and_success_has_its_record(known: Known) -> None:
    found = fold(known, NOW)
    assert len(found.tasks) == 3
    for one in found.tasks:
        assert (one.outcome is not None) == (one.state is State.ENDED)
        assert one.silent is None or not one.silent < 0
        if one.outcome is Outcome.SUCCEEDED:
            attempt = known.attempts.get(one.index)
            said = [line for p in known.allocations for line in p.ended if line.task == one.index]
            by_exit = attempt is not None and attempt.exit is not None and attempt.exit.outcome is Outcome.SUCCEEDED
            assert by_exit or any(line.outcome is Outcome.SUCCEEDED for line in said)
    if found.state is State.ENDED:
        assert all(one.state is State.ENDED for one in found.tasks)


@given(OUTCOMES, st.booleans())
def test_states_only_move_forward(outcome: Outcome, native: bool) -> None:
    """The records of an attempt in the order in which they are written; each makes the set larger."""
    once = replace(SPEC, retry=Retry(preempted=0, node_lost=0))
    allocation = place(native_id="n" if native else None)
    attempt: KnownAttempt | None = None
    seen: list[JobView] = []

    def look() -> None:
        seen.append(fold(Known(once, (allocation,), {} if attempt is None else {0: attempt}), NOW))

    seen.append(fold(Known(SPEC), NOW))
    look()
    allocation = replace(allocation, view=view(queue="0"), queue=frozenset({0}))
    look()
    attempt = KnownAttempt(1)
    look()
    allocation = replace(allocation, view=view(running=(RunningTask(0, 1, State.STARTING),)), queue=frozenset())
    look()
    for state in (State.STARTING, State.RUNNING, State.STOPPING, State.ENDED):
        attempt = replace(attempt, heartbeat=beat(state=state), sighting=MOVING)
        look()
    attempt = replace(attempt, exit=verdict(outcome))
    look()
    allocation = replace(allocation, ended=(EndedTask(0, 1, outcome, "why", None, NOW.wall),), view=view())
    look()
    allocation = replace(allocation, released=Released(1, "a1", NOW.wall, "agent"), view=None)
    look()
    for before, after in itertools.pairwise(seen):
        assert forward(before.tasks[0].state, after.tasks[0].state)
        assert forward(before.state, after.state)
    assert seen[-1].outcome is outcome
