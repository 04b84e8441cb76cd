"""Which checkpoints of an attempt are complete: those that a later attempt can resume from."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from launcher.model.phase import Checkpoints
from launcher.supervisor.checkpointing.readable import trouble

QUIET_S = 20.0
"""So long nothing in it has changed. What is announced or has its marker need not wait."""
MOST_FILES = 20_000
PRUNING = ".launch-pruned-"
"""A checkpoint takes this prefix before it is deleted, so that one half deleted is never taken for one."""
_NUMBER = re.compile(r"\d+(?=\D*$)")


@dataclass(frozen=True)
class Entry:
    """One file or folder that matches the pattern. `why` says what keeps an incomplete one from being complete."""

    path: Path
    number: Optional[int]
    stem: str  # the name without its number: `checkpoint-` and `epoch` are two series
    newest: float  # wall time of the last change in it
    size: int
    complete: bool
    why: Optional[str] = None
    metrics: dict[str, float] = field(default_factory=dict)


def complete(
    folder: Path, rules: Checkpoints, now_wall: float, *, announced: Collection[str] = (), quiet: float = QUIET_S
) -> list[Path]:
    """The complete checkpoints, oldest first. None where the folder does not exist. Raises OSError."""
    return [
        entry.path for entry in CheckpointFolder(folder, rules, quiet=quiet).look(now_wall, announced) if entry.complete
    ]


@dataclass(frozen=True)
class _Extent:
    """The files of an entry, as one walk found them."""

    files: tuple[tuple[str, int], ...]
    newest: float
    signature: tuple[int, int, int, int]

    @property
    def size(self) -> int:
        return sum(size for _, size in self.files)


class CheckpointFolder:
    """Looks again and again; a file that did not change is not read twice."""

    def __init__(self, folder: Path, rules: Checkpoints, *, quiet: float = QUIET_S) -> None:
        self._folder = folder
        self._rules = rules
        self._quiet = quiet
        self._read: dict[str, tuple[tuple[int, int, int, int], Optional[str]]] = {}

    def look(self, now_wall: float, announced: Collection[str] = ()) -> list[Entry]:
        """All entries, oldest first. `announced` are paths that the child says are complete. Raises OSError.

        Symbolic links are no checkpoints, whatever they point to.
        """
        try:
            with os.scandir(self._folder) as found:
                names = sorted(one.name for one in found if not one.is_symlink() and self._matches(one.name))
        except (FileNotFoundError, NotADirectoryError):
            return []
        said = {os.path.realpath(path) for path in announced}
        entries = []
        for name in names:
            entry = self._entry(self._folder / name, now_wall, said)
            if entry is not None:
                entries.append(entry)
        self._read = {key: value for key, value in self._read.items() if os.path.basename(key) in names}
        return in_order(entries)

    def _matches(self, name: str) -> bool:
        marker = self._rules.marker
        is_marker = marker is not None and (name == marker or name.endswith(marker))
        return not name.startswith(".") and not is_marker and fnmatch.fnmatchcase(name, self._rules.pattern)

    def _entry(self, path: Path, now_wall: float, said: Collection[str]) -> Optional[Entry]:
        try:
            extent = _extent(path)
        except FileNotFoundError:  # gone, or changing under our eyes
            return None
        match = _NUMBER.search(path.name)
        stem = path.name if match is None else path.name[: match.start()] + path.name[match.end() :]
        number = None if match is None else int(match.group()[:18])
        why = self._why_incomplete(path, extent, now_wall, os.path.realpath(path) in said)
        return Entry(path, number, stem, extent.newest, extent.size, why is None, why)

    def _why_incomplete(self, path: Path, extent: _Extent, now_wall: float, said: bool) -> Optional[str]:
        if extent.size == 0:
            return "it holds nothing"
        marker = self._rules.marker
        marked = marker is not None and (os.path.lexists(path / marker) or os.path.lexists(f"{path}{marker}"))
        if marker is not None and not marked and not said:
            return f"it has no marker {marker}"
        # A clock that was set back makes files of the future: those have not been quiet either, and a marker ends the doubt.
        if not marked and not said and not (now_wall - extent.newest >= self._quiet):
            return f"it changed within the last {self._quiet:g} s"
        return self._unreadable(path, extent)

    def _unreadable(self, path: Path, extent: _Extent) -> Optional[str]:
        """A marker on top of a broken file is no checkpoint either."""
        known = self._read.get(str(path))
        if known is not None and known[0] == extent.signature:
            return known[1]
        found = None
        for name, size in extent.files:
            try:
                found = trouble(name, size)
            except OSError as error:
                found = error.strerror or str(error)
            if found is not None:
                found = f"{os.path.basename(name)}: {found}"
                break
        self._read[str(path)] = (extent.signature, found)
        return found


def in_order(entries: list[Entry]) -> list[Entry]:
    """Oldest first: by the number in the name where all belong to one series, else by time."""
    if len({entry.stem for entry in entries}) == 1 and all(entry.number is not None for entry in entries):
        return sorted(entries, key=lambda entry: (entry.number, entry.newest, entry.path.name))
    return sorted(entries, key=lambda entry: (entry.newest, entry.number or 0, entry.path.name))


def _extent(path: Path) -> _Extent:
    """Raises FileNotFoundError. Links inside are not followed, and count as nothing."""
    files: list[tuple[str, int]] = []
    newest, newest_ns, inodes = 0.0, 0, 0
    top = os.lstat(path)
    places = [str(path)]
    if not _is_folder(top):
        places = []
        files.append((str(path), top.st_size))
    newest, newest_ns, inodes = top.st_mtime, top.st_mtime_ns, top.st_ino
    while places:
        with os.scandir(places.pop()) as found:
            for one in found:
                status = one.stat(follow_symlinks=False)
                newest, newest_ns = max(newest, status.st_mtime), max(newest_ns, status.st_mtime_ns)
                inodes += status.st_ino
                if one.is_dir(follow_symlinks=False):
                    places.append(one.path)
                elif one.is_file(follow_symlinks=False):
                    files.append((one.path, status.st_size))
        if len(files) > MOST_FILES:
            break
    signature = (len(files), sum(size for _, size in files), newest_ns, inodes)
    return _Extent(tuple(files), newest, signature)


def _is_folder(status: os.stat_result) -> bool:
    return (status.st_mode & 0o170000) == 0o040000
