"""From which checkpoint an attempt resumes: the newest complete one of the task's earlier attempts.

Nobody may have watched the end of an attempt, so what its child announced is read here again: a checkpoint that was declared
complete in its last seconds needs no time to prove it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from launcher.errors import BadRecord, StoreError
from launcher.model.phase import Checkpoints
from launcher.store import keys, records
from launcher.supervisor.checkpointing import checkpoints
from launcher.supervisor.faults import StartFailed
from launcher.supervisor.outputs.commit import is_there
from launcher.supervisor.places import Places
from launcher.supervisor.readings.declared import Lines
from launcher.supervisor.readings.logtext import load_object

READ_CPU_S = 10.0
"""For the progress of one earlier attempt; a day of it takes a second."""


def newest(places: Places, wall: float) -> Optional[Path]:
    """None where nothing can be resumed. Checkpoints are judged by what lies on the disk now; what an earlier attempt's
    record names is believed where the folder itself tells nothing.

    Raises StartFailed where that cannot be seen: what does not answer now may hold hours of work, and nobody shall begin
    from the start, perhaps over it, on a guess."""
    rules = places.spec.checkpoints
    if rules is None:
        return None
    try:
        return _newest(places, rules, wall)
    except (OSError, StoreError) as error:
        why = error.strerror if isinstance(error, OSError) else error.came_back
        raise StartFailed(
            "finding the checkpoint to resume from",
            came_back=f"{why}: {getattr(error, 'filename', None) or error}",
            hint=f"launch retry {places.spec.job}:{places.task.index} once the disk answers",
        ) from None


def _newest(places: Places, rules: Checkpoints, wall: float) -> Optional[Path]:
    for attempt in sorted(_earlier(places), reverse=True):
        folder = places.checkpoints_of(attempt)
        if folder is not None:
            found = checkpoints.complete(folder, rules, wall, announced=_announced(places, attempt, folder))
            if found:
                return found[-1]
        named = _recorded(places, attempt)
        if named is not None and is_there(Path(named)):
            return Path(named)
    return None


def _announced(places: Places, attempt: int, folder: Path) -> set[str]:
    """Where the checkpoints that an earlier child said are complete lie now: at its end they are moved out of its tree."""
    record = keys.of_attempt(places.spec.job, places.task.index, attempt, keys.PROGRESS)
    lines = Lines(places.store.path(record)).new(READ_CPU_S)
    objects = (load_object(line) for line in lines if b'"checkpoint"' in line)
    said = (found.get("checkpoint") for found in objects if found is not None)
    return {str(folder / os.path.basename(path)) for path in said if isinstance(path, str) and "\0" not in path}


def _earlier(places: Places) -> list[int]:
    found = records.attempts(places.store, places.spec.job, places.task.index)
    return [attempt for attempt in found if attempt < places.attempt]


def _recorded(places: Places, attempt: int) -> Optional[str]:
    arguments = (places.store, places.spec.job, places.task.index, attempt)
    try:
        ended = records.read_exit(*arguments)
        if ended is not None and ended.checkpoint is not None:
            return ended.checkpoint
        beat = records.read_heartbeat(*arguments)
        return None if beat is None else beat.checkpoint
    except BadRecord:
        return None
