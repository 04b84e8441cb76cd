"""Ending what an attempt has left behind, when no supervisor is there to do it: asked first, then killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Optional

from launcher.model.records import Claim, ProcessId
from launcher.store import processes

KILL_AFTER_S = 5.0


def left_of(attempt_id: str, claim: Optional[Claim]) -> list[ProcessId]:
    """Everything that still runs and belongs to an attempt: the child's tree, and what carries its mark.

    A supervisor is not among them: it has no mark, and is above the child.
    """
    pids = set(processes.marked(attempt_id))
    if claim is not None and processes.alive(claim.child):
        pids.update(processes.descendants([claim.child.pid]))
    else:
        pids.update(processes.descendants(pids))
    pids.discard(os.getpid())
    found = (processes.process_id(pid) for pid in sorted(pids))
    return [process for process in found if process is not None and processes.alive(process) is not False]


def send(targets: list[ProcessId], number: int) -> None:
    """A signal to each that is still the process it was."""
    for process in targets:
        if processes.alive(process) is not False:
            try:
                os.kill(process.pid, number)
            except OSError:
                pass  # it ended, or is another user's


@dataclass
class Ending:
    """Call `step` again and again until it says that nothing is left. `find` looks for what is left."""

    find: Callable[[], list[ProcessId]]
    begun: float  # monotonic
    _asked: set[ProcessId] = field(default_factory=set)

    def step(self, now: float) -> bool:
        """True: nothing is left."""
        left = self.find()
        if now - self.begun >= KILL_AFTER_S:
            send(left, signal.SIGKILL)
        else:
            send([process for process in left if process not in self._asked], signal.SIGTERM)
            self._asked.update(left)
        return not left
