"""The supervisor's one place to wait: for signals, for what the agent tells, for descriptors, for the time."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from typing import Optional

from launcher.supervisor.start.child import Ended


class Loop:
    """Takes over this process's signals. SIGTERM is remembered in `terminated`, SIGHUP and SIGINT are ignored: a terminal
    that closes or a Ctrl-C elsewhere never ends an attempt."""

    def __init__(self, control: Optional[int]) -> None:
        self.terminated = False
        self.child_ended = False  # some child of this process, since this was last set to False
        self.exited: dict[int, Ended] = {}
        self._control = control
        self._partial = b""
        self._woken, waking = os.pipe()
        for descriptor in (self._woken, waking):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._terminate)
        # The agent starts us with it blocked, so that one that comes early waits until there is somebody to hear it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
        signal.signal(signal.SIGCHLD, self._child_ended)
        for ignored in (signal.SIGHUP, signal.SIGINT):
            signal.signal(ignored, signal.SIG_IGN)
        if control is not None:
            os.set_blocking(control, False)

    @property
    def agent(self) -> bool:
        """Whether the agent is there to tell of orphans: its end of the pipe is open."""
        return self._control is not None

    def wait(self, until: float, *descriptors: int) -> None:
        """Return at the monotonic time `until`, or as soon as anything happens."""
        poll = select.poll()
        for descriptor in (self._woken, *descriptors):
            poll.register(descriptor, select.POLLIN)
        if self._control is not None:
            poll.register(self._control, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(max(0.0, until - time.monotonic()) * 1000)}
        if self._woken in ready:
            try:
                while os.read(self._woken, 4096):
                    pass
            except BlockingIOError:
                pass
        if self._control in ready:
            self._hear()

    def _terminate(self, number: int, frame: object) -> None:
        self.terminated = True

    def _child_ended(self, number: int, frame: object) -> None:
        self.child_ended = True

    def _hear(self) -> None:
        """Lines of JSON; what makes no sense is left out: the agent may be of a later version."""
        assert self._control is not None
        try:
            block = os.read(self._control, 65536)
        except BlockingIOError:
            return
        except OSError:
            block = b""
        if not block:
            self._control = None
            return
        *lines, self._partial = (self._partial + block).split(b"\n")
        for line in lines:
            try:
                said = json.loads(line)["exited"]
                memory, cpu = said.get("maxrss"), said.get("cpu")
                self.exited[int(said["pid"])] = Ended(int(said["status"]), memory, cpu)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
