"""What the start of a cluster waits for, and what is said when it waits in vain."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable

from launcher.errors import LaunchError
from onehost import daemons
from onehost.daemons import Daemon
from onehost.settings import Layout

USABLE = ("idle", "mixed", "allocated", "completing", "reserved")
"""Node states in which jobs may start; with a sign behind it, the node does not answer or boots."""


def failure(daemon: Daemon, tried: str) -> LaunchError:
    """The error of a daemon, with the end of its log and of its output."""
    logs = [daemons.last_lines(daemon.log), daemons.last_lines(daemon.log.with_suffix(".out"))]
    text = "\n".join(filter(None, logs))
    hint = daemons.hint_for(text) or f"the whole log stays: {daemon.log.name} in the folder log"
    return LaunchError(tried, came_back=f"its log ends with\n{text}" if text else None, hint=hint)


def install_database(layout: Layout) -> None:
    """Make an empty database where there is none. Raises LaunchError."""
    if (layout.root / "db" / "mysql").is_dir():
        return
    log = layout.log("mariadb-install-db")
    with open(log, "wb") as output:
        done = subprocess.run(
            daemons.database_installation(layout),
            env=layout.environment(os.environ),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    if done.returncode != 0:
        text = daemons.last_lines(log)
        tried = f"the database could not be made (exit code {done.returncode})"
        raise LaunchError(tried, came_back=f"its log ends with\n{text}", hint=daemons.hint_for(text))


def wait_for_nodes(
    layout: Layout, names: tuple[str, ...], within_s: float, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Until the controller counts these nodes as up. Raises LaunchError with their states."""
    deadline = time.monotonic() + within_s
    while True:
        meanwhile()
        states = daemons.node_states(layout)
        waiting = {name: states.get(name, "unknown") for name in names if states.get(name) not in USABLE}
        if not waiting:
            return
        if time.monotonic() > deadline:
            text = ", ".join(f"{name} is {state}" for name, state in waiting.items())
            raise LaunchError(
                f"not all nodes are up after {within_s:.0f} s",
                came_back=text,
                hint=f"the logs are in {layout.root}/log",
            )
        time.sleep(0.05)
