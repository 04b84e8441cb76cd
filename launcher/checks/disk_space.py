"""Is there room on the workspace's disk for what the tasks say they need?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from launcher.checks.facts import Facts, Objection
from launcher.model.names import show_indices
from launcher.model.units import show_size

NAME = "disk"


def check(facts: Facts) -> list[Objection]:
    """Fatal where one task alone does not fit; a warning where all together do not."""
    needs = {paths.task.index: facts.spec.resources_of(paths.task).disk or 0 for paths in facts.tasks}
    if not facts.here or not any(needs.values()):
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
