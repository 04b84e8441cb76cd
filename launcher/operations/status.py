"""Where one job stands, or all of them, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Overview:
    """The newest jobs; `older`: how many of the same stores are not among them; `elsewhere`: jobs of other projects."""

    jobs: tuple[JobView, ...]
    older: int = 0
    elsewhere: int = 0


def overview(start: Path, limit: Optional[int] = None, *, everywhere: bool = False, observe: bool = True) -> Overview:
    """The newest `limit` jobs of the project around `start`; of all known stores where it has none, or `everywhere`.

    A job that cannot be read is there too, unknown, with what is wrong with it.
    """
    near, far = stores.near_and_far(start)
    found, rest = newest(near), sum(len(records.jobs(store)) for store in far)
    if everywhere or not found:
        found, rest = newest(near + far), 0
    shown = found if limit is None else found[:limit]
    return Overview(tuple(_look(store, job, observe) for store, job in shown), len(found) - len(shown), rest)


def newest(known: Sequence[FolderStore]) -> list[tuple[FolderStore, str]]:
    """All jobs of some stores by the time of their spec's file, which is written once, newest first. Those without one (a
    torn submit) come last."""
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
