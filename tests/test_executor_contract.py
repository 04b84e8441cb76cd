"""What every executor promises, asked of each of them. A new one joins with a `Place` of about 25 lines."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_type_hints

import pytest

from launcher.errors import SubmitError
from launcher.executors import registry
from launcher.executors.contract import Executor, Granted, Part, Submission
from launcher.executors.local import LocalExecutor, Options
from launcher.model.job import JobSpec, pack
from launcher.model.outcome import State
from launcher.model.phase import Resources
from tests.waiting import until
from tests.written_jobs import spec

# An agent in a few words: says that it is there, stays until it is told to end; its argument vector carries the tag as a boot's.
AGENT = 'echo "boot output of $3"; trap "exit 0" TERM; while :; do sleep 0.05; done'
DEADLINE_S = 20
# Allocations are found by a job's id on the whole place, and this suite may run twice at once.
FOUND, BROKEN = f"found-{uuid.uuid4().hex}", f"broken-{uuid.uuid4().hex}"


@dataclass
class Place:
    """One executor, in a place of its own. `stranger` is a well-formed id of an allocation that this place cannot know."""

    executor: Executor
    part: Callable[[str, str, str], Part]  # job, allocation, program -> what is started
    vanish: Callable[[str], None]  # an allocation ends without a word
    stranger: str
    broken: Part | None = None  # a part that the place refuses


def local(root: Path) -> Place:
    def part(job: str, allocation: str, program: str) -> Part:
        argv = ("sh", "-c", program, "launch-boot", str(root), "0" * 64, job, allocation)
        return Part(allocation, (0,), Resources(), argv, str(root / f"logs of\n{job}" / f"{allocation}.log"))

    def vanish(native_id: str) -> None:
        os.kill(int(native_id.partition("/")[2].partition("@")[0]), signal.SIGKILL)

    return Place(
        executor=LocalExecutor(Options(), patience=2.0),
        part=part,
        vanish=vanish,
        stranger="some-other-host/17@4711.0a1b2c3d",
        broken=replace(part(BROKEN, "a9", AGENT), boot=("/nowhere/a program",)),
    )


PLACES: dict[str, Callable[[Path], Place]] = {"local": local}


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: Place = PLACES[request.param](tmp_path)
    return made


def submit(place: Place, job: str = "try-2222", count: int = 1, program: str = AGENT) -> tuple[Granted, ...]:
    parts = tuple(place.part(job, f"a{number}", program) for number in range(count))
    return place.executor.submit(Submission(job, parts, "text"))


def state(place: Place, native_id: str) -> State:
    return place.executor.observe([native_id])[native_id].state


def test_every_executor_is_in_this_suite() -> None:
    assert set(PLACES) == set(registry.names())


def test_its_options_are_a_dataclass_that_refuses_unknown_keys(place: Place) -> None:
    for name in registry.names():
        options = registry.OptionTypes()[name]
        assert get_type_hints(options, include_extras=True)
        assert getattr(options, "__pydantic_config__") == {"extra": "forbid"}  # noqa: B009


def test_submit_grants_each_part_an_id_of_its_own(place: Place) -> None:
    granted = submit(place, count=3)
    assert [one.allocation for one in granted] == ["a0", "a1", "a2"]
    assert len({one.native_id for one in granted}) == 3
    seen = place.executor.observe([one.native_id for one in granted])
    assert {one.state for one in seen.values()} <= {State.PENDING, State.RUNNING}


def test_an_id_that_nobody_knows_is_unknown_and_never_ended(place: Place) -> None:
    found = place.executor.observe([place.stranger, "", "no id at all", "a/b@c.d"])
    assert {one.state for one in found.values()} == {State.UNKNOWN}
    assert all(one.why and one.evidence is None for one in found.values())
    assert place.executor.observe([]) == {}


def test_the_end_is_told_with_what_proves_it(place: Place) -> None:
    (granted,) = submit(place)
    place.vanish(granted.native_id)
    until(lambda: state(place, granted.native_id) is State.ENDED, DEADLINE_S, "the end")
    assert place.executor.observe([granted.native_id])[granted.native_id].evidence


def test_what_carries_the_tag_is_found_without_its_id(place: Place) -> None:
    granted = submit(place, FOUND, count=2)
    submit(place, f"{FOUND}x")
    assert until(lambda: place.executor.find(FOUND), DEADLINE_S, "the allocations by tag") == granted
    assert place.executor.find(FOUND[:-1]) == ()
    place.executor.cancel([granted[0].native_id])
    assert place.executor.find(FOUND) == granted[1:]


def test_cancel_is_done_when_it_is_done_twice(place: Place) -> None:
    first, second = submit(place, count=2)
    for _ in range(2):
        place.executor.cancel([first.native_id, place.stranger, "nonsense"])
        assert until(lambda: state(place, first.native_id) is State.ENDED, DEADLINE_S, "the end")
    assert state(place, second.native_id) in (State.PENDING, State.RUNNING)


def test_what_does_not_listen_is_ended_all_the_same(place: Place) -> None:
    deaf = "trap '' TERM; " + AGENT.partition(";")[0] + "; while :; do sleep 0.05; done"
    (granted,) = submit(place, program=deaf)
    until(lambda: place.executor.console(granted.native_id), DEADLINE_S, "its first words")
    place.executor.cancel([granted.native_id])
    until(lambda: state(place, granted.native_id) is State.ENDED, DEADLINE_S, "the end")


def test_the_console_shows_what_the_boot_said(place: Place) -> None:
    (granted,) = submit(place, program='echo "no Python here" >&2; exit 127')
    found = until(lambda: place.executor.console(granted.native_id), DEADLINE_S, "its words")
    assert found == "no Python here\n"
    assert place.executor.console(place.stranger) is None


def test_a_refused_submit_leaves_nothing_behind(place: Place) -> None:
    if place.broken is None:
        pytest.skip("this place refuses nothing by itself")
    good = place.part(BROKEN, "a0", AGENT)
    with pytest.raises(SubmitError) as raised:
        place.executor.submit(Submission(BROKEN, (good, place.broken), "text"))
    assert raised.value.left is None and raised.value.came_back
    until(lambda: not place.executor.find(BROKEN), DEADLINE_S, "the end of what was started before")


def test_render_is_pure_and_shows_exactly_what_is_sent(place: Place, tmp_path: Path) -> None:
    job: JobSpec = spec("try-2222", tmp_path, 3, pack=2)
    parts = (place.part("try-2222", "a0", AGENT),)
    before = sorted(tmp_path.rglob("*"))
    first, second = (place.executor.render(job, pack(job), parts) for _ in range(2))
    assert first == second and first.parts == parts
    assert "try-2222" in first.text and "3 tasks" in first.text and "trap" in first.text
    assert sorted(tmp_path.rglob("*")) == before


def test_the_inventory_is_numbers_or_unknown(place: Place) -> None:
    found = place.executor.inventory()
    for number in (found.gpus, found.gpu_memory, found.cpus, found.memory):
        assert number is None or (type(number) is int and number >= 0)
