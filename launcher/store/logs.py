"""Reading the log of an attempt while it grows: by byte offset, so that no byte comes twice and none is lost."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Optional

from launcher.errors import StoreError
from launcher.store import keys
from launcher.store.folder import FolderStore

BLOCK = 1 << 16


@dataclass(frozen=True)
class Chunk:
    """Bytes of a log from `offset` on. `restarted`: the file is shorter than what was read before, so somebody cut it and
    reading began again at its start."""

    offset: int
    content: bytes
    restarted: bool = False


def read_chunk(store: FolderStore, key: str, offset: int, limit: int = 1 << 20) -> Optional[Chunk]:
    """At most `limit` bytes from `offset`; None where the log does not exist yet. Raises StoreError."""
    path = store.path(key)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"reading {path}", came_back=error.strerror) from error
    try:
        size = os.fstat(descriptor).st_size
        if size < offset:
            return Chunk(0, os.pread(descriptor, limit, 0), restarted=True)
        return Chunk(offset, os.pread(descriptor, limit, offset) if size > offset else b"")
    except OSError as error:
        raise StoreError(f"reading {path}", came_back=error.strerror) from error
    finally:
        os.close(descriptor)


def offset_of_last(store: FolderStore, key: str, lines: int) -> int:
    """Where the last `lines` lines begin; 0 where there are fewer. An unfinished last line counts as one."""
    path = store.path(key)
    try:
        with open(path, "rb") as log:
            end = log.seek(0, os.SEEK_END)
            if lines <= 0:
                return end
            return _backwards(log.fileno(), end, lines)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StoreError(f"reading {path}", came_back=error.strerror) from error


def _backwards(descriptor: int, end: int, lines: int) -> int:
    at = end
    wanted = lines
    if end and os.pread(descriptor, 1, end - 1) == b"\n":
        wanted += 1  # the newline that ends the last line separates nothing
    while at > 0:
        start = max(0, at - BLOCK)
        block = os.pread(descriptor, at - start, start)
        found = block.count(b"\n")
        if found >= wanted:
            position = len(block)
            for _ in range(wanted):
                position = block.rindex(b"\n", 0, position)
            return start + position + 1
        wanted -= found
        at = start
    return 0


def offset_since(store: FolderStore, job: str, task: int, attempt: int, moment: float) -> int:
    """Where what was written since `moment` (seconds since 1970) begins, at the start of a line.

    A log has no times of its own; the sizes in the attempt's telemetry have, one to a beat. So up to one beat more is
    shown than was asked for, and never less.
    """
    log = store.path(keys.of_attempt(job, task, attempt, keys.LOG))
    try:
        found = log.stat()
    except OSError:
        return 0
    if found.st_mtime < moment:
        return found.st_size
    size = 0
    for line in (store.read(keys.of_attempt(job, task, attempt, keys.TELEMETRY)) or b"").splitlines():
        try:
            point = json.loads(line)
            if point["t"] >= moment:
                break
            size = int(point.get("log", size))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # a torn point says nothing
    if size <= 0 or size > found.st_size:
        return 0
    with open(log, "rb") as file:
        return _backwards(file.fileno(), size, 1) if os.pread(file.fileno(), 1, size - 1) != b"\n" else size
