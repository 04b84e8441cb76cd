"""A task that submits a job of its own: the new job is nobody's child and outlives the attempt that submitted it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from launcher.model.outcome import Outcome
from launcher.store import processes
from tests.supervising import REPOSITORY, Stage
from tests.waiting import until

# As the executor starts an agent, from a program that ends at once; the agent here is one that waits.
SUBMIT = """
import sys, time, subprocess, os
sys.path.insert(0, {repository!r})
from launcher.executors import local
from launcher.executors.contract import Part
from launcher.model.phase import Resources
part = Part("a1", (0,), Resources(), ("sh", "-c", {boot!r}, "launch-boot", "/nowhere", "0", "nested-k3f9", "a1"), {log!r})
print("agent", local._start(part), flush=True)
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_an_agent_that_a_task_starts_outlives_the_attempt(tmp_path: Path, stopped: bool) -> None:
    stage = Stage(tmp_path)
    log = tmp_path / "nested.log"
    boot = f'"{sys.executable}" -c "import time; time.sleep(600)" & wait'
    submit = SUBMIT.format(repository=str(REPOSITORY), boot=boot, log=str(log))
    stage.job(
        f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {submit!r}], check=True)\n"
        + "time.sleep(600)" * stopped
        + "time.sleep(0.5)" * (not stopped)
    )
    stage.start()
    stage.until_log("agent ")
    native = stage.output().split("agent ", 1)[1].split()[0]
    pid = int(native.partition("/")[2].partition("@")[0])
    agent = processes.process_id(pid)
    assert agent is not None
    try:
        below = until(lambda: set(processes.descendants([pid])) - {pid}, 10, "the agent to have a child")
        if stopped:
            stage.stop()
        record = stage.ended()
        assert record.outcome is (Outcome.CANCELLED if stopped else Outcome.SUCCEEDED), record.reason
        assert processes.alive(agent), "it was ended with the attempt that started it"
        assert below <= set(processes.descendants([pid]))
    finally:
        for each in processes.descendants([pid]):
            os.kill(each, signal.SIGKILL)
