"""Room on the disks that an attempt writes to: what is left, how fast it goes, and a little kept back for the last words."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Optional

from launcher.model.records import DiskReading
from launcher.supervisor.readings import quota

WINDOW_S = 1800.0
"""Checkpoints come in bursts and go by pruning; a rate over less than a few of them says nothing."""
POINTS = 60
BALLAST_BYTES = 4 << 20
BALLAST_NAME = ".launch-ballast"
RED_BYTES = 64 << 20
RED_FRACTION = 0.9


class Usage(NamedTuple):
    """Bytes and inodes; `free` is what an ordinary user may still write. Inodes are None where the file system has no limit."""

    used: int
    free: int
    total: int
    inodes_free: Optional[int]
    inodes_total: Optional[int]
    quota: bool = False  # the figures are a quota's, which leaves less than the disk


def usage(path: Path) -> Usage:
    """Of the disk that holds `path`, or that will hold it. May hang on a dead mount. Raises OSError."""
    path, found = _statvfs(path)
    block = found.f_frsize or found.f_bsize
    used, free = (found.f_blocks - found.f_bfree) * block, found.f_bavail * block
    # As df does: what is kept for root is nobody's, so full means full for us.
    total = used + free
    has_inodes = found.f_files > 0
    disk = Usage(used, free, total, found.f_favail if has_inodes else None, found.f_files if has_inodes else None)
    return within(disk, quota.tightest(path))


def within(disk: Usage, limit: Optional[quota.Quota]) -> Usage:
    """What a quota leaves of a disk; the two limits, of bytes and of inodes, each where it is the tighter one."""
    if limit is not None and limit.limit is not None and limit.limit - limit.used < disk.free:
        disk = disk._replace(used=limit.used, free=max(0, limit.limit - limit.used), total=limit.limit, quota=True)
    if limit is not None and limit.inodes_limit is not None:
        left = max(0, limit.inodes_limit - limit.inodes_used)
        if disk.inodes_free is None or left < disk.inodes_free:
            disk = disk._replace(inodes_free=left, inodes_total=limit.inodes_limit, quota=True)
    return disk


def _statvfs(path: Path) -> tuple[Path, os.statvfs_result]:
    """Of the nearest folder upward that exists."""
    while True:
        try:
            return path, os.statvfs(path)
        except (FileNotFoundError, NotADirectoryError):
            if path == path.parent:
                raise
            path = path.parent


class DiskReader:
    """Reads one path and learns how fast its disk fills. Bytes per second; seconds to full only while it fills."""

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, read: Callable[[Path], Usage] = usage
    ) -> None:
        self._path = path
        self._clock = clock
        self._read = read
        self._history: deque[tuple[float, int]] = deque(maxlen=POINTS)

    def read(self) -> DiskReading:
        """Raises OSError where the disk does not answer."""
        found = self._read(self._path)
        rate = self._rate(self._clock(), found.used)
        return DiskReading(
            path=str(self._path),
            used=found.used,
            free=found.free,
            total=found.total,
            inodes_free=found.inodes_free,
            inodes_total=found.inodes_total,
            rate=rate,
            full_in=found.free / rate if rate is not None and rate > 0 else None,
            quota=found.quota or None,
        )

    def _rate(self, now: float, used: int) -> Optional[float]:
        if not self._history or now - self._history[-1][0] >= WINDOW_S / POINTS:
            self._history.append((now, used))
        while len(self._history) > 1 and now - self._history[0][0] > WINDOW_S:
            self._history.popleft()
        then, had = self._history[0]
        if now - then < 3 * WINDOW_S / POINTS:
            return None
        return (used - had) / (now - then)


class Ballast:
    """A file of a few megabytes on each disk, given up when there is nearly no room left.

    What is freed at once would be eaten by the job; so it is held until the red line, and freed in time for the last words.
    """

    def __init__(self, folders: Iterable[Path], name: str = BALLAST_NAME, size: int = BALLAST_BYTES) -> None:
        self._files = [folder / name for folder in folders]
        self._size = size
        self._placed: list[Path] = []

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that lie on their disks now."""
        return tuple(self._placed)

    def place(self) -> list[str]:
        """Write them where there is room to spare. Returns what went wrong, in words: a quota shows itself here first."""
        troubles = []
        for file in self._files:
            try:
                found = usage(file.parent)
                if red(found.used, found.free, found.total):
                    continue
                _allocate(file, self._size)
                self._placed.append(file)
            except OSError as error:
                _unlink(file)
                what = "the quota is used up" if error.errno == errno.EDQUOT else error.strerror or str(error)
                troubles.append(f"{file.parent}: {what}")
        return troubles

    def free(self) -> list[Path]:
        """Give up all of them. Returns those that were given up now; already gone is success."""
        freed, self._placed = self._placed, []
        for file in freed:
            _unlink(file)
        return freed


def red(used: int, free: int, total: int) -> bool:
    """Whether a disk is so full that whoever has something left to say needs room kept for it."""
    return free < RED_BYTES and (total <= 0 or used / total >= RED_FRACTION)


def _allocate(file: Path, size: int) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)  # real blocks, unlike a hole
    finally:
        os.close(descriptor)


def _unlink(file: Path) -> None:
    try:
        file.unlink()
    except OSError:
        pass
