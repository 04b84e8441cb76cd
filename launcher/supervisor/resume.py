"""From which checkpoint an attempt resumes: the newest complete one of the task's earlier attempts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from launcher.errors import LaunchError
from launcher.store import records
from launcher.supervisor import checkpoints
from launcher.supervisor.places import Places


def newest(places: Places, wall: float) -> Optional[Path]:
    """None where nothing can be resumed. Checkpoints are judged by what lies on the disk now; what an earlier attempt's
    record names is believed where the folder itself tells nothing."""
    rules = places.spec.checkpoints
    if rules is None:
        return None
    for attempt in sorted(_earlier(places), reverse=True):
        folder = places.checkpoints_of(attempt)
        found = checkpoints.complete(folder, rules, wall) if folder is not None and folder.is_dir() else []
        if found:
            return found[-1]
        named = _recorded(places, attempt)
        if named is not None and os.path.exists(named):
            return Path(named)
    return None


def _earlier(places: Places) -> list[int]:
    try:
        found = records.attempts(places.store, places.spec.job, places.task.index)
    except LaunchError:
        return []
    return [attempt for attempt in found if attempt < places.attempt]


def _recorded(places: Places, attempt: int) -> Optional[str]:
    arguments = (places.store, places.spec.job, places.task.index, attempt)
    try:
        ended = records.read_exit(*arguments)
        if ended is not None and ended.checkpoint is not None:
            return ended.checkpoint
        beat = records.read_heartbeat(*arguments)
        return None if beat is None else beat.checkpoint
    except LaunchError:
        return None
