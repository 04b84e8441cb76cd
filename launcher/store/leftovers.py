"""Ending what an attempt has left behind, when no supervisor is there to do it: asked first, then killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from launcher.model.records import Claim, ProcessId
from launcher.store import processes

KILL_AFTER_S = 5.0


def left_of(store: Path, attempt_id: str, claim: Optional[Claim]) -> list[ProcessId]:
    """Everything that still runs and belongs to an attempt: the child's tree, and what carries its mark.

    A supervisor is not among them: it has no mark, and is above the child. Nor is what a task of it has submitted, nor an
    attempt of a job that has the same id in another store.
    """
    pids = set(processes.marked(attempt_id, os.fspath(store)))
    if claim is not None and processes.alive(claim.child):
        pids.update(processes.descendants([claim.child.pid]))
    else:
        pids.update(processes.descendants(pids))
    pids.difference_update(of_others(pids, attempt_id, os.fspath(store)))
    pids.discard(os.getpid())
    found = (processes.process_id(pid) for pid in sorted(pids))
    return [process for process in found if process is not None and processes.alive(process) is not False]


def of_others(pids: Iterable[int], attempt_id: str, store: str) -> list[int]:
    """Those of `pids` that belong to something else which a task of the attempt has started, with all beneath them."""
    others = [pid for pid in pids if processes.of_another(pid, attempt_id, store)]
    return processes.descendants(others) if others else []


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


def supervisors(store: Path, job: str) -> dict[tuple[int, int], ProcessId]:
    """Task and attempt to the supervisor that runs on this host, found by its command line.

    It also finds one that has not said anything yet. Other users' processes are not looked at.
    """
    found = {}
    real = os.path.realpath(store)
    for pid in processes.all_pids():
        given = _given(pid)
        if given.get(b"--job") != os.fsencode(job):
            continue
        if os.path.realpath(os.fsdecode(given.get(b"--store", b""))) != real:
            continue
        task, attempt = given.get(b"--task", b""), given.get(b"--attempt", b"")
        process = processes.process_id(pid) if task.isdigit() and attempt.isdigit() else None
        if process is not None and processes.alive(process):
            found[int(task), int(attempt)] = process
    return found


def _given(pid: int) -> dict[bytes, bytes]:
    """The options of one of our programs on a node; empty for any other program."""
    words = processes.command_line(pid)
    if b"--store" not in words or not processes.is_ours(words):
        return {}
    words = words[words.index(b"--store") :]
    return dict(zip(words[::2], words[1::2]))
