"""The supervisor's process from its first line to its last: what it tells, which signals end it, what it tidies up."""

from __future__ import annotations

import ctypes
import json
import os
import signal
from pathlib import Path

from launcher.errors import LaunchError
from onehost.control import clean
from onehost.settings import Layout
from onehost.supervisor import Supervisor

PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Orphans of the daemons become children of this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise LaunchError(f"prctl(PR_SET_CHILD_SUBREAPER) failed: {os.strerror(ctypes.get_errno())}")


def supervise(folder: Path, layout: Layout, owner: tuple[int, int] | None, tell: int, keep: bool) -> int:
    """The supervisor's life. `tell`: a descriptor that gets one line of JSON when the cluster is up, or why it is not.

    `keep`: the data are older than this start, and stay when it fails.
    """
    supervisor = Supervisor(layout, owner)

    def say(text: dict[str, object]) -> None:
        try:
            os.write(tell, json.dumps(text).encode() + b"\n")
            os.close(tell)
        except OSError:
            pass  # who started us has gone; the cluster does not depend on it

    def asked_to_end(number: int, frame: object) -> None:
        supervisor.stopping = supervisor.stopping or "keep"

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, asked_to_end)
    failed: LaunchError | None = None
    try:
        become_subreaper()
        supervisor.record()
        supervisor.serve(lambda: say({"up": True}))
    except LaunchError as error:
        failed = error
    except OSError as error:
        failed = LaunchError("the cluster's supervisor failed", came_back=str(error))
    if failed is not None:
        supervisor.stopping = "keep" if keep else "remove"
    try:
        supervisor.take_down()
        clean(folder, layout, supervisor.stopping == "keep")
    finally:
        if failed is not None:
            say({"error": failed.as_json()})
    return 0 if failed is None else 1
