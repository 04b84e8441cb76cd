"""The daemons of a cluster: how each is started, when it is ready, and what its failure means."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onehost.network import LOOPBACK, accepts
from onehost.packages import located
from onehost.settings import Layout, client_environment

NODE = "slurmd."
CONTROLLER = "slurmctld"
ACCOUNTING = "slurmdbd"
DATABASE = "mariadbd"
LOGIN = "sshd"
MUNGE = "munged"

HINTS = (
    ("Address already in use", "another program took a port in that moment: start again"),
    ("Unable to resolve", "SLURM's resolver needs a network interface with an address beside lo"),
    ("unrecognized key", "an option given with --set is not one of this version of SLURM"),
    ("Parsing error", "an option given with --set is not one of this version of SLURM"),
    ("No space left on device", "free some space in /dev/shm or /tmp"),
    ("no TRES", "slurmdbd does not answer the controller; its own log says why"),
    ("Missing privilege separation directory", "mkdir /run/sshd"),
)
"""What a log says -> what to do."""

QUESTION_S = 10
"""For one command of SLURM's own while a cluster starts."""


@dataclass(frozen=True)
class Daemon:
    """`within_s`: how long it may take until `ready`, on a busy machine."""

    name: str
    command: tuple[str, ...]
    log: Path
    ready: Callable[[], bool]
    within_s: float = 30.0


def hint_for(text: str) -> str | None:
    """The first known cause in the end of a log."""
    return next((hint for sign, hint in HINTS if sign in text), None)


def munged(layout: Layout) -> Daemon:
    """It vouches for users; the others do not start without it."""
    root = layout.root

    def ready() -> bool:
        command = [located("munge"), "-n", "-S", str(layout.munge_socket)]
        return answers(command, layout) is not None

    command = (
        located("munged"),
        "-F",
        f"--socket={layout.munge_socket}",
        f"--key-file={root}/munge/munge.key",
        "--num-threads=4",
        f"--log-file={layout.log(MUNGE)}",
        f"--pid-file={root}/run/munged.pid",
        f"--seed-file={root}/munge/munged.seed",
    )
    return Daemon(MUNGE, command, layout.log(MUNGE), ready)


def mariadbd(layout: Layout) -> Daemon:
    """On a socket in the private folder, without a TCP port; durability is given up for speed."""
    root = layout.root

    def ready() -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(str(layout.database_socket)) == 0

    command = (
        located("mariadbd"),
        "--no-defaults",
        f"--user={layout.user}",
        f"--datadir={root}/db",
        f"--socket={layout.database_socket}",
        f"--pid-file={root}/run/mysql.pid",
        f"--log-error={layout.log(DATABASE)}",
        f"--tmpdir={root}/tmp",
        "--skip-networking",
        "--skip-log-bin",
        "--innodb-buffer-pool-size=128M",
        "--innodb-log-file-size=16M",
        "--aria-log-file-size=8M",
        "--innodb-lock-wait-timeout=900",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=0",
        "--max-allowed-packet=16M",
    )
    return Daemon(DATABASE, command, layout.log(DATABASE), ready, within_s=60)


def database_installation(layout: Layout) -> list[str]:
    """The command that makes an empty database. Its root has no password, on a socket in a folder that only we enter."""
    return [
        located("mariadb-install-db"),
        "--no-defaults",
        f"--datadir={layout.root}/db",
        f"--tmpdir={layout.root}/tmp",
        f"--user={layout.user}",
        "--auth-root-authentication-method=normal",
        "--innodb-log-file-size=16M",
        "--aria-log-file-size=8M",
        "--skip-test-db",
    ]


def slurmdbd(layout: Layout) -> Daemon:
    """It makes its tables at its first start, and needs the database then."""

    def ready() -> bool:
        return accepts(LOOPBACK, layout.accounting_port)

    return Daemon(ACCOUNTING, (located("slurmdbd"), "-D"), layout.log(ACCOUNTING), ready, within_s=60)


def slurmctld(layout: Layout) -> Daemon:
    """It registers the cluster with slurmdbd by itself, and does not start while that is away."""

    def ready() -> bool:
        return accepts(LOOPBACK, layout.controller_port)

    return Daemon(CONTROLLER, (located("slurmctld"), "-D"), layout.log(CONTROLLER), ready)


def slurmd(layout: Layout, node: str) -> Daemon:
    """One node."""

    def ready() -> bool:
        return accepts(LOOPBACK, layout.node_ports[layout.node_names.index(node)])

    return Daemon(NODE + node, (located("slurmd"), "-D", "-N", node), layout.log(NODE + node), ready)


def sshd(layout: Layout) -> Daemon:
    """The login node."""

    def ready() -> bool:
        return accepts(LOOPBACK, layout.login_port)

    log = layout.log(LOGIN)
    # sshd re-executes itself, so that it insists on its full path.
    command = (located("sshd"), "-D", "-f", f"{layout.root}/ssh/sshd_config", "-E", str(log))
    return Daemon(LOGIN, command, log, ready)


def all_of(layout: Layout) -> dict[str, Daemon]:
    """Every daemon of the cluster by name, in the order in which they start."""
    found = [munged(layout)]
    if layout.settings.accounting:
        found += [mariadbd(layout), slurmdbd(layout)]
    found += [slurmctld(layout), *(slurmd(layout, node) for node in layout.node_names), sshd(layout)]
    return {daemon.name: daemon for daemon in found}


def answers(command: list[str], layout: Layout) -> str | None:
    """What a command says, or None where it failed or did not end in time."""
    try:
        done = subprocess.run(
            command,
            env=client_environment(layout),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=QUESTION_S,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        return None
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None


def node_states(layout: Layout) -> dict[str, str]:
    """Node -> state as sinfo writes it (`idle`, `mixed*`, `down*`); empty where the controller does not answer."""
    text = answers([located("sinfo"), "-h", "-N", "-o", "%N %T"], layout) or ""
    return dict(line.split(None, 1) for line in text.splitlines() if len(line.split(None, 1)) == 2)


def last_lines(log: Path, count: int = 8) -> str:
    """The end of a log, for an error message; empty where there is none."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 16384))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-count:])
