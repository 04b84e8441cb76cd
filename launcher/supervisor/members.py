"""Who belongs to an attempt: the child, everything beneath it, its group, and those that have got away from both."""

from __future__ import annotations

import os
import signal
import time
from typing import Optional

from launcher.model.records import ProcessId
from launcher.store import leftovers, processes
from launcher.store.processes import Stat

ORPHAN_AGE_S = 10.0
"""A program of the supervisor's own is waited for as soon as it ends; a zombie that stays longer is an orphan of the attempt."""


class Members:
    """The processes of the attempt whose child is `root`.

    Orphans become children of this process, which is a subreaper; so are the programs that it runs for itself. An orphan is
    told from them by having been seen in the tree before, by the child's session, or by its mark; once the supervisor runs
    no programs any more (`alone`), by coming from another session at all.
    """

    def __init__(self, root: ProcessId, attempt_id: str, store: str) -> None:
        self.root = root
        self.alone = False
        self._attempt_id = attempt_id
        self._store = store
        self._known: set[tuple[int, int]] = set()  # pid and start
        self.zombies: dict[tuple[int, int], float] = {}  # seen, and perhaps a program of our own: monotonic since when

    def pids(self) -> list[int]:
        """Those that run."""
        return [member.pid for member in self._tree() if not member.ended]

    def everyone(self) -> list[int]:
        """Those that run, with the ones that only their mark gives away, wherever they have got to."""
        found = set(self.pids())
        found.update(processes.descendants(processes.marked(self._attempt_id, self._store)))
        found.difference_update(leftovers.of_others(found - {os.getpid()}, self._attempt_id, self._store))
        return sorted(found - {os.getpid()})

    def signal(self, number: int, pids: Optional[list[int]] = None) -> None:
        """Send to the child's group and to `pids` (default: everyone), each process once."""
        targets = self.everyone() if pids is None else pids
        grouped = self._signal_group(number)
        for pid in targets:
            if not (grouped and _group(pid) == self.root.pid):
                send(pid, number)

    def reap_orphans(self) -> None:
        """Let go of descendants that ended after their parents did; never of the child itself."""
        now = time.monotonic()
        waiting: dict[tuple[int, int], float] = {}
        for zombie in processes.tree([os.getpid()]):
            if not zombie.ended or zombie.parent != os.getpid() or zombie.pid == self.root.pid:
                continue
            if zombie.session == os.getsid(0):
                continue
            key = (zombie.pid, zombie.start)
            since = self.zombies.get(key, now)
            if not self._is_orphan(zombie) and now - since <= ORPHAN_AGE_S:
                waiting[key] = since
                continue
            try:
                os.waitpid(zombie.pid, os.WNOHANG)
            except ChildProcessError:
                pass
        self.zombies = waiting

    def catchers(self, number: int) -> list[int]:
        """On each branch from the child down, the first process that catches a signal: a wrapper is passed by, and what a
        catcher has forked shall not save the state a second time."""
        tree = {member.pid: member for member in self._tree() if not member.ended}
        found: list[int] = []
        waiting = [pid for pid, member in tree.items() if member.parent not in tree]
        while waiting:
            pid = waiting.pop()
            if catches(pid, number):
                found.append(pid)
            else:
                waiting.extend(other for other, member in tree.items() if member.parent == pid)
        return sorted(found)

    def _tree(self) -> list[Stat]:
        own = os.getpid()
        everything = processes.tree([own, self.root.pid])
        children: dict[int, list[Stat]] = {}
        for member in everything:
            children.setdefault(member.parent, []).append(member)
        found = {
            member.pid: member
            for member in everything
            if (member.pid == self.root.pid and member.start == self.root.start)
            or (member.parent == own and member.pid != self.root.pid and self._is_orphan(member))
        }
        waiting = list(found.values())
        while waiting:
            for member in children.get(waiting.pop().pid, ()):
                if member.pid not in found and not self._is_anothers(member):
                    found[member.pid] = member
                    waiting.append(member)
        self._known.update((member.pid, member.start) for member in found.values())
        return list(found.values())

    def _is_orphan(self, member: Stat) -> bool:
        """Of a child of this process."""
        if member.session == os.getsid(0) or self._is_anothers(member, always=True):
            return False
        if self.alone or self.root.pid in (member.session, member.group) or (member.pid, member.start) in self._known:
            return True
        return processes.names(processes.environment(member.pid), self._attempt_id, self._store)

    def _is_anothers(self, member: Stat, *, always: bool = False) -> bool:
        """A job that a task has submitted has a session of its own, so nobody else is asked; `always`: an orphan is."""
        if member.pid == self.root.pid or (member.session != member.pid and not always):
            return False
        return processes.of_another(member.pid, self._attempt_id, self._store)

    def _signal_group(self, number: int) -> bool:
        """A group keeps its number as long as its leader exists, as a zombie too; after that it may be another's."""
        leader = processes.stat(self.root.pid)
        if leader is None or leader.start != self.root.start:
            return False
        try:
            os.killpg(self.root.pid, number)
            return True
        except (ProcessLookupError, PermissionError):
            return False


def send(pid: int, number: int) -> bool:
    """A signal to the process that has this pid now. False where it is gone or not ours to signal."""
    try:
        descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
    except ProcessLookupError:
        return False
    except OSError:  # a kernel before 5.3
        descriptor = -1
    try:
        if descriptor >= 0:
            signal.pidfd_send_signal(descriptor, number)
        else:
            os.kill(pid, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, by SigCgt of /proc/PID/status; False where that cannot be read."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    except (OSError, ValueError, IndexError):
        pass
    return False


def _group(pid: int) -> Optional[int]:
    found = processes.stat(pid)
    return None if found is None else found.group
