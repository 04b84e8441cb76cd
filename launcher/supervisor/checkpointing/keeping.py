"""Looks at an attempt's checkpoints and prunes them: one look after the other, in the thread of their source."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from launcher.model.phase import Checkpoints
from launcher.supervisor.checkpointing.checkpoints import QUIET_S, CheckpointFolder, Entry
from launcher.supervisor.checkpointing.prune import (
    best_named_by_trainer,
    delete,
    finish_earlier,
    named_by_links,
    plan,
    with_metrics,
)
from launcher.supervisor.readings.declared import Announced
from launcher.supervisor.readings.sample import CheckpointReading

EVENTS_KEPT = 100


class Kept(NamedTuple):
    """One look, after pruning."""

    reading: CheckpointReading


class CheckpointKeeper:
    """`tell` and `take_events` are for the sampling thread, `read` for the source's.

    `since` (seconds since 1970): what was written before is another's, and is neither counted nor pruned.
    """

    def __init__(
        self, folder: Path, rules: Checkpoints, beat: float, wall: Callable[[], float] = time.time, since: float = 0.0
    ) -> None:
        self._folder = folder
        self._rules = rules
        self._look = CheckpointFolder(folder, rules, quiet=min(QUIET_S, 2 * beat + 1))
        self._wall = wall
        self._announced: tuple[Announced, ...] = ()
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._cleaned = False
        self._failed: set[Path] = set()
        self._since = since
        self._pruning = threading.Lock()
        self._stopped = False

    def tell(self, announced: Sequence[Announced]) -> None:
        """What the child says of its checkpoints."""
        self._announced = tuple(announced)

    def take_events(self) -> list[dict[str, Any]]:
        """Deletions since the last call."""
        return [self._events.popleft() for _ in range(len(self._events))]

    def stop_pruning(self, seconds: float) -> bool:
        """Nothing more is deleted, whatever becomes complete: the outputs, of which checkpoints may be a part, are taken.
        Waits for a deletion under way, `seconds` at most. True: there is none."""
        self._stopped = True
        if not self._pruning.acquire(timeout=seconds):
            return False
        self._pruning.release()
        return True

    def read(self) -> Kept:
        """Look, delete what may go, and say what is left. Raises OSError where the folder does not answer."""
        with self._pruning:
            return self._read()

    def _read(self) -> Kept:
        if not self._cleaned and not self._stopped:
            finish_earlier(self._folder)
            self._cleaned = True
        told = {os.path.realpath(one.path): one for one in self._announced}
        entries = self._look.look(self._wall(), tuple(told))
        entries = [entry for entry in entries if entry.newest >= self._since]
        entries = with_metrics(entries, {path: one.metrics for path, one in told.items()})
        protected = best_named_by_trainer(entries) | named_by_links(self._folder) if len(entries) > 1 else ()
        chosen = plan(entries, self._rules, protected=protected)
        gone = {entry.path for entry in chosen.delete if self._delete(entry)}
        left = [entry for entry in entries if entry.path not in gone]
        complete = [entry for entry in left if entry.complete]
        return Kept(
            CheckpointReading(
                complete=tuple(str(entry.path) for entry in complete),
                sizes=tuple(entry.size for entry in complete),
                times=tuple(entry.newest for entry in complete),
                incomplete=len(left) - len(complete),
                unprunable=len(chosen.withheld) + len(chosen.delete) - len(gone),
            )
        )

    def _delete(self, entry: Entry) -> bool:
        """One that cannot be deleted is tried again, and told of once."""
        if self._stopped:
            return False
        event = delete(entry, self._rules)
        done = bool(event["kind"] == "pruned")
        if done or entry.path not in self._failed:
            self._events.append(event)
        if not done:
            self._failed.add(entry.path)
        return done
