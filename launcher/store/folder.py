"""A store in a folder: atomic replacement, write-once files, whole-line appends, exclusive claims.

A reader never sees half a file: content goes to a temporary file beside the target, is synced and renamed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from launcher.errors import StoreError


class FolderStore:
    """Keys are as in `store.keys`. Every method raises StoreError for what the filesystem refuses."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """The file of a key. Refuses a key that would leave the store."""
        if not key or key.startswith("/") or "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
            raise StoreError(f"{key!r} is no key of a store")
        return self.root / key

    def read(self, key: str) -> Optional[bytes]:
        """None where the key does not exist; only absence is None."""
        with _named("reading", self.root, key):
            try:
                return self.path(key).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def replace(self, key: str, content: bytes, *, sync: bool = True) -> None:
        """Write or overwrite in one step. Without `sync` a crash of the machine may leave the old content."""
        with _named("writing", self.root, key):
            target = self.path(key)
            with _temporary(target) as (descriptor, temporary):
                _write_all(descriptor, content)
                if sync:
                    os.fsync(descriptor)
                os.rename(temporary, target)
            if sync:
                sync_folder(target.parent)

    def create(self, key: str, content: bytes) -> bool:
        """Write once. False where the key exists already (it is left as it is)."""
        with _named("creating", self.root, key):
            target = self.path(key)
            with _temporary(target) as (descriptor, temporary):
                _write_all(descriptor, content)
                os.fsync(descriptor)
                try:
                    os.link(temporary, target)  # fails where the target exists, unlike rename
                except FileExistsError:
                    # NFS sends a request again whose answer was lost, and the second one finds what the first one made.
                    if os.stat(temporary).st_nlink < 2:
                        return False
            sync_folder(target.parent)
            return True

    def append(self, key: str, line: bytes, *, sync: bool = False) -> None:
        """Add whole lines in one write, or nothing: what a full disk took of them is taken back, so that the key's one writer
        can try again without tearing a line."""
        with _named("appending to", self.root, key):
            target = self.path(key)
            _make_folder(target.parent)
            descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                before = os.fstat(descriptor).st_size
                try:
                    _write_all(descriptor, line)
                    if sync:
                        os.fsync(descriptor)
                except OSError:
                    with contextlib.suppress(OSError):
                        os.ftruncate(descriptor, before)
                    raise
            finally:
                os.close(descriptor)

    def claim(self, key: str) -> bool:
        """Make a folder that did not exist. False where somebody else made it."""
        with _named("claiming", self.root, key):
            target = self.path(key)
            _make_folder(target.parent)
            try:
                os.mkdir(target, 0o700)
            except FileExistsError:
                return False
            sync_folder(target.parent)
            return True

    def names(self, key: str) -> list[str]:
        """The sorted names directly under a key; none where it does not exist. Temporary files are not listed."""
        with _named("listing", self.root, key):
            try:
                return sorted(name for name in os.listdir(self.path(key)) if not name.startswith(".tmp-"))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def exists(self, key: str) -> bool:
        with _named("looking at", self.root, key):
            try:
                os.stat(self.path(key))
            except (FileNotFoundError, NotADirectoryError):
                return False
            return True

    def remove(self, key: str) -> None:
        """Gone already is success."""
        with _named("removing", self.root, key), contextlib.suppress(FileNotFoundError):
            self.path(key).unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename or a new name in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    """With those above it, each for its owner alone (`Path.mkdir` gives its mode to the last one only)."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[tuple[int, Path]]:
    _make_folder(target.parent)
    # Not from `secrets`, which would load OpenSSL into every agent and supervisor: 4 MB each.
    temporary = target.parent / f".tmp-{os.urandom(6).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor, temporary
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            temporary.unlink()


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def _named(doing: str, root: Path, key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{doing} {root / key}", came_back=error.strerror or str(error)) from error
