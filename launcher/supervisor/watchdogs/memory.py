"""Memory of the node and of the cgroup that limits the attempt."""

from __future__ import annotations

from typing import Optional

from launcher.model.outcome import Outcome
from launcher.model.records import HostReading
from launcher.supervisor.readings.sample import Sample
from launcher.supervisor.watchdogs.raised import ACT, WARNING, Raised
from launcher.supervisor.watchdogs.words import percent, show_size

MARKS = ((0.97, ACT), (0.9, WARNING))
SLACK = 0.03


class MemoryWatch:
    """Warns before the kernel kills, and tells when it has. `asked`: bytes that the task asked for, None: it did not say."""

    def __init__(self, asked: Optional[int] = None) -> None:
        self._asked = asked
        self._held: set[str] = set()

    def look(self, sample: Sample) -> list[Raised]:
        """What is not available says nothing."""
        found = self._beyond_asked(sample)
        host = sample.host
        if host is None:
            return found
        found.extend(self._kills(host))
        if host.cgroup_used is not None and host.cgroup_limit:
            fraction = host.cgroup_used / host.cgroup_limit
            of = f"{percent(fraction)} of the {show_size(host.cgroup_limit)} that this job may use"
            found.extend(self._near("memory.limit", fraction, f"memory is at {of}"))
        if host.memory_available is not None and host.memory_total:
            fraction = 1 - host.memory_available / host.memory_total
            left = f"memory of the node is {percent(fraction)} used, {show_size(host.memory_available)} left"
            found.extend(self._near("memory.host", fraction, left))
        return found

    def _near(self, code: str, fraction: float, message: str) -> list[Raised]:
        for mark, level in MARKS:
            if fraction >= mark - (SLACK if code + level in self._held else 0.0):
                self._held.add(code + level)
                hint = "a smaller batch, fewer loader workers, or more memory"
                return [Raised(code, level, message, hint, stop=Outcome.OUT_OF_MEMORY if level == ACT else None)]
            self._held.discard(code + level)
        return []

    def _beyond_asked(self, sample: Sample) -> list[Raised]:
        """A machine's shares are counted by what tasks ask for: who takes more takes it from the others."""
        used = sample.tree.memory if sample.tree is not None else None
        if self._asked is None or used is None or used <= self._asked:
            return []
        message = f"the task uses {show_size(used)} of memory and asked for {show_size(self._asked)}"
        return [Raised("memory.more_than_asked", WARNING, message, "raise resources.memory: others count on the rest")]

    def _kills(self, host: HostReading) -> list[Raised]:
        if not host.oom_kills:
            return []
        times = "once" if host.oom_kills == 1 else f"{host.oom_kills} times"
        message = f"the kernel has killed a process for lack of memory, {times} since the start"
        return [Raised("memory.oom_killed", WARNING, message, "ask for more memory, or use less")]
