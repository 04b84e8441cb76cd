"""Where one job stands, or all of them, newest first."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from launcher.errors import LaunchError
from launcher.model.outcome import State
from launcher.model.view import JobView
from launcher.operations import stores
from launcher.operations.gather import gather
from launcher.store import keys, records
from launcher.store.folder import FolderStore

DETAIL = 64  # a job of up to so many tasks is read with the exit records of those that ended


def status(store: FolderStore, job: str, *, observe: bool = True) -> JobView:
    """One job. Raises NotFound, BadRecord, StoreError."""
    return gather(store, job, observe, DETAIL)


def overview(start: Path, limit: Optional[int] = None, *, observe: bool = True) -> tuple[list[JobView], int]:
    """The newest `limit` jobs of all known stores, and how many older ones there are. A job that cannot be read is there
    too, unknown, with what is wrong with it."""
    found = newest(start)
    shown = found if limit is None else found[:limit]
    return [_look(store, job, observe) for store, job in shown], len(found) - len(shown)


def newest(start: Path) -> list[tuple[FolderStore, str]]:
    """All jobs of all known stores by the time of their spec's file, which is written once, newest first. Those without
    one (a torn submit) come last."""
    known = stores.known(start)
    timed = [(_written(store, job), place, job) for place, store in enumerate(known) for job in records.jobs(store)]
    return [(known[place], job) for _, place, job in sorted(timed, reverse=True)]


def _written(store: FolderStore, job: str) -> int:
    try:
        return store.path(keys.spec(job)).stat().st_mtime_ns
    except OSError:
        return 0


def _look(store: FolderStore, job: str, observe: bool) -> JobView:
    try:
        return gather(store, job, observe)
    except LaunchError as error:
        return unknown(job, str(error))


def unknown(job: str, problem: str) -> JobView:
    """A job of which nothing can be read but its name."""
    phase = stores.phase_of(job)
    return JobView(job, phase, phase, "?", "?", 0.0, State.UNKNOWN, None, (), problems=(problem,))
