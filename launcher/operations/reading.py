"""Reading the records of one job for somebody who only looks: what cannot be read becomes a problem in words, never an error."""

from __future__ import annotations

import json
import re
from typing import Optional, TypeVar

from launcher.errors import BadRecord, LaunchError
from launcher.model import codec
from launcher.model.records import EndedTask, Event, StopRequest
from launcher.store import keys
from launcher.store.folder import FolderStore

T = TypeVar("T")
NUMBER = re.compile("[0-9]{1,9}")
LARGEST = 10**18  # bytes, seconds and counts all stay below; arithmetic with floats stays exact enough
SAID = 20  # problems that are named


class Reader:
    """One look at one job's records."""

    def __init__(self, store: FolderStore, job: str) -> None:
        self.store = store
        self.job = job
        self._problems: list[str] = []

    def problem(self, words: str) -> None:
        """Something that the view should say."""
        self._problems.append(words)

    @property
    def problems(self) -> tuple[str, ...]:
        """In words; many are summed up."""
        more = len(self._problems) - SAID
        return tuple(self._problems[:SAID]) + ((f"and {more} more records that cannot be read",) if more > 0 else ())

    def record(self, cls: type[T], key: str, unreadable: Optional[list[str]] = None) -> Optional[T]:
        """None where it is absent, and where it is garbage; then its file's name is added to `unreadable`."""
        try:
            content = self.store.read(key)
            return None if content is None else self._decoded(cls, content, key)
        except LaunchError as error:
            self.problem(str(error))
            if unreadable is not None:
                unreadable.append(key.rpartition("/")[2])
            return None

    def _decoded(self, cls: type[T], content: bytes, key: str) -> T:
        where = str(self.store.root / key)
        try:
            data = json.loads(content, parse_int=_whole)
        except (ValueError, RecursionError) as error:
            raise BadRecord(f"{where} is no JSON", came_back=str(error)) from None
        return codec.decode(cls, data, where)

    def lines(self, key: str) -> tuple[EndedTask, ...]:
        """An agent's lines on ended tasks. A torn last line is left out in silence: the exit record is read instead."""
        try:
            content = self.store.read(key) or b""
        except LaunchError as error:
            self.problem(str(error))
            return ()
        found, bad = [], 0
        for line in content.split(b"\n")[:-1]:
            try:
                found.append(EndedTask.from_json(json.loads(line, parse_int=_whole)))
            except (ValueError, TypeError, RecursionError):
                bad += 1
        if bad:
            self.problem(f"{self.store.root / key}: {bad} lines are no ended task")
        return tuple(found)

    def events(self) -> tuple[Event, ...]:
        """In the order of time."""
        return self._all(Event, keys.events(self.job))

    def stops(self) -> tuple[StopRequest, ...]:
        """In the order of time."""
        return self._all(StopRequest, keys.stops(self.job))

    def _all(self, cls: type[T], folder: str) -> tuple[T, ...]:
        found = (self.record(cls, f"{folder}/{name}") for name in self.names(folder))
        return tuple(one for one in found if one is not None)

    def names(self, folder: str) -> list[str]:
        """The names directly under a key; none where it cannot be listed."""
        try:
            return self.store.names(folder)
        except LaunchError as error:
            self.problem(str(error))
            return []

    def numbers(self, folder: str) -> list[int]:
        """Those names that are numbers, ascending."""
        return sorted(int(name) for name in self.names(folder) if NUMBER.fullmatch(name))


def _whole(text: str) -> int:
    value = int(text)
    if abs(value) > LARGEST:
        raise ValueError(f"the number {text[:24]}... is beyond all measure")
    return value
