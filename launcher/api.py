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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

from launcher.errors import DecisionNeeded, LaunchError, NotFound, Refused, UsageError
from launcher.model.outcome import Outcome, State
from launcher.model.view import JobView, TaskView
from launcher.operations import cancel as _cancel
from launcher.operations import retry as _retry
from launcher.operations import status as _status
from launcher.operations import stores as _stores
from launcher.operations import submit as _submit
from launcher.operations import wait as _wait
from launcher.operations.cancel import Cancelled
from launcher.operations.request import SubmitRequest
from launcher.operations.retry import Retried
from launcher.operations.submit import Submitted, SubmittedJob

__all__ = [
    "Cancelled",
    "DecisionNeeded",
    "JobView",
    "LaunchError",
    "NotFound",
    "Outcome",
    "Refused",
    "Retried",
    "State",
    "Submitted",
    "SubmittedJob",
    "TaskView",
    "UsageError",
    "cancel",
    "retry",
    "status",
    "submit",
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
        sets=tuple(f"{key}={_text(value)}" for key, value in (sets or {}).items()),
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


def cancel(job: str, *, folder: Folder = None) -> Cancelled:
    """Stop a job, or the task that the word names; returns once it has ended, or cannot be stopped in order."""
    found = _stores.resolve(job, _folder(folder))
    tasks = None if found.task is None else (found.task,)
    return _cancel.cancel(found.store, found.job, tasks, wait_s=_cancel.long_enough(found.store, found.job))


def retry(job: str, *, folder: Folder = None) -> Retried:
    """Run again, from their last checkpoints, the task that the word names, or all that ended without success."""
    found = _stores.resolve(job, _folder(folder))
    return _retry.retry(found.store, found.job, None if found.task is None else (found.task,))


def _folder(folder: Folder) -> Path:
    return Path.cwd() if folder is None else Path(folder).absolute()


def _text(value: Any) -> str:
    """As it would be written in YAML, which is how `--set` reads it: JSON is YAML too, and `"3"` stays a text."""
    return json.dumps(value)
