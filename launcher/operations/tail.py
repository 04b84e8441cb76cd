"""Follow the logs of a job: all its tasks in one stream, attempt after attempt, until the job has ended.

Each attempt's log is read by byte offset to its very end before the next attempt of the same task begins, so no byte
is lost at a retry and none comes twice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Optional, Union

from launcher.errors import LaunchError, NotFound, UsageError
from launcher.model.names import show_indices
from launcher.model.outcome import Outcome, State
from launcher.model.view import JobView, TaskView
from launcher.operations.gather import gather
from launcher.store import keys, logs
from launcher.store.folder import FolderStore

POLL = 0.1  # seconds between two looks at the logs: the lag of a line is at most this and one read
LOOK = 1.0  # seconds between two looks at the job's records
PARTIAL = 2.0  # an unfinished line that has been still for so long is shown as it is
BAR = 5.0  # a progress bar that redraws its line is shown this often
MANY = 64  # from here on, fewer looks per second, so that the sum stays the same
FLUSH = 1 << 20  # a line longer than this is shown in pieces


@dataclass(frozen=True)
class TailRequest:
    """`tasks` None: all. `lines` None: the whole log; `since` seconds since 1970."""

    tasks: Optional[frozenset[int]] = None
    lines: Optional[int] = None
    since: Optional[float] = None
    grep: Optional[str] = None
    only: Optional[str] = None  # failed, running, succeeded, pending
    follow: bool = True


@dataclass(frozen=True)
class Line:
    """Bytes of one line. `ended`: with its newline, which is not part of `content`; `bar`: a newest state of a line that
    redraws itself, of which the whole comes again when it ends."""

    task: int
    attempt: int
    content: bytes
    ended: bool = True
    bar: bool = False


@dataclass(frozen=True)
class Note:
    """Something to know beside the logs."""

    text: str
    task: Optional[int] = None


@dataclass(frozen=True)
class Finished:
    """The last thing of a stream: the job as it was seen last."""

    job: JobView


Item = Union[Line, Note, Finished]


@dataclass
class Cursor:
    """How far one task's logs were read."""

    task: int
    attempt: int
    offset: int = 0
    held: bytes = b""  # bytes of an unfinished line
    held_since: float = 0.0
    bar_at: float = 0.0
    bar: bytes = b""

    @property
    def redraws(self) -> bool:
        return b"\r" in self.held


def tail(
    store: FolderStore,
    job: str,
    request: TailRequest,
    *,
    look: Callable[[FolderStore, str], JobView] = gather,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Item]:
    """Yields lines in the order in which they are found, notes about states, and Finished as the last item."""
    return _Stream(store, job, request, look, sleep).run()


