"""What only this machine's executor promises: agents that outlive the terminal, and text that a person can run."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.executors.contract import Part, Submission
from launcher.executors.local import LocalExecutor, Options, create, native_id
from launcher.model.job import Place, pack
from launcher.model.outcome import State
from launcher.model.phase import Resources
from launcher.store import processes
from tests.local_jobs import DEADLINE_S, gone, job, sh
from tests.waiting import until
from tests.written_jobs import me

SUBMITTER = """
import sys
from dataclasses import replace
from launcher.executors.contract import Part, Submission
from launcher.executors.local import LocalExecutor, Options
from launcher.model.phase import Resources
argv = ("sh", "-c", "while :; do sleep 0.1; done", "launch-boot", sys.argv[1], "0", "tty-2222", "a0")
part = Part("a0", (0,), Resources(), argv, sys.argv[1] + "/a0.log")
print(LocalExecutor(Options()).submit(Submission("tty-2222", (part,), ""))[0].native_id, flush=True)
sys.stdin.read()
"""


def test_an_agent_survives_the_terminal_it_was_started_from(tmp_path: Path) -> None:
    """The terminal is closed under the submitting program, as a lost connection does: SIGHUP to all that belongs to it."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(Path(__file__).parent.parent)
        os.execv(sys.executable, [sys.executable, "-c", SUBMITTER, str(tmp_path)])
    text = b""
    while b"\n" not in text:
        text += os.read(terminal, 1000)
    native = text.decode().split()[0]
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] != 0
    executor = LocalExecutor(Options(), patience=0.2)
    assert executor.observe([native])[native].state is State.RUNNING
    found = processes.stat(int(native.partition("/")[2].partition("@")[0]))
    assert found is not None and found.session == found.pid, "a session of its own"
    executor.cancel([native])
    assert executor.observe([native])[native].state is State.ENDED


def test_an_id_of_an_earlier_boot_has_ended_and_a_pid_that_was_reused_too() -> None:
    mine = native_id(me())
    executor = LocalExecutor(Options())
    assert executor.observe([mine])[mine].state is State.RUNNING
    rebooted = mine.replace(f".{processes.boot_id()[:8]}", ".00000000")
    found = executor.observe([rebooted])[rebooted]
    assert found.state is State.ENDED and "rebooted" in (found.evidence or "")
    other = native_id(replace(me(), start=1))
    assert executor.observe([other])[other].state is State.ENDED


def test_an_id_of_another_machine_of_the_same_name_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MACHINE_ID", str(tmp_path / "machine-id"))
    (tmp_path / "machine-id").write_text("0" * 31 + "1\n")
    processes.machine.cache_clear()
    there = native_id(replace(me(), boot="11111111-0"))
    assert LocalExecutor(Options()).observe([there])[there].state is State.ENDED, "this one, before it was booted"
    (tmp_path / "machine-id").write_text("0" * 31 + "2\n")
    processes.machine.cache_clear()
    found = LocalExecutor(Options()).observe([there])[there]
    processes.machine.cache_clear()
    assert found.state is State.UNKNOWN and "another machine" in (found.why or "")


def test_the_rendered_command_starts_what_submit_starts(tmp_path: Path) -> None:
    one = job(tmp_path, sh("true"))
    log = tmp_path / "it's a log"
    part = Part("a0", (0,), Resources(), ("sh", "-c", 'echo "$0|$1"', "x y", "z'\n$HOME"), str(log))
    text = one.executor.render(one.spec, pack(one.spec), (part,)).text
    subprocess.run(["bash", "-c", text + "wait"], check=True, timeout=20)
    assert log.read_text() == "x y|z'\n$HOME\n"


def test_the_client_python_is_what_the_boot_tries_first_and_an_attempt_is_not_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCH_ATTEMPT_ID", "outer-2222/0/1")
    log = tmp_path / "log"
    part = Part("a0", (0,), Resources(), ("sh", "-c", 'echo "$LAUNCH_PYTHON:$LAUNCH_ATTEMPT_ID"; pwd'), str(log))
    LocalExecutor(Options()).submit(Submission("x-2222", (part,), ""))
    until(lambda: log.read_text().count("\n") == 2, DEADLINE_S, "its words")
    assert log.read_text() == f"{os.path.realpath(sys.executable)}:\n/\n"


def test_a_cancelled_agent_that_hangs_takes_its_attempts_along(tmp_path: Path) -> None:
    """The agent and its supervisor are stopped (SIGSTOP), so that neither can do anything in order."""
    one = job(tmp_path, sh("trap '' TERM; setsid sleep 60 & sleep 60"))
    granted = one.submit()
    claim = one.claim()
    for pid in (one.agent(), claim.supervisor.pid):
        os.kill(pid, signal.SIGSTOP)
    executor = LocalExecutor(Options(), patience=0.5)
    executor.cancel([granted.native_id])
    for pid in (one.agent(), claim.supervisor.pid, claim.child.pid):
        until(lambda p=pid: gone(p), DEADLINE_S, f"the end of {pid}")  # type: ignore[misc]
    assert processes.marked(f"{one.name}/0/1") == []


def test_options_come_from_the_resolved_place() -> None:
    place = Place("p", "local", {"gpus": [0, 1], "cpus": 3, "memory": 10, "python": "/x"}, "/s", "/w")
    found = create(place).inventory()
    assert (found.gpus, found.cpus, found.memory) == (2, 3, 10)
