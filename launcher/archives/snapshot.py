"""The code of a project as it is now, as one immutable archive that is named by what it holds."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from launcher.archives import listing, private
from launcher.archives.digests import Digests
from launcher.archives.tarball import Mode, Tarball
from launcher.errors import BadRecord, LaunchError, Refused
from launcher.model.units import show_size

SCHEMA = 1
LIMIT = 200_000_000
_TRIES = 3  # reads of a file that changes while it is read
_KEY_FILE_LIMIT = 64_000  # a private key is smaller
_SECRET = "a private key"


@dataclass(frozen=True)
class Entry:
    """One file or link: `size` in bytes, `sha256` of its content (of its target, for a link)."""

    sha256: str
    size: int
    mode: Mode


@dataclass(frozen=True)
class Snapshot:
    """`hash` is over paths, modes and contents: two trees of the same hash hold the same. `left_out`: path and why."""

    hash: str
    entries: dict[str, Entry]
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries.values())


def take(
    root: Path, *, without: Collection[str] = (), only: Optional[str] = None, limit: Optional[int] = LIMIT
) -> Snapshot:
    """What a snapshot of `root` would hold now; files that have not changed since the last time are not read.

    `without`: paths of data inside the project, which are no code. `only`: one folder, all of it (shipped code).
    Raises Refused above `limit` bytes, naming the largest files, and for what cannot be read.
    """
    paths = listing.everything(root, only) if only is not None else listing.candidates(root)
    digests = Digests(root / only if only is not None else root)
    data = frozenset(path.strip("/") for path in without) - {"", "."}
    states, left_out = _states(root, paths, data)
    if limit is not None:
        _refuse_large({path: found.st_size for path, found in states.items()}, limit)
    entries: dict[str, Entry] = {}
    for path, found in states.items():
        entry = _entry(root, path, found, digests)
        if entry is None:
            continue
        if entry.sha256 == _SECRET:
            left_out.append((path, _SECRET))
        else:
            entries[path] = entry
    digests.save(whole=True)
    return Snapshot(content_hash(entries), entries, tuple(left_out))


def archive(root: Path, snapshot: Snapshot) -> tuple[Snapshot, bytes]:
    """The tar.gz of a snapshot. A file that changed or vanished meanwhile is taken as it is now: the snapshot that
    comes back describes the archive exactly."""
    tarball = Tarball(level=1)
    entries: dict[str, Entry] = {}
    for path in sorted(snapshot.entries, key=os.fsencode):
        read = _read(root / path, path)
        if read is None:
            continue
        mode, content, _ = read
        if _is_key(mode, content):
            continue
        entries[path] = Entry(hashlib.sha256(content).hexdigest(), len(content), mode)
        tarball.add(path, mode, content)
    _refuse_large({path: entry.size for path, entry in entries.items()}, LIMIT)
    return replace(snapshot, hash=content_hash(entries), entries=entries), tarball.finish()


def content_hash(entries: dict[str, Entry]) -> str:
    """The sha256 over path, mode and content of every file, in the order of the paths' bytes."""
    total = hashlib.sha256()
    for path in sorted(entries, key=os.fsencode):
        entry = entries[path]
        total.update(b"%s\0%s\0%s\0" % (os.fsencode(path), entry.mode.encode(), entry.sha256.encode()))
    return total.hexdigest()


def index(snapshot: Snapshot, content: bytes) -> bytes:
    """The JSON that lies beside the archive in the store; `archive` is the sha256 of the archive's bytes."""
    files = {p: {"sha256": e.sha256, "size": e.size, "mode": e.mode} for p, e in sorted(snapshot.entries.items())}
    head = {"schema": SCHEMA, "hash": snapshot.hash, "archive": hashlib.sha256(content).hexdigest(), "files": files}
    return json.dumps(head, separators=(",", ":")).encode() + b"\n"


def read_index(content: bytes, where: str) -> dict[str, Entry]:
    """Raises BadRecord."""
    try:
        files: dict[str, Any] = json.loads(content)["files"]
        return {str(p): Entry(str(e["sha256"]), int(e["size"]), e["mode"]) for p, e in files.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadRecord(f"{where} is no index of a snapshot", came_back=str(error)) from None


def changed(before: dict[str, Entry], now: dict[str, Entry]) -> tuple[str, ...]:
    """The paths that were added, removed or changed, sorted."""
    return tuple(sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path)))


