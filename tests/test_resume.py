"""A later attempt goes on from the newest checkpoint also where nobody saw the end of the earlier one."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.model.phase import Checkpoints
from launcher.store import keys, processes, records
from launcher.supervisor import places
from launcher.supervisor.faults import StartFailed
from launcher.supervisor.start import resume
from tests.supervising import ALLOCATION, JOB, Stage
from tests.waiting import until

SAVES = """
import json, os, sys, time
from launcher import task
found = task.resume_from()
first = int(open(found).read()) if found else 0
print('from', first, flush=True)
for step in range(first + 1, first + 4):
    with open(f'saved/step-{step}', 'w') as file:
        file.write(str(step))
    {declare}
print('saved', flush=True)
{then}
"""
DECLARE = "task.checkpoint_saved(f'saved/step-{step}', step)"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.kill()
    claim = records.read_claim(found.store, JOB, 0, 1)
    if claim is not None and processes.alive(claim.child):
        os.killpg(claim.child.pid, signal.SIGKILL)


def everybody_dies(stage: Stage) -> None:
    """As in a power cut: neither supervisor nor child says another word."""
    claim = records.read_claim(stage.store, JOB, 0, 1)
    assert claim is not None
    stage.kill()
    os.killpg(claim.child.pid, signal.SIGKILL)
    until(lambda: processes.alive(claim.child) is not True, 10, "the end of the child")


def job(stage: Stage, declare: str, then: str, beat: float = 60.0) -> None:
    script = SAVES.replace("{declare}", declare).replace("{then}", then)
    stage.job(script, checkpoints=Checkpoints("saved", "step-*", keep_last=5), beat=beat)


def test_a_checkpoint_declared_a_moment_before_a_power_cut_is_where_the_next_attempt_begins(stage: Stage) -> None:
    job(stage, DECLARE, "time.sleep(60) if not found else None")
    stage.start()
    stage.until_log("saved")
    everybody_dies(stage)
    stage.run(2)
    assert stage.output(2).startswith("from 3\n")


def test_what_was_declared_before_an_end_in_order_is_found_where_it_was_moved_to(stage: Stage) -> None:
    job(stage, DECLARE, "sys.exit(3) if not found else None")
    assert stage.run(1).exit_code == 3
    stage.run(2)
    claim = records.read_claim(stage.store, JOB, 0, 2)
    assert claim is not None and claim.resumed_from == str(stage.data(1) / "checkpoints/saved/step-3")


def test_what_was_not_declared_and_may_be_half_written_is_not_resumed_from(stage: Stage) -> None:
    declare = "step < 3 and " + DECLARE
    job(stage, declare, "sys.exit(3) if not found else None")
    stage.run(1)
    stage.run(2)
    assert stage.output(2).startswith("from 2\n")


@pytest.mark.parametrize(
    "line", [b'{"checkpoint": 7}\n', b'{"checkpoint": "\\u0000"}\n', b'"checkpoint"\n', b'{"checkpoint']
)
def test_garbage_among_the_declarations_hides_none_of_them(stage: Stage, line: bytes) -> None:
    job(stage, DECLARE, "sys.exit(3) if not found else None")
    stage.run(1)
    stage.store.append(keys.of_attempt(JOB, 0, 1, keys.PROGRESS), line)
    stage.run(2)
    assert stage.output(2).startswith("from 3\n")


@pytest.mark.parametrize("lost", ["saved", "tasks"])
def test_a_disk_that_does_not_answer_is_no_reason_to_begin_from_the_start(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    job(stage, DECLARE, "")
    stage.run()
    spec = records.read_spec(stage.store, JOB)
    assert spec is not None
    stage.store.claim(keys.attempt(JOB, 0, 2))
    second = places.of(stage.store.root, spec, spec.tasks[0], 2, ALLOCATION)
    found = resume.newest(second, 0.0)
    assert found is not None and found.name == "step-3"
    for name in ("scandir", "listdir"):
        real = getattr(os, name)

        def stale(path: str, real: Callable[[str], object] = real) -> object:
            if f"/{lost}" in os.fspath(path):
                raise OSError(errno.ESTALE, "Stale file handle", os.fspath(path))
            return real(path)

        monkeypatch.setattr(os, name, stale)
    with pytest.raises(StartFailed, match=r"resume from.*Stale file handle"):
        resume.newest(second, 0.0)
