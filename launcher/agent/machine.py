"""The machine's shares: who has taken which GPUs, processors and memory, and who waits for them, first in first out.

A folder of the user's on this host, one lock for all of it, and two files per share:

    NAME.lock    empty; whose flock is held, is held for: by the agent, its supervisor and the child, who inherit the
                 descriptor. The kernel says who lives, whatever was killed in between.
    NAME.json    what is taken or wanted; replaced in one step, by the share's owner only.

A second witness, for a child that closed the descriptors it inherited: processes marked with an attempt of the share's
tasks. A share is over when neither is left; any agent that looks removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from launcher.agent.shares import Entry, Need, Taken, choose, never_fits, why_not
from launcher.errors import StoreError
from launcher.model.records import ProcessId
from launcher.store import processes
from launcher.store.machine import Capacity


@dataclass(frozen=True)
class Advance:
    """What came of asking: shares that were granted, needs that can never be met with the reason, and why the next waits."""

    granted: tuple[Taken, ...] = ()
    never: tuple[tuple[Need, str], ...] = ()
    waiting_for: Optional[str] = None


class Busy(Exception):
    """Another agent is at the ledger; ask again soon."""


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """One per user and host: a home may be shared by several machines."""
    base = environment.get("XDG_STATE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~/.local/state"))
    return root / "launch" / "machine" / processes.host()


@dataclass
class Ledger:
    """The ledger as one agent uses it. Its tickets share one place in the queue: when its allocation was ordered."""

    root: Path
    capacity: Capacity
    place: tuple[float, str]
    _ticket: Optional[tuple[str, int]] = None  # name and descriptor of what waits
    _witnesses: dict[str, list[ProcessId]] = field(default_factory=dict)

    def advance(self, needs: Iterable[Need], *, over: Sequence[Taken] = ()) -> Advance:
        """Give back the shares that are `over` and take as many of the needs, in order, as can be had now.

        The first that cannot leaves a ticket, which keeps our place. All in one step, so that no younger one comes
        between. Raises Busy where another agent is at it, StoreError where the folder cannot be used; then nothing has
        changed and the shares are still ours.
        """
        granted: list[Taken] = []
        never: list[tuple[Need, str]] = []
        waiting_for: Optional[str] = None
        with self._locked():
            for taken in over:
                self._give_back(taken)
            entries = self._entries()
            try:
                for need in needs:
                    impossible = never_fits(need, self.capacity)
                    if impossible:
                        never.append((need, impossible))
                        continue
                    waiting_for = why_not(need, self.capacity, entries, self.place)
                    if waiting_for:
                        self._wait(need)
                        break
                    granted.append(self._grant(need, choose(need, self.capacity, entries)))
                    entries.append(Entry(granted[-1].name, self.place, need, False, granted[-1].gpus))
                else:
                    self._leave()
            except OSError as error:  # what was granted before is ours; the rest asks again
                waiting_for = (
                    f"the ledger of the machine's shares, {self.root}, which cannot be written: {error.strerror}"
                )
        return Advance(tuple(granted), tuple(never), waiting_for)

    def entries(self) -> list[Entry]:
        """What is taken and who waits, ours included; for those who show it. Raises Busy and StoreError."""
        with self._locked():
            return self._entries(ours=True)

    # --- one ticket or share ---------------------------------------------------------------------------------------------

    def _wait(self, need: Need) -> None:
        if self._ticket is None:
            self._ticket = self._new()
        name, _ = self._ticket
        self._write(Entry(name, self.place, need, True, (), self.capacity.gpus))

    def _grant(self, need: Need, gpus: tuple[str, ...]) -> Taken:
        name, descriptor = self._ticket or self._new()
        self._ticket = (name, descriptor)  # if writing fails, it is still a ticket of ours
        self._write(Entry(name, self.place, need, False, gpus))
        self._ticket = None
        return Taken(name, need, gpus, descriptor)

    def _give_back(self, taken: Taken) -> None:
        """What still runs and holds the lock (a supervisor that was told to end) keeps the share until it is gone."""
        os.close(taken.descriptor)
        with contextlib.suppress(OSError):  # then it is the next look's
            if not self._held(taken.name):
                self._remove(taken.name)

    def _leave(self) -> None:
        if self._ticket is not None:
            name, descriptor = self._ticket
            self._ticket = None
            self._remove(name)
            os.close(descriptor)

    def _new(self) -> tuple[str, int]:
        name = os.urandom(8).hex()
        descriptor = os.open(self.root / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return name, descriptor

    def _write(self, entry: Entry) -> None:
        temporary = self.root / f".{entry.name}.tmp"
        temporary.write_text(json.dumps(entry.to_json()), encoding="utf-8")
        os.rename(temporary, self.root / f"{entry.name}.json")

    def _remove(self, name: str) -> None:
        for path in (self.root / f"{name}.json", self.root / f".{name}.tmp", self.root / f"{name}.lock"):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        self._witnesses.pop(name, None)

    # --- all of them -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.root / "ledger", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise Busy from None
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreError(f"keeping the machine's shares in {self.root}", came_back=str(error)) from error

    def _entries(self, *, ours: bool = False) -> list[Entry]:
        """Those that live; the rest is removed. Our own ticket is left out, unless asked for."""
        own = self._ticket[0] if self._ticket else None
        found: list[Entry] = []
        for file in os.listdir(self.root):
            name, dot, kind = file.rpartition(".")
            if not dot or kind != "lock":
                continue
            entry = self._read(name)
            if name == own:
                if ours and entry is not None:
                    found.append(entry)
            elif self._lives(name, entry):
                if entry is not None:
                    found.append(entry)
            else:
                self._remove(name)
        return found

    def _read(self, name: str) -> Optional[Entry]:
        """None for a share that was made and not yet said: its owner died in between, or its disk was full."""
        try:
            return Entry.from_json(name, json.loads((self.root / f"{name}.json").read_bytes()))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def _held(self, name: str) -> bool:
        descriptor = os.open(self.root / f"{name}.lock", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _lives(self, name: str, entry: Optional[Entry]) -> bool:
        if self._held(name):
            return True
        if entry is None or entry.waits:
            return False
        known = [process for process in self._witnesses.get(name, ()) if processes.alive(process)]
        if not known:
            known = _marked(entry.need)
        self._witnesses[name] = known
        return bool(known)


def _marked(need: Need) -> list[ProcessId]:
    """Processes that carry the mark of an attempt of these tasks."""
    wanted = tuple(f"{processes.ATTEMPT_VARIABLE}={need.job}/{task}/".encode() for task in need.tasks)
    found = []
    for pid in processes.all_pids():
        if any(assignment.startswith(wanted) for assignment in processes.environment(pid)):
            process = processes.process_id(pid)
            if process is not None:
                found.append(process)
    return found
