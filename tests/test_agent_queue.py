"""The queue of an allocation and the rule of the machine's queue: pure parts, and what must hold of them whatever comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.agent.queue import PAUSES_S, Queue, divide, need_of, shares_of
from launcher.agent.shares import Entry, Need, Taken, choose, never_fits, why_not
from launcher.model.job import Share
from launcher.model.outcome import Outcome
from launcher.model.phase import Resources, Retry
from launcher.model.records import Order
from launcher.store.machine import Capacity
from tests.written_jobs import spec


def share(*tasks: int, slots: int = 1, gpus: int = 0) -> Share:
    return Share(tasks, Resources(gpus=gpus), slots)


def taken(gpus: Sequence[str] = ()) -> Taken:
    return Taken("x", Need("j", ()), tuple(gpus), -1)


def grant_all(queue: Queue, gpus: Sequence[str] = ()) -> None:
    for one in list(queue.wanted()):
        queue.opened(one, taken(gpus))


def started(queue: Queue, now: float = 0.0) -> list[int]:
    found = []
    while (start := queue.next_start(now)) is not None:
        found.append(start.task)
    return found


@pytest.mark.parametrize(
    ("gpus", "slots", "parts"),
    [
        ("", 2, [(), ()]),
        ("0123", 2, [("0", "1"), ("2", "3")]),
        ("0123", 3, [("0", "1"), ("2",), ("3",)]),
        ("01", 4, [("0",), ("1",), ("0",), ("1",)]),
        ("0", 1, [("0",)]),
    ],
)
def test_gpus_are_divided_among_the_slots(gpus: str, slots: int, parts: list[tuple[str, ...]]) -> None:
    assert list(divide(tuple(gpus), slots)) == parts


@given(st.integers(0, 9), st.integers(1, 9))
def test_every_gpu_is_used_and_none_twice_where_there_are_enough(count: int, slots: int) -> None:
    gpus = tuple(str(n) for n in range(count))
    parts = divide(gpus, slots)
    assert len(parts) == slots
    assert {gpu for part in parts for gpu in part} == set(gpus)
    if count >= slots:
        assert sum(map(len, parts)) == count
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_an_order_names_the_tasks_and_their_order(tmp_path: Path) -> None:
    job = spec("a-1", tmp_path, 5, pack=2)
    order = Order(1, "a0", "a-1", (4, 0, 2, 77), 0.0, "me")
    assert [one.tasks for one in shares_of(job, order)] == [(4, 0), (2,)]


def test_tasks_start_in_order_as_far_as_limit_and_slots_reach() -> None:
    queue = Queue((share(0, 1, slots=2), share(2), share(3)), 3, Retry())
    grant_all(queue)
    assert [one.tasks for one in queue.closed] == [(3,)]
    assert started(queue) == [0, 1, 2]
    queue.ended(1)
    assert list(queue.wanted()) == [share(3)]
    grant_all(queue)
    assert started(queue) == [3]
    for task in (0, 2, 3):
        queue.ended(task)
    assert queue.empty
    assert [one.share.tasks for one in queue.over()] == [(0, 1), (2,), (3,)]


def test_a_packed_share_gives_each_task_its_own_gpus() -> None:
    queue = Queue((share(0, 1, slots=2, gpus=2),), None, Retry())
    queue.opened(queue.closed[0], taken(("4", "7")))
    first, second = queue.next_start(0), queue.next_start(0)
    assert first is not None and second is not None
    assert [first.gpus, second.gpus] == [("4",), ("7",)]


def test_a_task_is_tried_again_in_its_share_after_a_pause_as_often_as_the_phase_says() -> None:
    queue = Queue((share(0), share(1)), 1, Retry(failed=1, preempted=1))
    grant_all(queue)
    assert started(queue) == [0]
    assert queue.try_again(0, Outcome.FAILED, 100.0)
    assert queue.waiting() == [0, 1] and started(queue, 100.0) == []
    assert queue.next_pause(100.0) == 100.0 + PAUSES_S[0]
    assert started(queue, 101.5) == [0]
    assert not queue.try_again(0, Outcome.FAILED, 102.0)
    assert queue.try_again(0, Outcome.PREEMPTED, 102.0)
    assert queue.next_pause(102.0) == 102.0 + PAUSES_S[1]
    assert (
        not queue.try_again(0, Outcome.CANCELLED, 103.0) if started(queue, 200.0) == [0] else pytest.fail("not started")
    )


def test_a_stop_takes_out_what_waits_and_leaves_what_runs() -> None:
    queue = Queue((share(0), share(1, 2, 3, slots=3), share(4)), 1, Retry())
    grant_all(queue)
    assert started(queue) == [0]
    assert queue.cancel({2, 4, 0}) == [2, 4]
    assert queue.waiting() == [1, 3]
    assert next(iter(queue.closed)).slots == 2
    assert queue.cancel(None) == [1, 3]
    assert not queue.empty
    queue.ended(0)
    assert queue.empty


# --- the machine's rule -------------------------------------------------------------------------------------------------------

MACHINE = Capacity(("0", "1"), 4, 1000)


def entry(at: float, need: Need, *, waits: bool, gpus: Sequence[str] = ()) -> Entry:
    return Entry(f"e{at}", (at, "j"), need, waits, tuple(gpus), MACHINE.gpus if waits else ())


def test_what_can_never_fit_is_said_in_words() -> None:
    assert never_fits(Need("j", (0,), gpus=3), MACHINE) == "3 GPUs are asked for, this machine offers 2"
    assert never_fits(Need("j", (0,), cpus=5), MACHINE) == "5 cpus are asked for, this machine offers 4"
    assert "memory" in (never_fits(Need("j", (0,), memory=1001), MACHINE) or "")
    assert never_fits(Need("j", (0,), memory=10**15), Capacity((), 1, None)) is None
    assert never_fits(Need("j", (0,), gpus=2, cpus=4, memory=1000), MACHINE) is None


def test_a_younger_ticket_does_not_take_what_an_older_one_waits_for() -> None:
    running = entry(1, Need("first", (0,), gpus=1, cpus=1), waits=False, gpus="0")
    older = entry(2, Need("second", (0,), gpus=2, cpus=1), waits=True)
    assert why_not(Need("third", (0,), gpus=1), MACHINE, [running, older], (3, "j")) == (
        "1 GPU and 1 cpu (second was submitted earlier and waits for 2 GPUs and 1 cpu)"
    )
    assert why_not(Need("third", (0,), cpus=2), MACHINE, [running, older], (3, "j")) is None
    assert why_not(Need("zeroth", (0,), gpus=1), MACHINE, [running, older], (0, "j")) is None
    assert why_not(Need("x", (0,), gpus=2), MACHINE, [running], (0, "j")) == "2 GPUs and 1 cpu (taken by first)"
    assert choose(Need("x", (0,), gpus=1), MACHINE, [running]) == ("1",)


needs = st.builds(Need, st.just("j"), st.just((0,)), st.integers(0, 2), st.integers(1, 4), st.integers(0, 1000))


@settings(max_examples=150, deadline=None)
@given(st.lists(needs, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_machine_is_never_overcommitted_and_nobody_is_passed_by(asked: list[Need], chance: object) -> None:
    """Tickets in any order of asking; shares end at random. An older ticket that fits an empty rest is never delayed by
    a younger one: whenever a younger one is granted, each older one that waits could not have used what it took."""
    pick = getattr(chance, "randrange")  # noqa: B009
    waiting = {n: entry(n, need, waits=True) for n, need in enumerate(asked)}
    held: dict[int, Entry] = {}
    order: list[int] = []
    while waiting or held:
        for number in sorted(waiting, key=lambda _: pick(1000)):
            others = [*held.values(), *(e for n, e in waiting.items() if n != number)]
            if why_not(asked[number], MACHINE, others, (number, "j")) is None:
                could = [n for n in waiting if n < number and why_not(asked[n], MACHINE, others, (n, "j")) is None]
                gpus = choose(asked[number], MACHINE, list(held.values()))
                held[number] = entry(number, asked[number], waits=False, gpus=gpus)
                del waiting[number]
                order.append(number)
                for older in could:
                    left = [*held.values(), *(e for n, e in waiting.items() if n != older)]
                    assert why_not(asked[older], MACHINE, left, (older, "j")) is None
        used = [gpu for one in held.values() for gpu in one.gpus]
        assert len(used) == len(set(used)) <= 2
        assert sum(one.need.cpus for one in held.values()) <= 4
        assert sum(one.need.memory for one in held.values()) <= 1000
        assert held, "somebody must be granted on an empty machine"
        del held[sorted(held)[pick(len(held))]]
    assert sorted(order) == list(range(len(asked)))


def test_a_share_asks_for_what_its_tasks_were_promised() -> None:
    assert need_of("j", Share((3,), Resources(gpus=2, cpus=8, memory=None))) == Need("j", (3,), 2, 8, 0)
