"""Wait for the end of a job, and say what its end means as an exit code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Optional

from launcher.errors import EXIT_CANCELLED, EXIT_FAILED, EXIT_FINE, EXIT_NOT_FINISHED
from launcher.model.outcome import Outcome, State
from launcher.model.view import JobView, TaskView
from launcher.operations.gather import gather
from launcher.operations.status import DETAIL
from launcher.store.folder import FolderStore

SHORTEST, LONGEST = 0.2, 2.0  # seconds between two looks; many tasks make them rarer


def wait(
    store: FolderStore,
    job: str,
    *,
    task: Optional[int] = None,
    timeout: Optional[float] = None,
    on_look: Optional[Callable[[JobView], None]] = None,
) -> JobView:
    """The job once it (or its task) has ended, or as it is after `timeout` seconds, with what `status` tells of its tasks.

    Raises what `gather` raises.
    """
    begun = time.monotonic()
    pause = SHORTEST
    while True:
        looked = time.monotonic()
        view = gather(store, job)
        if on_look is not None:
            on_look(view)
        now = time.monotonic()
        if over(view, task) or (timeout is not None and now - begun >= timeout):
            return gather(store, job, detail=DETAIL)
        pause = min(max(pause * 1.5, 10 * (now - looked)), LONGEST)  # a tenth of a core at most
        left = pause if timeout is None else min(pause, timeout - (now - begun))
        time.sleep(max(left, 0.01))


def chosen(view: JobView, task: Optional[int]) -> tuple[TaskView, ...]:
    """All tasks, or the one that is meant."""
    return tuple(one for one in view.tasks if task is None or one.index == task)


def over(view: JobView, task: Optional[int] = None) -> bool:
    """Whether everything that is meant has ended."""
    wanted = chosen(view, task)
    return bool(wanted) and all(one.state is State.ENDED for one in wanted)


def verdict(tasks: Iterable[TaskView]) -> int:
    """The exit code: 0 all succeeded, 101 one has not ended, 103 those that did not succeed were cancelled, 100 otherwise."""
    wanted = tuple(tasks)
    if not wanted or any(one.state is not State.ENDED for one in wanted):
        return EXIT_NOT_FINISHED
    outcomes = {one.outcome for one in wanted}
    if outcomes == {Outcome.SUCCEEDED}:
        return EXIT_FINE
    return EXIT_CANCELLED if outcomes <= {Outcome.SUCCEEDED, Outcome.CANCELLED} else EXIT_FAILED
