"""CPU, memory and bytes moved of the child's whole process tree."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, Optional

from launcher.model.records import TreeReading
from launcher.store.processes import PROC, Stat, alive, descendants, marked, process_id, stat

__all__ = ["TreeReader", "TreeState", "alive", "descendants", "marked", "process_id"]

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
PSS_COST_S = 0.02
"""The kernel walks the page tables for a proportional figure. Where all of them took longer, plain sums are used for a while."""
PLAIN_LOOKS = 30
PSS_LARGEST = 8 << 30  # of one process; the walk holds a lock that the process wants for its next mmap


class TreeState(NamedTuple):
    """One look: the reading, and the bytes that the tree has read and written so far (files, sockets, page cache)."""

    reading: TreeReading
    io_bytes: Optional[int]


class TreeReader:
    """Reads the tree again and again; the CPU figure is over the time between two looks, None at the first."""

    def __init__(self, pids: Callable[[], Iterable[int]], clock: Callable[[], float] = time.monotonic) -> None:
        self._pids = pids
        self._clock = clock
        self._before: Optional[tuple[float, dict[tuple[int, int], int]]] = None
        self._io: dict[tuple[int, int], int] = {}
        self._io_gone = 0
        self._plain_looks = 0

    def read(self) -> TreeState:
        """Processes that vanish meanwhile are left out. A zombie's times count: it used them."""
        found = [one for one in (stat(pid) for pid in self._pids()) if one is not None]
        running = [one for one in found if not one.ended]
        cpu = self._cpu(found)
        return TreeState(TreeReading(len(running), cpu, self._memory(running)), self._io_bytes(running))

    def _cpu(self, found: list[Stat]) -> Optional[float]:
        """Cores. What ended and was waited for since the last look is in its parent's times; what else ended is lost."""
        now = self._clock()
        ticks = {(one.pid, one.start): one.user + one.system + one.waited for one in found}
        before, self._before = self._before, (now, ticks)
        if before is None or now <= before[0]:
            return None
        # A process that ended gave its time to its parent's: that much is no new work.
        ended = sum(spent for key, spent in before[1].items() if key not in ticks)
        grown = sum(max(0, spent - before[1].get(key, 0)) for key, spent in ticks.items())
        return max(0, grown - ended) / _TICK / (now - before[0])

    def _memory(self, running: list[Stat]) -> Optional[int]:
        plain = sum(one.rss for one in running) * _PAGE
        if len(running) < 2:  # nothing is shared within the tree
            return plain
        if self._plain_looks > 0:
            self._plain_looks -= 1
            return plain
        before = time.thread_time()
        total = 0
        for one in running:
            proportional = None if one.rss * _PAGE > PSS_LARGEST else _pss(one.pid)
            total += one.rss * _PAGE if proportional is None else proportional
            if time.thread_time() - before > PSS_COST_S:
                self._plain_looks = PLAIN_LOOKS
                return plain
        return total

    def _io_bytes(self, running: list[Stat]) -> Optional[int]:
        """Grows only: what a process had moved stays counted after its end."""
        seen = {}
        for one in running:
            moved = _moved(one.pid)
            if moved is not None:
                seen[(one.pid, one.start)] = moved
        self._io_gone += sum(moved for key, moved in self._io.items() if key not in seen)
        self._io = seen
        return self._io_gone + sum(seen.values()) if seen else None


def _pss(pid: int) -> Optional[int]:
    try:
        with open(f"{PROC}/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _moved(pid: int) -> Optional[int]:
    try:
        with open(f"{PROC}/{pid}/io", "rb") as file:
            fields = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
        return int(fields[b"rchar"]) + int(fields[b"wchar"])
    except (OSError, ValueError, KeyError):
        return None
