"""The node's memory, and that of the cgroup which limits us, of either version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Optional

from launcher.model.records import HostReading

_UNLIMITED = 1 << 60  # version 1 writes the largest multiple of a page for "no limit"
_LONGEST = 64 * 1024


class _Group(NamedTuple):
    """A cgroup's folder, with the names that its version gives to the same things."""

    folder: Path
    used: str
    limit: str
    events: str
    reclaimable: str  # key of memory.stat: cache that goes before anybody is killed


class HostReader:
    """Reads beneath `root`, which is `/` but in tests. `oom_kills` counts from the first reading."""

    def __init__(self, root: Path = Path("/"), pid: str = "self") -> None:
        self._root = root
        self._pid = pid
        self._groups: Optional[tuple[_Group, ...]] = None
        self._kills_before: Optional[int] = None

    def read(self) -> HostReading:
        """Whatever cannot be read is None."""
        if self._groups is None:
            self._groups = self._find_groups()
        memory = _table(self._root / "proc/meminfo")
        available, total = memory.get("MemAvailable:"), memory.get("MemTotal:")
        used, limit = self._tightest()
        return HostReading(
            memory_available=None if available is None else available * 1024,
            memory_total=None if total is None else total * 1024,
            cgroup_used=used,
            cgroup_limit=limit,
            oom_kills=self._oom_kills(),
            load=_load(self._root / "proc/loadavg"),
        )

    def _tightest(self) -> tuple[Optional[int], Optional[int]]:
        """Used and limit, in bytes, of the group among ours and its parents that has the least left."""
        found: list[tuple[int, int, int]] = []
        for group in self._groups or ():
            limit, used = _number(group.folder / group.limit), _number(group.folder / group.used)
            if limit is None or used is None or limit >= _UNLIMITED:
                continue
            used = max(0, used - _table(group.folder / "memory.stat").get(group.reclaimable, 0))
            found.append((limit - used, used, limit))
        return min(found)[1:] if found else (None, None)

    def _oom_kills(self) -> Optional[int]:
        """Kills since the first reading, in our own group; on the whole node where that is not told."""
        total: Optional[int] = None
        if self._groups:
            total = _table(self._groups[0].folder / self._groups[0].events).get("oom_kill")
        if total is None:
            total = _table(self._root / "proc/vmstat").get("oom_kill")
        if total is None:
            return None
        if self._kills_before is None:
            self._kills_before = total
        return max(0, total - self._kills_before)

    def _find_groups(self) -> tuple[_Group, ...]:
        """Our memory cgroup and its parents, own first. Version 1's memory controller wins where both are mounted."""
        text = _text(self._root / f"proc/{self._pid}/cgroup") or ""
        places = {}
        for line in text.splitlines():
            parts = line.split(":", 2)
            if len(parts) == 3:
                places["v2" if parts[0] == "0" and not parts[1] else parts[1]] = parts[2]
        mounted = self._root / "sys/fs/cgroup"
        for controllers, path in places.items():
            if "memory" in controllers.split(","):
                return _line(
                    mounted / "memory",
                    path,
                    ("memory.usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control", "total_inactive_file"),
                )
        if "v2" in places:
            return _line(mounted, places["v2"], ("memory.current", "memory.max", "memory.events", "inactive_file"))
        return ()


def _line(top: Path, path: str, names: tuple[str, str, str, str]) -> tuple[_Group, ...]:
    """The groups from `path` upward that exist. In a container, `path` may be the host's name for what is mounted at the top."""
    parts = [part for part in path.split("/") if part and part != ".."]
    folders = [top.joinpath(*parts[:length]) for length in range(len(parts), -1, -1)]
    return tuple(_Group(folder, *names) for folder in folders if (folder / names[0]).exists())


def _text(path: Path) -> Optional[str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _LONGEST).decode("utf-8", "replace")
        finally:
            os.close(descriptor)
    except OSError:
        return None


def _number(path: Path) -> Optional[int]:
    """None for `max` too."""
    text = (_text(path) or "").strip()
    return int(text) if text.isdecimal() else None


def _table(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    found = {}
    for line in (_text(path) or "").splitlines():
        parts = line.split()
        if len(parts) >= 2 and parts[1].isdecimal():
            found[parts[0]] = int(parts[1])
    return found


def _load(path: Path) -> Optional[float]:
    try:
        return float((_text(path) or "").split()[0])
    except (ValueError, IndexError):
        return None
