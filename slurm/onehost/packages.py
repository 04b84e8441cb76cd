"""The programs that a cluster is made of: where they lie, which packages bring them, and installing those."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from launcher.errors import LaunchError

PACKAGE_OF = {
    "munged": "munge",
    "munge": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "squeue": "slurm-client",
    "scontrol": "slurm-client",
    "sinfo": "slurm-client",
    "sacct": "slurm-client",
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "ssh": "openssh-client",
}
"""Program -> Debian's package."""
ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db")

SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where the daemons lie; an ordinary user's PATH may lack these."""

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# slurm/cluster install: packages that are installed now start no services.\nexit 101\n"
UNITS_OF = {
    "munge": ("munge",),
    "slurmctld": ("slurmctld",),
    "slurmd": ("slurmd",),
    "slurmdbd": ("slurmdbd",),
    "mariadb-server": ("mariadb",),
    "openssh-server": ("ssh",),
}


def search_path() -> str:
    """PATH with the folders of daemons at its end."""
    here = os.environ.get("PATH") or os.defpath
    return os.pathsep.join([here, *(folder for folder in SBIN if folder not in here.split(os.pathsep))])


def located(program: str) -> str:
    """The full path of a program. Raises LaunchError where it is not installed."""
    found = shutil.which(program, path=search_path())
    if found is None:
        raise LaunchError(f"{program} is not installed here", hint=how_to_install([PACKAGE_OF[program]]))
    return found


def missing(accounting: bool = True) -> list[str]:
    """The packages to install before a cluster can start, sorted."""
    wanted = {program: name for program, name in PACKAGE_OF.items() if accounting or program not in ACCOUNTING}
    return sorted({name for program, name in wanted.items() if shutil.which(program, path=search_path()) is None})


def check(accounting: bool) -> None:
    """Raises LaunchError that names all that is missing."""
    names = missing(accounting)
    if names:
        raise LaunchError(
            f"a cluster needs packages that are not installed: {', '.join(names)}", hint=how_to_install(names)
        )


def how_to_install(names: Sequence[str]) -> str:
    """The next command, as far as this system has one."""
    if shutil.which("apt-get") is None:
        return f"install what Debian calls {', '.join(names)}; SLURM must be built with multiple-slurmd support"
    return "slurm/cluster install" if os.geteuid() == 0 else "sudo slurm/cluster install"


def install() -> list[str]:
    """Install what is missing, without starting services; returns the names. Raises LaunchError."""
    names = missing()
    if not names:
        return []
    if shutil.which("apt-get") is None:
        raise LaunchError("there is no apt-get here", hint=how_to_install(names))
    if os.geteuid() != 0:
        raise LaunchError(f"only root can install {', '.join(names)}", hint=how_to_install(names))
    with no_services():
        # Another installation that is under way is waited for.
        apt(["update", "-q"])
        apt(["install", "-q", "-y", "--no-install-recommends", *names])
    left_disabled(names)
    still = missing()
    if still:
        raise LaunchError(f"after the installation there is still no program of {', '.join(still)}")
    return names


def apt(arguments: Sequence[str]) -> None:
    """One apt-get whose output goes to standard error. Raises LaunchError."""
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=2, check=False)
    if done.returncode != 0:
        text = " ".join(command)
        raise LaunchError(f"{text} failed with exit code {done.returncode}", hint="its messages are above")


@contextmanager
def no_services() -> Iterator[None]:
    """While it lasts, no package starts its service. A policy that the system has already is left as it is."""
    try:
        with open(POLICY, "x", encoding="ascii") as file:
            file.write(POLICY_TEXT)
    except FileExistsError:
        yield
        return
    try:
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def left_disabled(names: Sequence[str]) -> None:
    """Services that came with the packages do not start at the next boot either: nobody asked for an sshd on port 22."""
    units = [unit for name in names for unit in UNITS_OF.get(name, ())]
    if units and Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "disable", *units], stdin=subprocess.DEVNULL, stdout=2, check=False)
