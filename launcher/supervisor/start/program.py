"""Runs a program of the node's for its output, under a deadline, and leaves nothing of it behind."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    import subprocess

LARGEST = 1 << 20
PAUSE_S = 0.02


class Answer(NamedTuple):
    """What a program said, standard error included. `code` is None where it did not end, or was never begun."""

    text: str
    code: Optional[int]
    late: bool


def find(name: str, *folders: str) -> Optional[str]:
    """The program's path: in `folders`, then on PATH, then where administration's programs lie."""
    places = [
        *folders,
        *os.environ.get("PATH", "").split(os.pathsep),
        "/usr/local/bin",
        "/usr/bin",
        "/bin",
        "/usr/sbin",
    ]
    for place in places:
        path = os.path.join(place, name)
        if place and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def output_of(command: Sequence[str], deadline: float, environment: Optional[Mapping[str, str]] = None) -> Answer:
    """Never raises, and never waits longer than `deadline` and a little. The output is cut at a megabyte."""
    import subprocess

    reading, writing = os.pipe()
    try:
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
                env=None if environment is None else dict(environment),
                cwd="/",
            )
        except (OSError, ValueError) as error:
            return Answer(f"{command[0]} could not be run: {error}", None, False)
        finally:
            os.close(writing)
        text = _read(reading, process, time.monotonic() + deadline)
    finally:
        os.close(reading)
    late = process.poll() is None
    _end(process.pid)
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:  # in the middle of a driver's call; whoever reaps our orphans gets it later
        pass
    return Answer(text.decode("utf-8", "replace"), process.returncode, late)


def _read(descriptor: int, process: subprocess.Popen[bytes], limit: float) -> bytes:
    """Until the program has ended, whoever still holds its output; until the limit; until it is too much."""
    text = b""
    while len(text) < LARGEST:
        left = limit - time.monotonic()
        ended = process.poll() is not None
        readable, _, _ = select.select([descriptor], [], [], 0 if ended else max(0.0, min(left, PAUSE_S)))
        if readable:
            block = os.read(descriptor, 65536)
            if not block and ended:
                break
            text += block
            if not block:  # it closed its output and goes on
                time.sleep(PAUSE_S)
        elif ended or left <= 0:
            break
        if left <= 0:
            break
    return text


def _end(group: int) -> None:
    """Also what it left running in its group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