def _states(
    root: Path, paths: Iterable[str], data: frozenset[str]
) -> tuple[dict[str, os.stat_result], list[tuple[str, str]]]:
    """What there is to take, and what is left out with a reason. Gone already: neither."""
    states: dict[str, os.stat_result] = {}
    left_out: list[tuple[str, str]] = []
    base = os.fspath(root)
    for path in paths:
        if data and _within(path, data):
            continue
        reason = private.why(path)
        if reason is not None:
            if reason and os.path.lexists(f"{base}/{path}"):
                left_out.append((path, reason))
            continue
        try:
            found = os.lstat(f"{base}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            continue  # tracked by git, deleted here
        except OSError as error:
            raise _unreadable(path, error) from None
        if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
            states[path] = found
        elif not stat.S_ISDIR(found.st_mode):
            left_out.append((path, "neither a file nor a link"))
    return states, left_out


def _within(path: str, data: frozenset[str]) -> bool:
    while path:
        if path in data:
            return True
        path = path.rpartition("/")[0]
    return False


def _entry(root: Path, path: str, found: os.stat_result, digests: Digests) -> Optional[Entry]:
    """None where the file vanished. Its sha256 is `_SECRET` where it is a private key."""
    digest = digests.recall(path, found)
    if digest is not None:
        return Entry(digest, found.st_size, _mode(found))
    read_at = time.time()
    read = _read(root / path, path)
    if read is None:
        return None
    mode, content, before = read
    digest = _SECRET if _is_key(mode, content) else hashlib.sha256(content).hexdigest()
    digests.remember(path, before, digest, read_at)
    return Entry(digest, len(content), mode)


def _is_key(mode: Mode, content: bytes) -> bool:
    return mode != "link" and len(content) <= _KEY_FILE_LIMIT and private.holds_key(content[: private.KEY_SEARCH])


def _mode(found: os.stat_result) -> Mode:
    if stat.S_ISLNK(found.st_mode):
        return "link"
    return "755" if found.st_mode & stat.S_IXUSR else "644"


def _read(file: Path, path: str) -> Optional[tuple[Mode, bytes, os.stat_result]]:
    """Mode, content and the state that held for the whole of the reading, where one of a few tries found such; a file
    that never rests is taken as it was read last. None where it is gone."""
    for attempt in range(_TRIES):
        try:
            before = os.lstat(file)
            content = os.fsencode(os.readlink(file)) if stat.S_ISLNK(before.st_mode) else _content(file)
            after = os.lstat(file)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if attempt + 1 < _TRIES and not isinstance(error, PermissionError):
                continue  # a file became a link, or a link a file, between two looks
            raise _unreadable(path, error) from None
        same = (before.st_size, before.st_mtime_ns, before.st_ino, before.st_mode) == (
            after.st_size,
            after.st_mtime_ns,
            after.st_ino,
            after.st_mode,
        )
        if (same and before.st_size == len(content)) or attempt + 1 == _TRIES:
            return _mode(before), content, before
    return None


def _content(file: Path) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(str(file))
        return opened.read()


def _unreadable(path: str, error: OSError) -> LaunchError:
    return Refused(
        f"reading {path} for the snapshot of the code",
        came_back=error.strerror or str(error),
        left="nothing was submitted",
        hint=f"make it readable, or name it in .gitignore or {listing.LAUNCHIGNORE} if it is no code",
    )


def _refuse_large(sizes: dict[str, int], limit: int) -> None:
    total = sum(sizes.values())
    if total <= limit:
        return
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    named = ", ".join(f"{path} {show_size(size)}" for path, size in largest)
    raise Refused(
        f"the project's code comes to {show_size(total)} in {len(sizes)} files, above {show_size(limit)}",
        came_back=f"largest: {named}",
        left="nothing was submitted",
        hint=f"name data and results in .gitignore, or in {listing.LAUNCHIGNORE} where git needs them; "
        "declared inputs and outputs of a phase are never part of its code",
    )
