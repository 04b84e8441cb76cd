"""What comes before the child: unpacking and setting up, in a process of its own, so that the heart keeps beating.

The process dies with the supervisor, and what it loaded dies with it.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from typing import Any, Callable, NoReturn, Optional

from launcher.errors import LaunchError
from launcher.supervisor import faults
from launcher.supervisor.places import Places
from launcher.supervisor.start import child


class Preparing:
    """Forked at construction; call it while this process has one thread. `fileno` is readable when something was said."""

    def __init__(self, places: Places, environment: Mapping[str, str]) -> None:
        self.stage = "unpack"
        self.result: Optional[dict[str, Any]] = None
        self._buffer = b""
        incoming, outgoing = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(incoming)
            _run(places, environment, outgoing, parent)
        os.close(outgoing)
        os.set_blocking(incoming, False)
        self._incoming = incoming

    def fileno(self) -> int:
        return self._incoming

    def read(self) -> None:
        """Take what was said: a new `stage`, at last the `result`."""
        try:
            while block := os.read(self._incoming, 65536):
                self._buffer += block
        except BlockingIOError:
            return self._lines()
        self._lines()
        if self.result is None:
            self.result = {"failed": f"preparing the attempt: its process ended in the stage {self.stage}"}
        return None

    def end(self) -> None:
        """Kill it if it still runs, with all that it has started, and let it go."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.reap(self.pid, child.KILLED_S)
        os.close(self._incoming)

    def _lines(self) -> None:
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "stage" in said:
                self.stage = said["stage"]
            else:
                self.result = said


def _run(places: Places, environment: Mapping[str, str], outgoing: int, parent: int) -> NoReturn:
    """In the process: says one line per stage and one for the end, and never returns."""
    code = 0
    try:
        os.setpgid(0, 0)
        for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
            signal.signal(each, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        child.die_with_parent()
        if os.getppid() != parent:
            os._exit(1)
        said = _prepare(places, environment, lambda stage: _say(outgoing, {"stage": stage}))
        _say(outgoing, said)
    except BaseException as error:  # noqa: BLE001 - told as the reason; a forked copy must not go on as its parent
        _say(outgoing, {"failed": f"preparing the attempt: {type(error).__name__}: {error}"})
        code = 1
    finally:
        os._exit(code)


def _prepare(places: Places, environment: Mapping[str, str], stage: Callable[[str], None]) -> dict[str, Any]:
    from launcher.supervisor.start import (
        worktree,  # tarfile and what it needs shall not stay in the supervisor's memory
    )

    try:
        stage("unpack")
        absent = worktree.prepare(places)
        made: Optional[str] = None
        if places.spec.setup.requirements is not None:
            from launcher.supervisor.start import requirements

            stage("setup")
            made = str(requirements.make(places, environment))
        return {"absent": list(absent), "environment": made}
    except LaunchError as error:
        return {"failed": faults.in_one_line(error)}


def _say(descriptor: int, what: dict[str, Any]) -> None:
    os.write(descriptor, json.dumps(what).encode() + b"\n")
