"""What the kernel does not let go of, though it was killed, keeps nobody waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.model.outcome import Outcome
from launcher.supervisor.start.versions import Query
from tests.supervising import Stage

# A traced process that is killed stays until its tracer lets go: from outside, as one that waits for a dead disk.
HOLD = """
import ctypes, sys, time
if ctypes.CDLL(None, use_errno=True).ptrace(0x4206, int(sys.argv[1]), None, None):
    sys.exit(77)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def hold() -> Iterator[Callable[[int], None]]:
    tracers: list[subprocess.Popen[bytes]] = []

    def begin(pid: int) -> None:
        tracer = subprocess.Popen([sys.executable, "-c", HOLD, str(pid)], stdout=subprocess.PIPE)
        tracers.append(tracer)
        assert tracer.stdout is not None
        if tracer.stdout.readline() != b"held\n":
            pytest.skip("this machine lets nobody trace")

    yield begin
    for tracer in tracers:
        tracer.kill()
        tracer.wait(10)
        if tracer.stdout is not None:
            tracer.stdout.close()


def test_the_question_for_versions_is_given_up(tmp_path: Path, hold: Callable[[int], None]) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)
    query = Query([str(program)], dict(os.environ), tmp_path / "answer", time.monotonic())
    pid = query._pid
    assert pid is not None
    hold(pid)
    begun = time.monotonic()
    query.end()
    assert time.monotonic() - begun < 5
    assert query.poll(time.monotonic()) and query.answer == {}


def test_an_attempt_is_cancelled_while_its_preparation_hangs(tmp_path: Path, hold: Callable[[int], None]) -> None:
    from launcher.model.phase import Setup
    from launcher.store import processes
    from tests.waiting import until

    stage = Stage(tmp_path)
    slow = tmp_path / "uv"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o700)
    (stage.project / "requirements.txt").write_text("x\n")
    stage.job("pass", setup=Setup(requirements="requirements.txt"))
    process = stage.start(env={"LAUNCH_UV": str(slow), "XDG_CACHE_HOME": str(tmp_path / "cache")})
    preparing = until(
        lambda: [one.pid for one in processes.tree([process.pid]) if one.parent == process.pid], 10, "the preparation"
    )
    until(lambda: (b := stage.heartbeat()) and b.stage == "setup", 10, "the stage setup")
    hold(preparing[0])
    stage.stop()
    assert stage.ended(deadline=15).outcome is Outcome.CANCELLED
