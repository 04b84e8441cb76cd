"""Where daemons listen: the loopback address alone where that is possible, and ports that nobody has."""

from __future__ import annotations

import random
import socket

from launcher.errors import LaunchError

LOOPBACK = "127.0.0.1"
FIRST_PORT, LAST_PORT = 12000, 32000
"""Below the range that the kernel hands out to outgoing connections (32768 and up, ip_local_port_range)."""


def listens_on_loopback_only() -> bool:
    """Whether the daemons can be told to.

    SLURM's NoInAddrAny binds to what the host's own name resolves to, and srun does so too, while the nodes answer to
    the address that srun's connection came from. With Debian's own /etc/hosts, where the name is 127.0.1.1, every srun
    would wait in vain: only 127.0.0.1 itself will do. Elsewhere the daemons listen on all addresses; munge guards them.
    """
    try:
        name = socket.gethostname().split(".")[0]
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return False
    return {entry[4][0] for entry in found} == {LOOPBACK}


def is_free(port: int) -> bool:
    """Whether a daemon could listen on `port`, on any address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            # As the daemons do: a port whose last connections are in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """`count` ports, different ones, that are free now. Raises LaunchError.

    They are drawn at random so that two clusters that start in the same moment do not choose alike; a port that was
    taken before its daemon came to it makes that start fail, and the next one draw again.
    """
    found: list[int] = []
    candidates = random.SystemRandom().sample(range(FIRST_PORT, LAST_PORT), 4000)
    for port in candidates:
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    if len(found) < count:
        raise LaunchError(f"{count} free ports between {FIRST_PORT} and {LAST_PORT} were not found")
    return found


def accepts(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
