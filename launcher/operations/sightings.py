"""What this reader saw when: a small cache, by which the age of a heartbeat is known without the node's clock.

One file per job. The times are the host's monotonic clock, which all commands on it share until it boots again; a cache
of another boot is worth nothing. A cache that cannot be read or written is no error: everything is then seen for the
first time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from launcher.archives import caches
from launcher.model.freshness import Sighting
from launcher.store import processes
from launcher.store.folder import FolderStore


class Sightings:
    """The sightings of one job. Only those that are asked for in this look are kept for the next."""

    def __init__(self, store: FolderStore, job: str) -> None:
        name = hashlib.sha256(f"{store.root.absolute()}\0{job}".encode("utf-8", "surrogateescape")).hexdigest()[:24]
        self._file = caches.folder() / "sightings" / f"{name}.json"
        self._before = _read(self._file)
        self._now: dict[str, Sighting] = {}

    def get(self, key: str) -> Optional[Sighting]:
        """What was seen the last time."""
        return self._before.get(key)

    def put(self, key: str, sighting: Sighting) -> None:
        """Keep for the next look."""
        self._now[key] = sighting

    def save(self) -> None:
        """Write where something changed. Two readers at once: the last one's word stands."""
        if self._now == self._before:
            return
        if self._now:
            _write(self._file, self._now)
            return
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Sighting]:
    data = caches.read_json(file)
    try:
        if data["boot"] != processes.boot_id():
            return {}
        found = {str(k): Sighting(int(v[0]), float(v[1]), float(v[2]), bool(v[3])) for k, v in data["seen"].items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        return {}
    return {key: one for key, one in found.items() if math.isfinite(one.seen_at) and math.isfinite(one.before)}


def _write(file: Path, seen: Mapping[str, Sighting]) -> None:
    data = {"boot": processes.boot_id(), "seen": {k: [s.seq, s.seen_at, s.before, s.moved] for k, s in seen.items()}}
    caches.write(file, json.dumps(data).encode())
