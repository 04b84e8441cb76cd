"""Making things happen: a node, the controller or the accounting that dies, and comes back."""

from __future__ import annotations

import signal
import subprocess

from launcher.errors import LaunchError
from onehost import control, daemons, packages
from onehost.readiness import wait_for_nodes
from onehost.settings import Layout, client_environment

BACK_S = 40.0
"""A node that comes back registers within seconds; a controller that was away waits for its nodes first."""


def request(layout: Layout, do: str, daemon: str, **more: object) -> bool:
    """Ask for the end or the start of a daemon; False when it was so already. Raises LaunchError."""
    answer = control.ask(layout, {"do": do, "daemon": daemon, **more})
    if answer is None:
        raise LaunchError("the cluster's supervisor has gone", hint="slurm/cluster stop, then start")
    return bool(answer["changed"])


def kill_node(layout: Layout, node: str, hard: bool, at_once: bool) -> bool:
    """SIGKILL to the slurmd of a node; `hard`: its steps and jobs too, as when the power goes.

    `at_once`: the controller is told, and need not find out.
    """
    known(layout, node)
    changed = request(layout, "kill", daemons.NODE + node, signal=int(signal.SIGKILL), hard=hard)
    if at_once:
        scontrol(layout, "update", f"nodename={node}", "state=down", "reason=kill-node")
    return changed


def resume_node(layout: Layout, node: str) -> bool:
    """Start the slurmd of a node again, and wait until the controller counts with it."""
    known(layout, node)
    changed = request(layout, "start", daemons.NODE + node)
    state = daemons.node_states(layout).get(node, "unknown")
    if state.startswith(("down", "drain", "fail")) and not state.endswith("*"):
        scontrol(layout, "update", f"nodename={node}", "state=resume")
    try:
        wait_for_nodes(layout, (node,), BACK_S)
    except LaunchError:
        # Drained by somebody, or by the controller, in the meantime: a resume that was asked for overrules it.
        scontrol(layout, "update", f"nodename={node}", "state=resume")
        wait_for_nodes(layout, (node,), BACK_S)
    return changed


def known(layout: Layout, node: str) -> None:
    """Raises LaunchError for a node that is none."""
    if node not in layout.node_names:
        raise LaunchError(f"this cluster has no node {node!r}", hint=f"its nodes are {', '.join(layout.node_names)}")


def scontrol(layout: Layout, *arguments: str) -> None:
    """Raises LaunchError with what it said."""
    done = subprocess.run(
        [packages.located("scontrol"), *arguments],
        env=client_environment(layout),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise LaunchError(f"scontrol {' '.join(arguments)} failed", came_back=(done.stderr or done.stdout).strip())


def kill_daemon(layout: Layout, daemon: str, gently: bool) -> bool:
    """SIGKILL to the controller or to slurmdbd, or SIGTERM and patience."""
    needs(layout, daemon)
    return request(layout, "kill", daemon, signal=int(signal.SIGTERM if gently else signal.SIGKILL))


def start_daemon(layout: Layout, daemon: str) -> bool:
    """Start it again, and wait until it listens."""
    needs(layout, daemon)
    return request(layout, "start", daemon)


def needs(layout: Layout, daemon: str) -> None:
    """Raises LaunchError where the cluster has no such daemon."""
    if daemon == daemons.ACCOUNTING and not layout.settings.accounting:
        raise LaunchError(
            "this cluster was started without accounting", hint="slurm/cluster start, without --no-accounting"
        )
