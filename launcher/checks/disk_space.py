"""Is there room on the workspace's disk for what the tasks say they need, and in the store for a job's own records?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from launcher.checks.facts import Facts, Objection
from launcher.model.names import show_indices
from launcher.model.units import show_size

NAME = "disk"
RECORDS = 4 << 20  # bytes: spec, heartbeats, verdict and the beginning of a log; less, and not even its failure is told


def check(facts: Facts) -> list[Objection]:
    """Fatal where one task alone does not fit, or no record would; a warning where all together do not."""
    if not facts.here:
        return []
    return [*_records(Path(facts.spec.place.store)), *_tasks(facts)]


def _records(store: Path) -> list[Objection]:
    free = _free(store)
    if free is None or free >= RECORDS:
        return []
    message = f"{store} has {show_size(free)} free: too little for a job's own records, and a job would end as unknown"
    return [Objection(NAME, True, message, "free some, or choose a profile with another store")]


def _tasks(facts: Facts) -> list[Objection]:
    needs = {paths.task.index: facts.spec.resources_of(paths.task).disk or 0 for paths in facts.tasks}
    if not any(needs.values()):
        return []
    free = _free(facts.workspace)
    if free is None:
        return []
    alone = [index for index, need in needs.items() if need > free]
    if alone:
        need = show_size(max(needs.values()))
        who = f"task {alone[0]}" if len(alone) == 1 else f"each of tasks {show_indices(alone)}"
        message = f"{who} needs {need} of disk, {facts.workspace} has {show_size(free)} free"
        return [Objection(NAME, True, message, "free some, or choose a profile with another workspace")]
    total = sum(needs.values())
    if total > free:
        message = f"all tasks together need {show_size(total)} of disk, {facts.workspace} has {show_size(free)} free"
        return [Objection(NAME, False, message)]
    return []


def _free(folder: Path) -> Optional[int]:
    """Bytes that a user may write at the nearest folder that exists; None where that cannot be said."""
    for place in (folder, *folder.parents):
        try:
            found = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return found.f_bavail * found.f_frsize
    return None
