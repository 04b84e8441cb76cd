"""`cluster env` and `cluster status`: what a cluster is to those who use it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from onehost import control, daemons, folders, packages
from onehost.configuration import LOGIN_HOST
from onehost.network import LOOPBACK
from onehost.settings import Layout

CLIENTS = ("sbatch", "squeue", "scontrol", "sinfo", "sacct")


def variables(layout: Layout) -> dict[str, str]:
    """What `env` exports, PATH apart."""
    ssh = layout.root / "ssh"
    return {
        "SLURM_CONF": str(layout.conf),
        "ONEHOST_SSH_HOST": LOOPBACK,
        "ONEHOST_SSH_PORT": str(layout.login_port),
        "ONEHOST_SSH_USER": layout.user,
        "ONEHOST_SSH_KEY": str(ssh / "key"),
        "ONEHOST_SSH_KNOWN_HOSTS": str(ssh / "known_hosts"),
        "ONEHOST_SSH_CONFIG": str(ssh / "config"),
        "ONEHOST_SSH_ALIAS": LOGIN_HOST,
    }


def path_additions() -> list[str]:
    """Folders of SLURM's commands that PATH lacks."""
    here = (os.environ.get("PATH") or os.defpath).split(os.pathsep)
    found = [os.path.dirname(packages.located(program)) for program in CLIENTS]
    return [folder for folder in dict.fromkeys(found) if folder not in here]


def exports(layout: Layout) -> str:
    """For `eval` in a POSIX shell."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables(layout).items()]
    additions = path_additions()
    if additions:
        lines.append(f'export PATH="$PATH":{shlex.quote(os.pathsep.join(additions))}')
    return "\n".join(lines)


def env_json(layout: Layout) -> dict[str, object]:
    """The same for programs, and what they may want to know besides."""
    return {
        "variables": variables(layout),
        "path": path_additions(),
        "folder": layout.folder,
        "private": layout.private,
        "logs": str(layout.root / "log"),
        "nodes": list(layout.node_names),
        "cpu_nodes": list(layout.cpu_nodes),
        "gpu_nodes": list(layout.gpu_nodes),
        "accounting": layout.settings.accounting,
        "controller_port": layout.controller_port,
    }


def status(folder: Path) -> dict[str, object]:
    """Daemons and nodes; `up` is False where no supervisor answers. A node that nobody could ask about is unknown."""
    layout = folders.layout_of(folder)
    if layout is None:
        return {"up": False, "folder": str(folder), "daemons": [], "nodes": []}
    answer = control.ask(layout, {"do": "status"})
    if answer is None:
        left = (
            "its data are kept: start goes on with them"
            if (layout.root / "kept").exists()
            else "unclean: stop tidies up"
        )
        return {"up": False, "folder": str(folder), "left": left, "daemons": [], "nodes": []}
    states = daemons.node_states(layout)
    nodes = [
        {"node": name, "state": states.get(name, "unknown"), "gpus": gpus_of(layout, name)}
        for name in layout.node_names
    ]
    return {"up": True, "folder": str(folder), "private": layout.private, **answer, "nodes": nodes}


def gpus_of(layout: Layout, node: str) -> int:
    """How many GPUs a node claims to have."""
    return layout.settings.gpus if node in layout.gpu_nodes else 0
