"""sha256 of files, remembered by what stat says of them, so that what did not change is not read again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Optional

from launcher.archives import caches
from launcher.store import fingerprints

# A file that was changed again within its time stamp's grain looks unchanged (git calls it racy): a digest is
# remembered only where the file had been at rest for this long before it was read. NFS keeps times to the second.
AT_REST_S = 2.0


class Digests:
    """One cache file for one subject, a project's folder say. Not shared between threads; the last writer wins."""

    def __init__(self, subject: Path) -> None:
        name = hashlib.sha256(os.fsencode(os.path.abspath(subject))).hexdigest()[:32]
        self._file = caches.folder() / "digests" / f"{name}.json"
        known = caches.read_json(self._file)
        self._known: dict[str, list[object]] = known if isinstance(known, dict) else {}
        self._seen: dict[str, list[object]] = {}
        self._changed = False

    def recall(self, key: str, found: os.stat_result) -> Optional[str]:
        """The digest of a file in exactly this state, if it was read before."""
        held = self._known.get(key)
        if isinstance(held, list) and held[:-1] == _state(found) and isinstance(held[-1], str):
            self._seen[key] = held
            return held[-1]
        return None

    def remember(self, key: str, found: os.stat_result, digest: str, read_at: float) -> None:
        """`found` is the file's state before it was read at `read_at` (wall clock, as file times are)."""
        if read_at - max(found.st_mtime, found.st_ctime) >= AT_REST_S:
            self._seen[key] = [*_state(found), digest]
            self._changed = True

    def of(self, path: Path) -> str:
        """The sha256 of a regular file. Raises OSError."""
        found = os.stat(path)
        key = os.path.abspath(path)
        digest = self.recall(key, found)
        if digest is None:
            read_at = time.time()
            digest = fingerprints.sha256(path)
            self.remember(key, found, digest, read_at)
        return digest

    def known(self, path: Path) -> bool:
        """Whether `of` would answer without reading the file. Raises OSError."""
        return self.recall(os.path.abspath(path), os.stat(path)) is not None

    def save(self, *, whole: bool = False) -> None:
        """Write what was learnt. `whole`: every file of the subject was asked for, so what was not is forgotten."""
        kept = self._seen if whole else {**self._known, **self._seen}
        if self._changed or len(kept) != len(self._known):
            caches.write(self._file, json.dumps(kept, separators=(",", ":")).encode())
            self._known, self._changed = dict(kept), False


def _state(found: os.stat_result) -> list[object]:
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode]
