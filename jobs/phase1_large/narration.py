"""Lines for people, one per stage, written at once: a job that writes late looks dead."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

BEGUN = time.monotonic()


def say(text: str) -> None:
    """Print one line with the seconds since the start. A log that cannot be written does not end the run."""
    try:
        print(f"[+{time.monotonic() - BEGUN:8.2f}s] {text}", flush=True)
    except OSError:
        pass


@dataclass
class Stopwatch:
    """`seconds` is known once the stage has ended."""

    seconds: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    watch = Stopwatch()
    begun = time.monotonic()
    try:
        yield watch
    finally:
        watch.seconds = time.monotonic() - begun
