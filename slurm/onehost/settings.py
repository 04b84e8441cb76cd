"""What a cluster is to be, and where its parts are: plain values, kept as JSON in its private folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launcher.errors import UsageError

MOST_NODES = 64
MOST_GPUS = 16
LINE = re.compile(r"[A-Za-z][A-Za-z0-9]*=[^\n\r#]*")


@dataclass(frozen=True)
class Settings:
    """What somebody may ask for. CPUs and memory are claims: SLURM counts with them, the host need not have them."""

    nodes: int = 4
    cpus: int = 8
    memory_mb: int = 16000
    gpus: int = 4
    """Faked GPUs of each node of the partition gpu."""
    accounting: bool = True
    preempt_grace_s: int = 0
    lines: tuple[str, ...] = ()
    """KEY=VALUE, instead of the line of that key in slurm.conf."""

    def __post_init__(self) -> None:
        limits = {"nodes": (1, MOST_NODES), "cpus": (1, 1024), "gpus": (0, MOST_GPUS), "preempt_grace_s": (0, 3600)}
        for name, (least, most) in {**limits, "memory_mb": (256, 10**8)}.items():
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"{name.replace('_', ' ')} must be {least} to {most}, not {getattr(self, name)}")
        for line in self.lines:
            if not LINE.fullmatch(line):
                raise UsageError(f"--set {line!r} is not KEY=VALUE", hint="--set MinJobAge=2")


@dataclass(frozen=True)
class Layout:
    """A cluster that has its places: folders and ports. `private` is short and plain, whatever `folder` is called."""

    folder: str
    private: str
    user: str
    uid: int
    loopback_only: bool
    controller_port: int
    accounting_port: int
    login_port: int
    node_ports: tuple[int, ...]
    gpu_devices: tuple[str, ...]
    settings: Settings

    @property
    def root(self) -> Path:
        return Path(self.private)

    @property
    def conf(self) -> Path:
        return self.root / "etc" / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        return self.root / "munge" / "munge.socket.2"

    @property
    def control_socket(self) -> Path:
        return self.root / "run" / "control.sock"

    @property
    def database_socket(self) -> Path:
        return self.root / "run" / "mysql.sock"

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(f"n{number}" for number in range(1, self.settings.nodes + 1))

    @property
    def cpu_nodes(self) -> tuple[str, ...]:
        """The first half, or the only node."""
        return self.node_names[: max(1, self.settings.nodes - self.settings.nodes // 2)]

    @property
    def gpu_nodes(self) -> tuple[str, ...]:
        """The second half, or the only node."""
        return self.node_names[self.settings.nodes - max(1, self.settings.nodes // 2) :]

    def log(self, daemon: str) -> Path:
        """A daemon's own log file."""
        return self.root / "log" / f"{daemon}.log"

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` as a daemon of this cluster is to have it: nothing of an outer SLURM, and the mark of this one."""
        kept = {
            key: value for key, value in base.items() if not key.startswith(("SLURM", "SBATCH_", "SQUEUE_", "SACCT_"))
        }
        return {**kept, "SLURM_CONF": str(self.conf), MARK: self.private, "MYSQL_UNIX_PORT": str(self.database_socket)}

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


MARK = "SLURM_ONEHOST"
"""Every daemon, and every login session, has this variable with the private folder: `stop` finds them by it."""


def client_environment(layout: Layout) -> dict[str, str]:
    """This process's environment for a command of SLURM's that is to talk to this cluster."""
    environment = layout.environment(os.environ)
    environment.pop(MARK)
    return environment


def read(text: str) -> Layout:
    """The layout that `as_json` wrote. Raises ValueError, TypeError or KeyError for anything else."""
    found: dict[str, Any] = json.loads(text)
    settings = found.pop("settings")
    for name in ("node_ports", "gpu_devices"):
        found[name] = tuple(found[name])
    return Layout(settings=Settings(**{**settings, "lines": tuple(settings["lines"])}), **found)


def differing(asked: Mapping[str, object], has: Settings) -> Sequence[str]:
    """What was asked for and is otherwise in a cluster that is up, in words."""
    return [f"{name} {getattr(has, name)}, not {value}" for name, value in asked.items() if getattr(has, name) != value]