@dataclass
class _Stream:
    store: FolderStore
    job: str
    request: TailRequest
    look: Callable[[FolderStore, str], JobView]
    sleep: Callable[[float], None]
    cursors: dict[int, Cursor] = field(default_factory=dict)
    done: dict[int, int] = field(default_factory=dict)  # task -> attempt whose log was read to its end
    said: dict[int, str] = field(default_factory=dict)  # task -> what the last note told of it
    trouble: Optional[str] = None

    def __post_init__(self) -> None:
        self.pattern = _compiled(self.request.grep)

    def run(self) -> Iterator[Item]:
        view = self.look(self.store, self.job)
        absent = set(self.request.tasks or ()) - {task.index for task in view.tasks}
        if absent and view.tasks:
            raise NotFound(f"job {self.job} has no task {show_indices(absent)}", hint=f"launch status {self.job}")
        first = True
        next_look = 0.0
        while True:
            notes, ended = list(self._notes(view, first)), {t.index for t in view.tasks if t.state is State.ENDED}
            yield from (note for note in notes if note.task not in ended)
            yield from self._attempts([task for task in view.tasks if self._wanted(task)], first)
            yield from (note for note in notes if note.task in ended)  # a verdict stands below the last line
            first = False
            over = self._over(view) or not self.request.follow
            if over:
                yield from self._drain()
                yield Finished(view)
                return
            started = time.monotonic()
            next_look = started + LOOK
            while time.monotonic() < next_look:
                yield from self._read()
                self.sleep(POLL * max(1.0, len(self.cursors) / MANY))
            before = time.monotonic()
            try:
                view = self.look(self.store, self.job)
                self.trouble = None
            except LaunchError as error:  # the store did not answer; that says nothing about the job
                if self.trouble is None:
                    self.trouble = str(error)
                    yield Note(f"the records cannot be read at the moment, still trying: {error}")
            cost = time.monotonic() - before
            if cost > LOOK / 5:  # a job with very many tasks: look less often than it takes to look
                self.sleep(min(4 * cost, 10.0))

    def _over(self, view: JobView) -> bool:
        """Nothing is to come of the tasks that were asked for."""
        if self.request.tasks is None or not view.tasks:
            return view.state is State.ENDED
        return all(task.state is State.ENDED for task in view.tasks if task.index in self.request.tasks)

    def _wanted(self, task: TaskView) -> bool:
        if self.request.tasks is not None and task.index not in self.request.tasks:
            return False
        return self.request.only is None or self.request.only == group_of(task)

    def _attempts(self, tasks: list[TaskView], first: bool) -> Iterator[Item]:
        for task in tasks:
            if task.attempt == 0:
                continue
            cursor = self.cursors.get(task.index)
            if cursor is None and self.done.get(task.index, 0) < task.attempt:
                cursor = self._open(task, first)
            while cursor is not None and cursor.attempt < task.attempt:
                yield from self._finish(cursor)
                cursor = self._begin(task.index, cursor.attempt + 1)
                if cursor.attempt < task.attempt or task.state is State.ENDED:  # otherwise its state says so
                    yield Note(f"attempt {cursor.attempt}", task.index)
            if cursor is not None and task.state is State.ENDED:
                yield from self._finish(cursor)
                del self.cursors[task.index]
                self.done[task.index] = task.attempt

    def _open(self, task: TaskView, first: bool) -> Cursor:
        """At the first look only the end of the newest log is wanted; an attempt that starts later, or after one that was
        read to its end, is wanted whole."""
        if not first:
            return self._begin(task.index, self.done.get(task.index, 0) + 1)
        if self.request.lines is None and self.request.since is None:
            return self._begin(task.index, 1)
        cursor = self._begin(task.index, task.attempt)
        key = self._key(cursor)
        if self.request.since is not None:
            cursor.offset = logs.offset_since(self.store, self.job, task.index, task.attempt, self.request.since)
        if self.request.lines is not None:
            cursor.offset = max(cursor.offset, logs.offset_of_last(self.store, key, self.request.lines))
        return cursor

    def _begin(self, task: int, attempt: int) -> Cursor:
        cursor = Cursor(task, attempt)
        self.cursors[task] = cursor
        return cursor

    def _key(self, cursor: Cursor) -> str:
        return keys.of_attempt(self.job, cursor.task, cursor.attempt, keys.LOG)

    def _read(self) -> Iterator[Item]:
        for cursor in list(self.cursors.values()):
            try:
                chunk = logs.read_chunk(self.store, self._key(cursor), cursor.offset)
            except LaunchError:
                continue  # said by the next look at the records
            if chunk is None:
                continue
            if chunk.restarted:
                cursor.offset, cursor.held = 0, b""
                yield Note("the log was cut by somebody; it is shown again from its start", cursor.task)
            yield from self._take(cursor, chunk.content, time.monotonic())

    def _take(self, cursor: Cursor, content: bytes, now: float) -> Iterator[Line]:
        cursor.offset += len(content)
        if content:
            *lines, cursor.held = (cursor.held + content).split(b"\n")
            for line in lines:
                yield from self._line(cursor, line)
            cursor.held_since = now
        if len(cursor.held) > FLUSH:
            yield from self._line(cursor, cursor.held, ended=False)
            cursor.held = b""
        elif cursor.held and cursor.redraws:
            newest = cursor.held.rstrip(b"\r").rpartition(b"\r")[2]
            if newest != cursor.bar and now - cursor.bar_at >= BAR:
                cursor.bar, cursor.bar_at = newest, now
                yield from self._line(cursor, newest, ended=False, bar=True)
        elif cursor.held and now - cursor.held_since >= PARTIAL:
            yield from self._line(cursor, cursor.held, ended=False)
            cursor.held = b""

    def _line(self, cursor: Cursor, content: bytes, *, ended: bool = True, bar: bool = False) -> Iterator[Line]:
        if self.pattern is None or self.pattern.search(content):
            yield Line(cursor.task, cursor.attempt, content, ended, bar)

    def _finish(self, cursor: Cursor) -> Iterator[Item]:
        """Read the log of an attempt that has ended to its last byte."""
        while True:
            chunk = logs.read_chunk(self.store, self._key(cursor), cursor.offset)
            if chunk is None or not chunk.content:
                break
            yield from self._take(cursor, chunk.content, time.monotonic())
        if cursor.held:
            yield from self._line(cursor, cursor.held, ended=False)
            cursor.held = b""

    def _drain(self) -> Iterator[Item]:
        for cursor in list(self.cursors.values()):
            yield from self._finish(cursor)

    def _notes(self, view: JobView, first: bool) -> Iterator[Note]:
        """Pending tasks say why, grouped where they say the same; the others say when they change."""
        pending: dict[str, list[int]] = {}
        for task in view.tasks:
            if not self._wanted(task):
                continue
            words = _words(task)
            if words == self.said.get(task.index):
                continue
            known = task.index in self.said
            self.said[task.index] = words
            if task.state in (State.PENDING, State.SUBMITTED):
                pending.setdefault(words, []).append(task.index)
            elif known or not first:
                yield Note(words, task.index)
        for words, indices in pending.items():
            if len(indices) == 1:
                yield Note(words, indices[0])
            else:
                yield Note(f"tasks {show_indices(indices)}: {words}")


def group_of(task: TaskView) -> str:
    """The word of `--only` that a task belongs to."""
    if task.state is State.ENDED:
        return "succeeded" if task.outcome is Outcome.SUCCEEDED else "failed"
    return "pending" if task.state in (State.PENDING, State.SUBMITTED) else "running"


def _words(task: TaskView) -> str:
    if task.state is State.ENDED:
        outcome = task.outcome.value if task.outcome is not None else "ended"
        return outcome if task.outcome is Outcome.SUCCEEDED or not task.why else f"{outcome}: {task.why}"
    if task.why and task.state in (State.PENDING, State.SUBMITTED):
        return task.why if task.why.startswith("waiting ") else f"waiting: {task.why}"
    attempt = f" (attempt {task.attempt})" if task.attempt > 1 else ""
    return f"{task.state.value}{attempt}" + (f": {task.why}" if task.why and task.state is not State.RUNNING else "")


def _compiled(pattern: Optional[str]) -> Optional[re.Pattern[bytes]]:
    """Raises UsageError for a pattern that is none."""
    if pattern is None:
        return None
    try:
        return re.compile(pattern.encode("utf-8", "surrogateescape"))
    except re.error as error:
        raise UsageError(f"--grep {pattern!r} is no regular expression", came_back=str(error)) from None
