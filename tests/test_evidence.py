"""Evidence of a stall, from real processes: stacks, files, the log's end; in time, redacted, and without any harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.model.redaction import REDACTED, redact
from launcher.model.signals import STACKS_SIGNAL
from launcher.store import keys
from launcher.store.processes import descendants
from launcher.supervisor.postmortem import anatomy, evidence
from launcher.supervisor.readings.sample import Watched
from tests.test_observer import spec
from tests.waiting import until

HERE = str(Path(__file__).parent.parent)
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    begun: list[subprocess.Popen[bytes]] = []

    def run(command: list[str], **environ: str) -> subprocess.Popen[bytes]:
        with open(tmp_path / keys.LOG, "ab") as log:
            process = subprocess.Popen(
                command, start_new_session=True, stdout=log, stderr=log, env={**os.environ, **environ}
            )
        begun.append(process)
        return process

    yield run
    for process in begun:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(10)


def watched(folder: Path, secrets: tuple[str, ...] = ()) -> Watched:
    job = replace(spec(), secrets=secrets)
    return Watched(job, job.tasks[0], 1, folder, None, (folder,), (), time.time(), None, list)


STUCK = """
import sys, time
sys.path.insert(0, {here!r})
from launcher import task
kept = open({data!r}, "w"); kept.write("x" * 1000); kept.flush()
def waiting_for_the_peer():
    print("stuck", flush=True)
    time.sleep(600)
waiting_for_the_peer()
"""


def test_a_stuck_python_shows_its_stacks_its_files_and_its_log(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "correct-horse-battery")
    (tmp_path / keys.LOG).write_text("the key is correct-horse-battery\n" + "line\n" * 500)
    stacks = tmp_path / keys.STACKS
    stacks.parent.mkdir()
    code = STUCK.format(here=HERE, data=str(tmp_path / "data file"))
    child = start([sys.executable, "-c", code], LAUNCH_STACKS_SIGNAL=str(STACKS_SIGNAL), LAUNCH_STACKS_FILE=str(stacks))
    until(lambda: b"stuck" in (tmp_path / keys.LOG).read_bytes(), 20, "the child to be stuck")
    names = evidence.capture(
        tmp_path / keys.EVIDENCE, watched(tmp_path, ("A_SECRET",)), descendants([child.pid]), deadline_s=20
    )
    texts = {name.split("-", 1)[1]: (tmp_path / keys.EVIDENCE / name).read_text() for name in names}
    assert "waiting_for_the_peer" in texts["stacks.txt"]
    assert f"== {child.pid}" in texts["processes.txt"] and "thread" in texts["processes.txt"]
    assert "data file" in texts["open-files.txt"] and "of 1000 bytes" in texts["open-files.txt"]
    assert "%" in texts["disks.txt"]
    assert len(texts["log.txt"].splitlines()) == evidence.LINES
    assert all("correct-horse-battery" not in text for text in texts.values())
    assert child.poll() is None, "looking at it must not end it"
    if "not installed" not in texts["py-spy.txt"]:
        assert str(child.pid) in texts["py-spy.txt"]
    again = evidence.capture(tmp_path / keys.EVIDENCE, watched(tmp_path), [child.pid], deadline_s=10)
    assert not set(again) & set(names)
    assert child.poll() is None


def test_a_process_that_does_not_catch_the_signal_never_gets_it(start: Start, tmp_path: Path) -> None:
    assert STACKS_SIGNAL is not None
    child = start(["sleep", "600"])
    until(lambda: anatomy.portrait(child.pid).startswith(f"== {child.pid} sleep"), 10, "sleep to have begun")
    assert not anatomy.catches(child.pid, STACKS_SIGNAL)
    assert evidence.python_stacks([child.pid], tmp_path / "stacks.txt", 0.2) == ""
    names = evidence.capture(tmp_path / keys.EVIDENCE, watched(tmp_path), [child.pid], deadline_s=10)
    assert any(name.endswith("processes.txt") for name in names)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.3)


def test_programs_that_hang_cost_the_deadline_and_no_more(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("nvidia-smi", "df"):
        program = programs / name
        program.write_text("#!/bin/sh\necho begun\nsleep 600 &\nsleep 600\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    child = start(["sleep", "600"])
    begun = time.monotonic()
    names = evidence.capture(tmp_path / keys.EVIDENCE, watched(tmp_path), [child.pid], deadline_s=2)
    assert time.monotonic() - begun < 5
    assert any(name.endswith("processes.txt") for name in names)
    until(
        lambda: not [pid for pid in descendants([os.getpid()]) if str(programs) in anatomy.portrait(pid)],
        10,
        "the programs that hung to be ended",
    )


def test_nothing_that_is_wrong_with_the_surroundings_raises(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    assert evidence.capture(tmp_path / "a file" / "below", watched(tmp_path), [1, 2**22 + 5], 1.0) == ()
    names = evidence.capture(tmp_path / "evidence", watched(tmp_path / "not there"), [2**22 + 5, -1, 0], 3.0)
    assert isinstance(names, tuple)


@pytest.mark.parametrize(
    "secret",
    [
        "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_credential_goes(secret: str) -> None:
    found = redact(f"before {secret} after")
    assert secret not in found and REDACTED in found and found.startswith("before ")


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("WANDB_API_KEY=0123456789abcdef0123", "0123456789abcdef0123"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
        ('{"password": "hunter2hunter2"}', "hunter2hunter2"),
        ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
        ("https://user:s3cretpw@host/simple", "s3cretpw"),
    ],
)
def test_values_of_what_is_named_like_a_secret_go(text: str, gone: str) -> None:
    assert gone not in redact(text)


@pytest.mark.parametrize(
    "text", ["loss: 0.123456", "token: 1234567", "tokens per second: 123.45678", "keyboard = attached"]
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(), st.lists(st.text(min_size=6, max_size=20), max_size=4))
def test_known_values_are_gone_whatever_the_text(text: str, known: list[str]) -> None:
    found = redact(text + "".join(known), known)
    for value in known:
        assert value not in found.replace(REDACTED, "") or value in REDACTED
