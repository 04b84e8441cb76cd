"""The verbs for Python: `from launcher.api import submit, status`. Typed, and they print nothing.

    done = submit("train", array="0-5")
    view = wait(done.jobs[0].job)
    print(view.outcome)

A word for a job is what the command line takes: its id, a prefix, a scheduler's id, a phase's name, or `last`. Every
mistake is a LaunchError with what was tried, what came back and a hint. `folder` is where a command would be typed; None
is the current folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Optional, Union

from launcher.errors import DecisionNeeded, LaunchError, NotFound, Refused, UsageError
from launcher.model.outcome import Outcome, State
from launcher.model.view import JobView, TaskView
from launcher.operations import cancel as _cancel
from launcher.operations import check as _check
from launcher.operations import reconcile as _reconcile
from launcher.operations import retry as _retry
from launcher.operations import status as _status
from launcher.operations import stores as _stores
from launcher.operations import submit as _submit
from launcher.operations import tail as _tail
from launcher.operations import wait as _wait
from launcher.operations.cancel import Cancelled
from launcher.operations.check import Checked
from launcher.operations.reconcile import Reconciled
from launcher.operations.request import SubmitRequest
from launcher.operations.retry import Retried
from launcher.operations.stores import Found
from launcher.operations.submit import Submitted, SubmittedJob
from launcher.operations.tail import Finished, Line, Note, TailRequest

__all__ = [
    "Cancelled",
    "Checked",
    "DecisionNeeded",
    "Finished",
    "JobView",
    "LaunchError",
    "Line",
    "NotFound",
    "Note",
    "Outcome",
    "Reconciled",
    "Refused",
    "Retried",
    "State",
    "Submitted",
    "SubmittedJob",
    "TaskView",
    "UsageError",
    "cancel",
    "check",
    "jobs",
    "reconcile",
    "retry",
    "status",
    "submit",
    "tail",
    "wait",
]
Folder = Union[str, "os.PathLike[str]", None]


def submit(
    *phases: str,
    profile: Optional[str] = None,
    array: Optional[str] = None,
    sets: Optional[Mapping[str, Any]] = None,
    pack: Optional[int] = None,
    name: Optional[str] = None,
    budget: Optional[float] = None,
    smoke: bool = False,
    reuse: bool = False,
    rerun: bool = False,
    folder: Folder = None,
) -> Submitted:
    """Start a phase, or a chain of phases, each as one job. `sets` overrides parameters by name, `budget` is in dollars.

    Raises DecisionNeeded where earlier results are in the way: say `reuse` or `rerun`.
    """
    request = SubmitRequest(
        phases=phases,
        folder=_folder(folder),
        profile=profile,
        array=array,
        sets=_sets(sets),
        pack=pack,
        name=name,
        budget=budget,
        smoke=smoke,
        reuse=reuse,
        rerun=rerun,
    )
    return _submit.submit(request)


def status(job: str = "last", *, folder: Folder = None) -> JobView:
    """What is known of a job now."""
    found = _stores.resolve(job, _folder(folder))
    return _status.status(found.store, found.job)


def wait(job: str = "last", *, timeout: Optional[float] = None, folder: Folder = None) -> JobView:
    """The job once it (or the task that the word names) has ended, or as it is after `timeout` seconds."""
    found = _stores.resolve(job, _folder(folder))
    return _wait.wait(found.store, found.job, task=found.task, timeout=timeout)


def jobs(*, limit: Optional[int] = None, everywhere: bool = False, folder: Folder = None) -> tuple[JobView, ...]:
    """The newest jobs of the project; of every known project where it has none, or `everywhere`."""
    return _status.overview(_folder(folder), limit, everywhere=everywhere).jobs


def check(
    *phases: str,
    profile: Optional[str] = None,
    array: Optional[str] = None,
    sets: Optional[Mapping[str, Any]] = None,
    smoke: bool = False,
    folder: Folder = None,
) -> tuple[Checked, ...]:
    """What would stop a submit, phase by phase; nothing is submitted."""
    return _check.check(
        SubmitRequest(
            phases=phases, folder=_folder(folder), profile=profile, array=array, sets=_sets(sets), smoke=smoke
        )
    )


def tail(
    job: str = "last",
    *,
    tasks: Optional[Collection[int]] = None,
    lines: Optional[int] = None,
    follow: bool = True,
    folder: Folder = None,
) -> Iterator[Union[Line, Note, Finished]]:
    """The logs as they grow, attempt after attempt: lines in bytes, notes beside them, and Finished as the last item.

    `lines`: only so many of the last ones of each task; None: all.
    """
    found = _stores.resolve(job, _folder(folder))
    chosen = frozenset(_tasks(found, tasks) or ()) or None
    return _tail.tail(found.store, found.job, TailRequest(tasks=chosen, lines=lines, follow=follow))


def reconcile(job: str = "last", *, folder: Folder = None) -> Reconciled:
    """Find what of a job was lost, and write it down; what cannot be known changes nothing."""
    found = _stores.resolve(job, _folder(folder))
    return _reconcile.reconcile(found.store, found.job)


def cancel(job: str, *, tasks: Optional[Collection[int]] = None, folder: Folder = None) -> Cancelled:
    """Stop a job, or some of its tasks; returns once they have ended, or cannot be stopped in order."""
    found = _stores.resolve(job, _folder(folder))
    tasks = _tasks(found, tasks)
    return _cancel.cancel(found.store, found.job, tasks, wait_s=_cancel.long_enough(found.store, found.job))


def retry(job: str, *, tasks: Optional[Collection[int]] = None, folder: Folder = None) -> Retried:
    """Run tasks again, from their last checkpoints: those that are named, or all that ended without success."""
    found = _stores.resolve(job, _folder(folder))
    return _retry.retry(found.store, found.job, _tasks(found, tasks))


def _tasks(found: Found, tasks: Optional[Collection[int]]) -> Optional[tuple[int, ...]]:
    """Those that are named by number, or by the word; None: all."""
    if tasks is not None:
        return tuple(tasks)
    return None if found.task is None else (found.task,)


def _sets(sets: Optional[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{key}={_text(value)}" for key, value in (sets or {}).items())


def _folder(folder: Folder) -> Path:
    return Path.cwd() if folder is None else Path(folder).absolute()


def _text(value: Any) -> str:
    """As it would be written in YAML, which is how `--set` reads it: JSON is YAML too, and `"3"` stays a text."""
    return json.dumps(value)
