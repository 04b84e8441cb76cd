"""Readings that may hang, each in a daemon thread of its own: nobody ever waits for one.

A dead mount keeps statvfs for hours, a lost GPU keeps NVML. The thread that hangs stays behind, its last value is shown no
more, and the source is *not available since* the last time it answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, Optional, TypeVar

T = TypeVar("T")

STACK_BYTES = 512 * 1024
"""Deep enough for every reader of ours; drivers' libraries get the platform's default."""
CPU_SHARE = 0.01
"""A source whose reading is dear (100 ms, at a beat of 10 s) is read less often: it takes at most this part of a core."""
LONGEST_PAUSE_S = 300.0


class Unavailable(Exception):
    """What was to be read does not exist here, or did not answer; the text says what."""


class Source(Generic[T]):
    """One reading, repeated when it is asked for.

    `read` runs in the source's thread only. `ask` never blocks and never starts a second reading while one is under way.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], T],
        *,
        deadline: float,
        wall: Callable[[], float] = time.time,
        deep: bool = False,
    ) -> None:
        self.name = name
        self._read = read
        self._deadline = deadline
        self._wall = wall
        self._deep = deep
        self._changed = threading.Condition()
        self._value: Optional[T] = None
        self._due: Optional[float] = None  # monotonic
        self._begun: Optional[float] = None  # monotonic, while a reading is under way
        self._not_before = 0.0
        self._answered: Optional[float] = None  # wall
        self._failing = False
        self._error = ""
        self._readings = 0
        self._closed = False
        self._thread: Optional[threading.Thread] = None
        self._started_at = wall()
        self._told_missing = False

    def start(self) -> None:
        """Begin the thread. A machine without room for another thread has one source less, and says so."""
        self._thread = threading.Thread(target=self._run, name=f"source-{self.name}", daemon=True)
        before = threading.stack_size(0 if self._deep else STACK_BYTES)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread, self._failing, self._error = None, True, str(error)
        finally:
            threading.stack_size(before)

    @property
    def started(self) -> bool:
        return self._thread is not None

    def ask(self, mono: float, after: float = 0.0, *, urgent: bool = False) -> None:
        """Have it read `after` seconds from now, unless a reading is under way or one is due earlier. `urgent`: however
        dear the last one was."""
        with self._changed:
            if self._begun is None and not self._closed:
                due = mono + after if urgent else max(mono + after, self._not_before)
                self._due = due if self._due is None else min(self._due, due)
                self._changed.notify()

    def close(self) -> None:
        """No further reading. One that is under way is left to itself."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def value(self, mono: float) -> Optional[T]:
        """The newest value; None where there is none or the source is missing."""
        with self._changed:
            return None if self._is_missing(mono) else self._value

    def missing_since(self, mono: float) -> Optional[float]:
        """Wall time of the last answer (of the start, where none came) if the source is late or fails; else None."""
        with self._changed:
            return (self._answered or self._started_at) if self._is_missing(mono) else None

    def settle(self, timeout: float, *, due: bool = True) -> bool:
        """Wait until what was asked for has been read, `timeout` seconds at most; without `due` only until what is under way
        has been. For the end of an attempt."""
        limit = time.monotonic() + timeout
        with self._changed:
            while ((due and self._due is not None) or self._begun is not None) and self._thread and not self._closed:
                left = limit - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    @property
    def readings(self) -> int:
        return self._readings

    def event(self, mono: float) -> Optional[dict[str, Any]]:
        """What to record when the source went missing or came back; None when nothing changed since the last call."""
        with self._changed:
            missing = self._is_missing(mono)
            if missing == self._told_missing:
                return None
            self._told_missing = missing
            if not missing:
                return {"kind": "source back", "source": self.name}
            why = self._error if self._failing else f"no answer within {self._deadline:g} s"
            since = self._answered or self._started_at
            return {"kind": "source missing", "source": self.name, "since": since, "why": why}

    def _is_missing(self, mono: float) -> bool:
        late = self._begun is not None and mono - self._begun > self._deadline
        return late or self._failing

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (self._due is None or time.monotonic() < self._due):
                    self._changed.wait(None if self._due is None else max(0.0, self._due - time.monotonic()))
                if self._closed:
                    return
                self._due, self._begun = None, time.monotonic()
            self._read_once()

    def _read_once(self) -> None:
        value: Optional[T] = None
        error: Optional[str] = None
        before = time.thread_time()
        try:
            value = self._read()
        except Exception as caught:  # noqa: BLE001 - whatever a reading raises, it is not available and the rest goes on
            error = str(caught) if isinstance(caught, Unavailable) else f"{type(caught).__name__}: {caught}"
        cost = time.thread_time() - before
        with self._changed:
            now = time.monotonic()
            self._begun = None
            self._readings += 1
            self._not_before = now + min(cost / CPU_SHARE, LONGEST_PAUSE_S)
            self._failing, self._error = error is not None, (error or "")[:500]
            if error is None:
                self._value, self._answered = value, self._wall()
            self._changed.notify_all()
