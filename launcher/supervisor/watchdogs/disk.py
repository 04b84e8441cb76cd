"""Disk: levels, the forecast against the next checkpoint, inodes, and checkpoints that are too large or too many."""

from __future__ import annotations

from typing import Optional

from launcher.model.outcome import Outcome
from launcher.model.phase import Checkpoints
from launcher.model.records import DiskReading
from launcher.supervisor.readings.sample import CheckpointReading, Sample
from launcher.supervisor.watchdogs.median import median
from launcher.supervisor.watchdogs.raised import ACT, LEVELS, NOTICE, WARNING, Raised
from launcher.supervisor.watchdogs.words import percent, show_size, show_time

MARKS = ((0.9, ACT), (0.8, WARNING), (0.6, NOTICE))
SLACK = 0.02
"""A level that was reached holds until the disk is this much below its mark."""
SOON_S = 3600.0
VERY_SOON_S = 600.0
LAST_BYTES = 1 << 30
"""So little left is no room to work in, whatever the size of the disk."""
LARGER, LARGER_BY = 1.25, 16 << 20
"""Both must be so before it is told: a state of a few bytes grows with each digit of its step."""
ROOM = 1.1
_HINT = "free space, lower save_steps' frequency or checkpoints.keep_last, or use a larger disk"


class DiskWatch:
    """A disk that is full to 90 % and stays so ends nothing: the job ends where it is about to run out, so that it ends at a
    checkpoint rather than in the middle of one."""

    def __init__(self, rules: Optional[Checkpoints] = None) -> None:
        self._rules = rules
        self._held: dict[str, str] = {}

    def look(self, sample: Sample) -> list[Raised]:
        """Paths on one disk are spoken of once."""
        found: list[Raised] = []
        seen = set()
        need = self._next_size(sample.checkpoints)
        due = self._next_due(sample)
        for disk in sample.disks or ():
            disk_id = (disk.total, disk.free, disk.inodes_total, disk.inodes_free)
            if disk_id in seen:
                continue
            seen.add(disk_id)
            found.extend(self._room(disk, need))
            found.extend(_forecast(disk, due))
            found.extend(self._inodes(disk))
        found.extend(self._checkpoints(sample.checkpoints))
        return found

    def _room(self, disk: DiskReading, need: Optional[int]) -> list[Raised]:
        if disk.used is None or disk.free is None or not disk.total:
            return []
        fraction = disk.used / disk.total
        level = self._level(disk.path, fraction)
        what = f"the quota on {disk.path}" if disk.quota else disk.path
        state = f"{what} is {percent(fraction)} full, {show_size(disk.free)} left"
        found = []
        if need is not None and disk.free < need * ROOM:
            message = f"{state}: the next checkpoint ({show_size(need)}) does not fit"
            found.append(Raised("disk.no_room_for_checkpoint", ACT, message, _HINT, disk.path, Outcome.OUT_OF_DISK))
        if level is not None:
            last = level == ACT and (disk.free < LAST_BYTES or (disk.full_in is not None and disk.full_in < SOON_S))
            stop = Outcome.OUT_OF_DISK if last else None
            found.append(Raised("disk.full", level, state, _HINT, disk.path, stop))
        return found

    def _level(self, key: str, fraction: float) -> Optional[str]:
        held = self._held.get(key)
        for mark, level in MARKS:
            slack = SLACK if held is not None and LEVELS.index(held) >= LEVELS.index(level) else 0.0
            if fraction >= mark - slack:
                self._held[key] = level
                return level
        self._held.pop(key, None)
        return None

    def _inodes(self, disk: DiskReading) -> list[Raised]:
        if disk.inodes_free is None or not disk.inodes_total:
            return []
        fraction = 1 - disk.inodes_free / disk.inodes_total
        level = self._level(f"{disk.path} inodes", fraction)
        if level is None or level == NOTICE:
            return []
        message = f"{disk.path} has used {percent(fraction)} of its inodes, room for {disk.inodes_free} more files"
        stop = Outcome.OUT_OF_DISK if disk.inodes_free < 100 else None
        return [Raised("disk.inodes", level, message, "many small files: pack them into one", disk.path, stop)]

    def _next_size(self, checkpoints: Optional[CheckpointReading]) -> Optional[int]:
        if self._rules is None:
            return None
        known = list(checkpoints.sizes) if checkpoints else []
        if self._rules.size is not None:
            known.append(self._rules.size)
        return max(known) if known else None

    def _next_due(self, sample: Sample) -> Optional[float]:
        """Seconds until the next checkpoint; None where neither the phase nor its past tells."""
        times = sample.checkpoints.times if sample.checkpoints else ()
        gaps = [later - earlier for earlier, later in zip(times, times[1:]) if later > earlier]
        every = self._rules.every if self._rules and self._rules.every else median(gaps) if gaps else None
        if every is None:
            return None
        since = sample.wall - times[-1] if times else sample.elapsed
        return max(0.0, every - since)

    def _checkpoints(self, checkpoints: Optional[CheckpointReading]) -> list[Raised]:
        if self._rules is None or checkpoints is None or not checkpoints.sizes:
            return []
        found = []
        newest, earlier = checkpoints.sizes[-1], checkpoints.sizes[:-1]
        expected = self._rules.size if self._rules.size is not None else median(earlier) if earlier else None
        if expected and newest > max(expected * LARGER, expected + LARGER_BY):
            message = f"{checkpoints.complete[-1]} has {show_size(newest)}, expected were {show_size(expected)}"
            hint = "optimizer state or a whole model where an adapter was meant? Each further one costs as much"
            found.append(Raised("disk.checkpoint_larger", WARNING, message, hint))
        # One more than keep_last is there while the oldest waits for its successor to be complete.
        if len(checkpoints.sizes) > max(1, self._rules.keep_last) + 1:
            message = (
                f"{len(checkpoints.sizes)} checkpoints ({show_size(sum(checkpoints.sizes))}) where "
                f"keep_last is {self._rules.keep_last}"
            )
            hint = "nothing deletes them"
            if checkpoints.unprunable:
                hint = f"the metric {self._rules.best!r} is not known for {checkpoints.unprunable}, so each may be the best: "
                hint += "name it in task.checkpoint_saved(path, step, metric=...)"
            found.append(Raised("disk.too_many_checkpoints", WARNING, message, hint))
        return found


def _forecast(disk: DiskReading, due: Optional[float]) -> list[Raised]:
    if disk.full_in is None or disk.rate is None or not disk.used or not disk.total:
        return []
    before = due is not None and disk.full_in < due and disk.full_in < 24 * SOON_S
    if not before and disk.full_in >= SOON_S:
        return []
    message = f"{disk.path} is full in {show_time(disk.full_in)} at {show_size(disk.rate)}/s"
    if before:
        message += f", before the next checkpoint in {show_time(due)}"
    # A rate holds for long only where it has filled much; a download on an empty disk ends by itself.
    serious = disk.full_in < VERY_SOON_S and disk.used / disk.total >= MARKS[1][0]
    return [
        Raised(
            "disk.filling",
            ACT if serious else WARNING,
            message,
            _HINT,
            disk.path,
            Outcome.OUT_OF_DISK if serious else None,
        )
    ]
