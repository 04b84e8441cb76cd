"""What a share of the machine is, and the rule of its queue: first in first out, pure.

Younger tickets may pass an older one only where they take nothing that it could use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from launcher.model.units import show_size
from launcher.store.machine import Capacity


@dataclass(frozen=True)
class Need:
    """What one share asks for. `memory` in bytes, 0: not said."""

    job: str
    tasks: tuple[int, ...]
    gpus: int = 0
    cpus: int = 1
    memory: int = 0


@dataclass(frozen=True)
class Entry:
    """A share that is taken, or a ticket that waits for one. `place` orders tickets: when they were ordered, and by whom."""

    name: str
    place: tuple[float, str]
    need: Need
    waits: bool
    gpus: tuple[str, ...] = ()  # taken
    among: tuple[str, ...] = ()  # those that a ticket could take

    def to_json(self) -> dict[str, Any]:
        need = self.need
        return {
            "place": list(self.place),
            "need": [need.job, list(need.tasks), need.gpus, need.cpus, need.memory],
            "waits": self.waits,
            "gpus": list(self.gpus),
            "among": list(self.among),
        }

    @classmethod
    def from_json(cls, name: str, data: Any) -> Entry:
        """Raises ValueError, TypeError, KeyError for what is no entry."""
        job, tasks, gpus, cpus, memory = data["need"]
        at, allocation = data["place"]
        need = Need(str(job), tuple(int(t) for t in tasks), int(gpus), int(cpus), int(memory))
        place = (float(at), str(allocation))
        return cls(
            name, place, need, bool(data["waits"]), tuple(map(str, data["gpus"])), tuple(map(str, data["among"]))
        )


@dataclass(frozen=True)
class Taken:
    """A share that is ours: `descriptor` holds its lock and is what supervisors inherit."""

    name: str
    need: Need
    gpus: tuple[str, ...]
    descriptor: int


@dataclass
class _Free:
    gpus: list[str]
    cpus: int
    memory: Optional[int]

    def take(self, need: Need, gpus: Iterable[str]) -> None:
        gone = set(gpus)
        self.gpus = [gpu for gpu in self.gpus if gpu not in gone]
        self.cpus = max(0, self.cpus - need.cpus)
        if self.memory is not None:
            self.memory = max(0, self.memory - need.memory)

    def reserve(self, need: Need, among: Sequence[str]) -> None:
        """Keep for an older ticket whatever it could use, so that no younger one delays it."""
        usable = [gpu for gpu in self.gpus if gpu in among]
        self.take(need, usable[: need.gpus])

    def fits(self, need: Need) -> bool:
        memory_fits = self.memory is None or need.memory <= self.memory
        return need.gpus <= len(self.gpus) and need.cpus <= self.cpus and memory_fits


def never_fits(need: Need, capacity: Capacity) -> Optional[str]:
    """In words, why a need could not be met even by the whole machine; None: it could."""
    if need.gpus > len(capacity.gpus):
        return f"{need.gpus} GPUs are asked for, this machine offers {len(capacity.gpus)}"
    if need.cpus > capacity.cpus:
        return f"{need.cpus} cpus are asked for, this machine offers {capacity.cpus}"
    if capacity.memory is not None and need.memory > capacity.memory:
        return f"{show_size(need.memory)} of memory are asked for, this machine offers {show_size(capacity.memory)}"
    return None


def why_not(need: Need, capacity: Capacity, entries: Sequence[Entry], place: tuple[float, str]) -> Optional[str]:
    """In words, why a need is not met now; None: it can be. Pure: the rule of the queue.

    What is taken is taken; what older tickets could use is kept for them.
    """
    free = _Free(list(capacity.gpus), capacity.cpus, capacity.memory)
    for entry in entries:
        if not entry.waits:
            free.take(entry.need, entry.gpus)
    if not free.fits(need):
        holders = ", ".join(sorted({entry.need.job for entry in entries if not entry.waits}))
        return f"{_wanted(need)} (taken by {holders})" if holders else _wanted(need)
    older = sorted((e for e in entries if e.waits and e.place < place), key=lambda entry: entry.place)
    for entry in older:
        free.reserve(entry.need, entry.among)
    if not free.fits(need):
        return f"{_wanted(need)} ({older[0].need.job} was submitted earlier and waits for {_wanted(older[0].need)})"
    return None


def choose(need: Need, capacity: Capacity, entries: Sequence[Entry]) -> tuple[str, ...]:
    """The GPUs for a need that fits: the first that nobody has."""
    taken = {gpu for entry in entries if not entry.waits for gpu in entry.gpus}
    return tuple(gpu for gpu in capacity.gpus if gpu not in taken)[: need.gpus]


def _wanted(need: Need) -> str:
    parts = [f"{need.gpus} GPU{'s' if need.gpus > 1 else ''}"] if need.gpus else []
    parts.append(f"{need.cpus} cpu{'s' if need.cpus > 1 else ''}")
    if need.memory:
        parts.append(f"{show_size(need.memory)} of memory")
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]
