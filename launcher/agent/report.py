"""What an agent tells the store: its view, a line for each task that has ended, the release of its allocation.

A store that refuses (a full disk, a lost mount) stops nothing: what was not written is kept and written later.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Optional

from launcher.errors import LaunchError
from launcher.model import codec
from launcher.model.names import show_indices
from launcher.model.outcome import State
from launcher.model.records import AgentView, EndedTask, ProcessId, Released, RunningTask
from launcher.store import keys, records
from launcher.store.folder import FolderStore

SCHEMA = 1


def say(text: str) -> None:
    """A line of the agent's log, which holds only what goes wrong with itself."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        print(f"{stamp} agent {os.getpid()}: {text}", file=sys.stderr, flush=True)
    except OSError:
        pass  # the log's disk is full


class Report:
    """One allocation's records. `beat` in seconds."""

    def __init__(self, store: FolderStore, job: str, allocation: str, agent: ProcessId, beat: float) -> None:
        self._store = store
        self._job = job
        self._allocation = allocation
        self._agent = agent
        self._beat = beat
        self._seq = 0
        self._written = 0
        self._unwritten: list[EndedTask] = []
        self._refused: Optional[str] = None

    def start(self) -> list[EndedTask]:
        """What this allocation has noted before: not nothing where the agent was started a second time.

        A torn last line is closed, so that the next one stands by itself. Raises BadRecord and StoreError.
        """
        key = keys.ended_segment(self._job, self._allocation)
        content = self._store.read(key)
        if content and not content.endswith(b"\n"):
            whole = content[: content.rfind(b"\n") + 1]
            self._store.replace(key, whole)
        ended = records.read_ended(self._store, self._job, self._allocation)
        self._written = len(ended)
        view = records.read_view(self._store, self._job, self._allocation)
        self._seq = view.seq if view is not None else 0
        return ended

    def ended(self, tasks: Sequence[EndedTask]) -> None:
        """Tasks that are over for good."""
        self._unwritten += tasks
        self.write_ended()

    def write_ended(self) -> bool:
        """True: every line is written."""
        if self._unwritten:
            lines = b"".join(codec.dump(task) for task in self._unwritten)
            if not self._try(
                lambda: self._store.append(keys.ended_segment(self._job, self._allocation), lines, sync=True)
            ):
                return False
            self._written += len(self._unwritten)
            self._unwritten = []
        return True

    def view(
        self,
        state: State,
        queue: Sequence[int],
        running: Sequence[RunningTask],
        waiting_for: Optional[str],
        *,
        sync: bool,
    ) -> bool:
        """Replace the view; at each beat and each change."""
        self._seq += 1
        view = AgentView(
            schema=SCHEMA,
            seq=self._seq,
            at=time.time(),
            job=self._job,
            allocation=self._allocation,
            agent=self._agent,
            state=state,
            queue=show_indices(queue),
            running=tuple(running),
            waiting_for=waiting_for,
            ended=self._written,
            beat=self._beat,
        )
        key = keys.agent_view(self._job, self._allocation)
        return self._try(lambda: self._store.replace(key, codec.dump(view), sync=sync))

    def released(self) -> bool:
        """The last record of all."""
        by = f"agent {self._agent.pid} on {self._agent.host}"
        released = Released(SCHEMA, self._allocation, time.time(), by)
        key = keys.released(self._job, self._allocation)
        return self._try(lambda: self._store.create(key, codec.dump(released)))

    def _try(self, write: Callable[[], object]) -> bool:
        try:
            write()
        except LaunchError as error:
            if self._refused != str(error):
                say(f"{error}; kept, and tried again")
            self._refused = str(error)
            return False
        if self._refused is not None:
            say("the store takes records again")
            self._refused = None
        return True
