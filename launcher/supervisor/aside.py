"""Something long, in a thread, while the heart goes on beating."""

from __future__ import annotations

import threading
from typing import Callable, Generic, Optional, TypeVar

T = TypeVar("T")


class Aside(Generic[T]):
    """Begins at construction. `result` gives the answer, or raises what the work raised, once `done`."""

    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._answer: list[T] = []
        self._error: Optional[BaseException] = None
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def done(self) -> bool:
        """Whether it is over."""
        return not self._thread.is_alive()

    def join(self, seconds: float) -> None:
        """Wait, `seconds` at most. Not for the loop's thread."""
        self._thread.join(seconds)

    def result(self) -> T:
        """Call it when `done`."""
        if self._error is not None:
            raise self._error
        return self._answer[0]

    def _run(self) -> None:
        try:
            self._answer.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again by `result`, in the thread that asks
            self._error = error
