"""One commit at a time in a workspace: two jobs may hold the same path."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "commit.lock"
WAIT_S = 6 * 3600.0
"""Another commit may be copying for hours; to fail means that the task is run again."""
PAUSE_S = 0.1
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def alone(folder: Path, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock of a workspace's own folder. Not for the loop's thread. Raises OSError where somebody has held it for too
    long. The lock dies with its process."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, folder / NAME, wait_s)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, file: Path, wait_s: float) -> None:
    limit = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                raise OSError(errno.ETIMEDOUT, f"another commit has held {file} for {wait_s:g} s") from None
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None  # Lustre without its option `flock`: nobody there can wait for another
            raise
        time.sleep(PAUSE_S)
