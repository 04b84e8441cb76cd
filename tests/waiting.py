"""Waiting for something to become true, with a deadline: the tests' only form of patience."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

POLL_S = 0.01
"""The first pause between two looks; it doubles up to `LONGEST_POLL_S`."""
LONGEST_POLL_S = 0.1


def until(condition: Callable[[], Answer], deadline_s: float, what: str | Callable[[], str]) -> Answer:
    """Ask `condition` until its answer is true in the sense of `bool`, and return that answer.

    `what` names what was waited for; as a function it is called at the deadline only, and can then show the state that
    was reached (the end of a log, the last record). The condition is asked once more after the deadline, so that a
    machine that slept through it does not fail a test whose condition holds.

    Raises AssertionError at the deadline. An exception of the condition is not caught.
    """
    begun = time.monotonic()
    pause = POLL_S
    while True:
        late = time.monotonic() - begun >= deadline_s
        answer = condition()
        if answer:
            return answer
        if late:
            waited_s = time.monotonic() - begun
            waited_for = what() if callable(what) else what
            raise AssertionError(f"waited {waited_s:.1f} s for: {waited_for}; the last answer was {answer!r}")
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_POLL_S)
