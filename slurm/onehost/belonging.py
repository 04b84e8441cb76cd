"""Which processes belong to a cluster or to one of its nodes, and ending them, whoever their parent is by now."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from launcher.errors import LaunchError
from launcher.store.processes import all_pids, descendants, environment, stat
from onehost.folders import write
from onehost.settings import MARK, Layout

SOCKET = re.compile(r"socket:\[(\d+)\]")


def of_cluster(layout: Layout) -> set[int]:
    """Daemons, job steps, jobs, login sessions, and all beneath them; not this process nor its ancestors.

    Having SLURM_CONF of the cluster is not enough: the user's own shell has it after `eval "$(cluster env)"`. A job
    process has SLURMD_NODENAME too.
    """
    mark, conf = f"{MARK}={layout.private}".encode(), f"SLURM_CONF={layout.conf}".encode()
    found = set(steps(layout, ""))
    found |= {pid for name, pid in recorded(layout).items() if name != "supervisor"}
    for pid in all_pids():
        variables = environment(pid)
        if mark in variables or (conf in variables and any(each.startswith(b"SLURMD_NODENAME=") for each in variables)):
            found.add(pid)
    return set(descendants(found)) - ancestors()


def of_node(layout: Layout, node: str) -> set[int]:
    """Job steps and jobs of one node, and all beneath them; not its slurmd."""
    conf, name = f"SLURM_CONF={layout.conf}".encode(), f"SLURMD_NODENAME={node}".encode()
    found = set(steps(layout, node))
    for pid in all_pids():
        variables = environment(pid)
        if conf in variables and name in variables:
            found.add(pid)
    return set(descendants(found)) - ancestors()


def record(layout: Layout, pids: dict[str, int]) -> None:
    """Keep which process is which daemon, with its start, so that another process with its number is not taken for it."""
    starts = {name: (pid, found.start) for name, pid in pids.items() if (found := stat(pid)) is not None}
    write(layout.root / "run" / "processes.json", json.dumps(starts))


def recorded(layout: Layout) -> dict[str, int]:
    """Those of the recorded processes that still run."""
    try:
        text = (layout.root / "run" / "processes.json").read_text(encoding="utf-8")
        starts = {str(name): (int(pid), int(start)) for name, (pid, start) in json.loads(text).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {name: pid for name, (pid, start) in starts.items() if runs_since(pid, start)}


def runs_since(pid: int, start: int) -> bool:
    """Whether the process of this number, started at this clock tick, still runs."""
    found = stat(pid)
    return found is not None and found.start == start and not found.ended


def steps(layout: Layout, node: str) -> list[int]:
    """The slurmstepds of a node, of all nodes for "". Their environment need not name the cluster: their socket does."""
    prefix = f"{layout.root}/spool/{node}/" if node else f"{layout.root}/spool/"
    inodes = set()
    try:
        for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            fields = line.split(None, 7)
            if len(fields) == 8 and fields[7].startswith(prefix):
                inodes.add(fields[6])
    except OSError:
        return []
    return [pid for pid in all_pids() if comm(pid) == "slurmstepd" and inodes & open_sockets(pid)] if inodes else []


def comm(pid: int) -> str:
    """The kernel's short name of a process; empty where it has gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def open_sockets(pid: int) -> set[str]:
    """The inodes of the sockets that a process holds."""
    found = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            match = SOCKET.fullmatch(os.readlink(entry.path))
            if match:
                found.add(match[1])
    except OSError:
        pass  # it ended, or is another user's
    return found


def ancestors() -> set[int]:
    """This process and those above it."""
    found, pid = set(), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        above = stat(pid)
        pid = above.parent if above else 0
    return found


def end_all(which: Callable[[], set[int]], deadline_s: float, reap: Callable[[], None] = lambda: None) -> None:
    """SIGKILL to all of `which` until it finds none. Raises LaunchError at the deadline.

    A zombie counts as gone, but one whose other threads still run does not: slurmctld goes on writing so.
    """
    deadline = time.monotonic() + deadline_s
    while left := which():
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        reap()
        if time.monotonic() > deadline:
            named = ", ".join(f"{pid} ({comm(pid)})" for pid in sorted(left))
            raise LaunchError(f"processes {named} do not end", hint=f"kill -9 {' '.join(map(str, sorted(left)))}")
        time.sleep(0.02)
