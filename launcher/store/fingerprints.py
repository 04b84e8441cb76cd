"""What a file or folder holds, as one hash, the same on the client, which compares, and on the node, which records.

Travels to the node: standard library, Python 3.9.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Callable, Optional

from launcher.model.records import ManifestFile


def combine(files: Iterable[ManifestFile]) -> str:
    """The sha256 over names and contents, whatever the order of `files`. A single file has the name ``""``."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda f: f.path.encode("utf-8", "surrogateescape")):
        total.update(file.path.encode("utf-8", "surrogateescape") + b"\0" + file.sha256.encode("ascii") + b"\0")
    return total.hexdigest()


def files_under(path: Path) -> Iterator[tuple[str, Path]]:
    """Every regular file of an artifact with its name relative to it, links to files included; `("", path)` for a file.

    Links to folders are not entered. Raises OSError for a folder that cannot be listed.
    """
    if not path.is_dir():
        yield "", path
        return
    for folder, folders, names in os.walk(path, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            found = Path(folder, name)
            if found.is_file():
                yield found.relative_to(path).as_posix(), found


def describe(path: Path, digest: Optional[Callable[[Path], str]] = None) -> tuple[ManifestFile, ...]:
    """The files of an artifact with size and sha256. `digest` may answer from a cache. Raises OSError."""
    measure = digest or sha256
    return tuple(ManifestFile(name, os.stat(file).st_size, measure(file)) for name, file in files_under(path))


def sha256(path: Path) -> str:
    """Of a regular file's content. Raises OSError."""
    total = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe in its place must not block
    with open(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file")
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def _raise(error: OSError) -> None:
    raise error
