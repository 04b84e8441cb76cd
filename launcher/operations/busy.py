"""Which paths the jobs that have not ended are going to commit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Optional

from launcher.checks import facts
from launcher.errors import LaunchError
from launcher.model.outcome import State
from launcher.model.template import UnknownField
from launcher.model.view import JobView
from launcher.store import keys, records
from launcher.store.folder import FolderStore


def paths(
    store: FolderStore, workspace: str, look: Optional[Callable[[FolderStore, str], JobView]] = None
) -> dict[str, str]:
    """Path to `JOB:TASK`. A job whose records cannot be read is left out: it says nothing."""
    found: dict[str, str] = {}
    for job in records.jobs(store):
        if over(store, job):
            continue
        with contextlib.suppress(LaunchError, UnknownField):
            found.update(_of_job(store, workspace, job, look))
    return found


def over(store: FolderStore, job: str) -> bool:
    """Whether every allocation that was ordered has released: told from names alone. A job without an order was never
    submitted."""
    names = set(store.names(keys.agents(job)))
    ordered = [name[: -len(".order.json")] for name in names if name.endswith(".order.json")]
    return all(f"{allocation}.released.json" in names for allocation in ordered)


def _of_job(
    store: FolderStore, workspace: str, job: str, look: Optional[Callable[[FolderStore, str], JobView]]
) -> dict[str, str]:
    spec = records.read_spec(store, job)
    if spec is None or spec.place.workspace != workspace or not spec.outputs:
        return {}
    if look is None:
        from launcher.operations.gather import gather

        look = gather
    living = {task.index for task in look(store, job).tasks if task.state is not State.ENDED}
    return {
        path: f"{job}:{one.task.index}"
        for one in facts.fill(spec)
        if one.task.index in living
        for path in one.outputs.values()
    }
