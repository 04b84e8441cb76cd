"""The conversation between a command and the supervisor: one line of JSON each way, over a private unix socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

from launcher.errors import LaunchError
from launcher.store.processes import stat
from onehost import belonging, folders
from onehost.settings import Layout

ANSWER_S = 90.0
"""The longest request is the start of slurmdbd on a busy machine."""
END_S = 45.0
"""For the end of the supervisor and of all that it has to end."""


def ask(layout: Layout, request: dict[str, object]) -> dict[str, Any] | None:
    """The supervisor's answer; None where there is no supervisor. Raises LaunchError with what it refused."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(str(layout.control_socket))
            with connection.makefile("rwb") as stream:
                stream.write(json.dumps(request).encode() + b"\n")
                stream.flush()
                line = stream.readline()
    except TimeoutError as error:
        hint = "slurm/cluster stop, then start"
        raise LaunchError(f"the cluster's supervisor did not answer in {ANSWER_S:.0f} s", hint=hint) from error
    except OSError:
        return None
    if not line:
        return None
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        error_ = answer["error"]
        raise LaunchError(error_["message"], came_back=error_.get("came_back"), hint=error_.get("hint"))
    return answer


def supervisor_of(layout: Layout) -> int | None:
    """The supervisor's process, where it runs, whether it answers or not."""
    return belonging.recorded(layout).get("supervisor")


def running(folder: Path) -> Layout | None:
    """The cluster of `folder` whose supervisor answers."""
    layout = folders.layout_of(folder)
    if layout is None or ask(layout, {"do": "status"}) is None:
        return None
    return layout


def up(folder: Path) -> Layout:
    """The cluster of `folder`. Raises LaunchError where none is up."""
    layout = running(folder)
    if layout is None:
        raise LaunchError(f"no cluster is up in {str(folder)!r}", hint="slurm/cluster start")
    return layout


def finish(folder: Path, layout: Layout, keep: bool) -> None:
    """The end of a cluster, whatever state it is in, also without its supervisor. Raises LaunchError.

    Afterwards none of its processes and sockets exists, and its data only where they are kept.
    """
    supervisor = supervisor_of(layout)
    try:
        asked = ask(layout, {"do": "stop", "keep": keep}) is not None
    except LaunchError:
        asked = False
    if supervisor is not None:
        if not asked:
            send(supervisor, signal.SIGTERM)
        deadline = time.monotonic() + END_S
        while alive(supervisor):
            if time.monotonic() > deadline:
                send(supervisor, signal.SIGKILL)
            time.sleep(0.02)
    belonging.end_all(lambda: belonging.of_cluster(layout), 15)
    clean(folder, layout, keep)


def clean(folder: Path, layout: Layout, keep: bool) -> None:
    """After the end of all processes: only what is to be kept stays."""
    if keep:
        folders.remove_sockets(layout.root)
    else:
        folders.remove(folder, layout.root)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    found = stat(pid)
    return found is not None and not found.ended


def send(pid: int, how: signal.Signals) -> None:
    """A signal to a process that may have gone."""
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass
