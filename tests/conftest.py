"""What every test is given: a home of its own, folders with odd names, an end for each process that it starts."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import until

MARK = "TESTS_OF_LAUNCH"
"""Every process that a test starts inherits this variable, so that those it has left behind can be found."""

ODD_NAME = "a 'folder' with \"quotes\"; $HOME & a\nnewline"


@pytest.fixture(autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A home without settings, no `LAUNCH_*` variable, no network for model hubs; yields its mark.

    At the end of the test, whatever it has left running is killed.
    """
    home = tmp_path_factory.mktemp("home")
    old_home = Path.home()
    for name in os.environ:
        if name.startswith(("LAUNCH_", "XDG_", "GIT_", "SLURM_")):
            monkeypatch.delenv(name)
    kept = {
        "PIP_CONFIG_FILE": old_home / ".config/pip/pip.conf",
        "UV_CONFIG_FILE": old_home / ".config/uv/uv.toml",
        "UV_CACHE_DIR": old_home / ".cache/uv",
        "PIP_CACHE_DIR": old_home / ".cache/pip",
    }
    for name, path in kept.items():
        if name not in os.environ and path.exists():
            monkeypatch.setenv(name, str(path))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.setenv(name, "A Researcher")
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "researcher@example.org")
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    yield mark
    end_all(mark)


@pytest.fixture
def odd_path(tmp_path: Path) -> Path:
    """An empty folder whose name has spaces, quotes, a semicolon, a dollar sign and a newline."""
    path = tmp_path / ODD_NAME
    path.mkdir()
    return path


def left_running(mark: str) -> list[int]:
    """Processes other than this one, zombies excepted, whose environment at their start carried `mark`.

    A program that is started with an environment of its own choosing is not found.
    """
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            carried = Path("/proc", entry, "environ").read_bytes().split(b"\0")
        except OSError:  # ended since, or another user's
            continue
        if wanted in carried:
            found.append(int(entry))
    return found


def end_all(mark: str) -> None:
    """SIGKILL to every process that carries `mark`, again until none is left; AssertionError after ten seconds.

    A test kills its own children so; one that a parent has yet to reap has no environment any more and does not count.
    """

    def none_left() -> bool:
        alive = left_running(mark)
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not alive

    until(none_left, 10, lambda: f"the end of processes {left_running(mark)} that this test started")
