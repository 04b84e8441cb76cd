"""Who does something, as events, orders and specs name it."""

from __future__ import annotations

import getpass
import os
import socket


def who() -> str:
    """`user@host`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's uid without an entry in passwd
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
