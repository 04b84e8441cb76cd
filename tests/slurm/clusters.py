"""A cluster as the tests use it: `slurm/cluster` and SLURM's own commands, as root or as an ordinary user."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import MARK
from tests.waiting import until

REPOSITORY = Path(__file__).parent.parent.parent
TOOL = REPOSITORY / "slurm" / "cluster"
START_S = 120
"""For one command of the tool, on a machine that does other things as well."""
JOB_S = 60
"""For something that SLURM does within seconds."""

Done = subprocess.CompletedProcess[str]


def plain_environment(**more: str) -> dict[str, str]:
    """This process's environment without anything of SLURM's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH_", "ONEHOST_"))}
    return {**kept, **more}


@dataclass(frozen=True)
class Person:
    """An ordinary user with a home, a Python and a copy of the tool; ourselves where the tests are not root's."""

    name: str
    home: Path
    tool: Path
    python: str
    becoming: tuple[str, ...] = ()
    """What a command is to be preceded by."""

    def run(self, command: Sequence[str], **environment: str) -> Done:
        """A command as this person, in its home, with a bare environment."""
        bare = {"HOME": str(self.home), "USER": self.name, "PATH": "/usr/local/bin:/usr/bin:/bin", **environment}
        if MARK in os.environ:
            bare[MARK] = os.environ[MARK]
        assignments = [f"{name}={value}" for name, value in bare.items()]
        whole = [*self.becoming, "env", "-i", *assignments, *command]
        return subprocess.run(
            whole, cwd=self.home, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=START_S
        )


def tool(*arguments: str, environment: dict[str, str] | None = None) -> Done:
    """One command of `slurm/cluster`, as the tests' own user."""
    command = [sys.executable, str(TOOL), *arguments]
    return subprocess.run(
        command,
        env=plain_environment() if environment is None else environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_S,
    )


@dataclass
class Cluster:
    """A cluster that is up. Its commands fail the test when they fail, unless `check` is off."""

    folder: Path
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.about = json.loads(self.tool("env", "--json").stdout)

    @property
    def variables(self) -> dict[str, str]:
        return dict(self.about["variables"])

    @property
    def private(self) -> Path:
        return Path(self.about["private"])

    @property
    def environment(self) -> dict[str, str]:
        """For a process that is to use this cluster."""
        path = os.pathsep.join([os.environ["PATH"], *self.about["path"]])
        return plain_environment(**{**self.variables, "PATH": path})

    def tool(self, command: str, *arguments: str, check: bool = True) -> Done:
        done = tool(command, "--dir", str(self.folder), *arguments)
        assert not check or done.returncode == 0, f"{command} {arguments}: {done.stderr}"
        return done

    def run(self, *command: str, check: bool = True, stdin: str = "") -> Done:
        """A command with this cluster's environment."""
        done = subprocess.run(
            command, env=self.environment, cwd="/", input=stdin, capture_output=True, text=True, timeout=START_S
        )
        assert not check or done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
        return done

    def sbatch(self, script: str, *options: str) -> str:
        """The id of a new job whose output nobody wants, unless `options` say where."""
        text = script if script.startswith("#!") else f"#!/bin/sh\n{script}\n"
        return self.run("sbatch", "--parsable", "-o", "/dev/null", *options, stdin=text).stdout.strip()

    def queue(self, job: str, what: str = "%T") -> list[str]:
        """What squeue says of a job that it still knows; the answer of a controller that is away is empty."""
        return self.run("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", what, check=False).stdout.split()

    def accounted(self, job: str, what: str = "State") -> list[str]:
        """What sacct says of a job and its tasks; empty while it says nothing."""
        lines = self.run("sacct", "-n", "-X", "-P", "-j", job, "-o", what, check=False).stdout.splitlines()
        return sorted(lines)

    def wait_for(self, job: str, *states: str) -> None:
        """Until all of a job's tasks are in one of these states."""

        def there() -> bool:
            found = self.queue(job)
            return bool(found) and set(found) <= set(states)

        until(there, JOB_S, lambda: f"{states} of job {job}: {self.queue(job, '%i:%T:%r')}")

    def daemons(self) -> dict[str, dict[str, Any]]:
        """Name -> what `status` says."""
        return {row["daemon"]: row for row in json.loads(self.tool("status", "--json").stdout)["daemons"]}

    def restore(self) -> None:
        """After a test: no job, every daemon, every node."""
        for name, row in self.daemons().items():
            if row["state"] != "running":
                what = {"slurmctld": ("start-controller",), "slurmdbd": ("start-accounting",)}
                self.tool(*what.get(name, ("resume-node", name.removeprefix("slurmd."))))
        if self.run("squeue", "-h").stdout:
            self.run("scancel", "--quiet", "--state=PENDING", "--partition=cpu,gpu,preempt,short", check=False)
            for partition in ("cpu", "gpu", "preempt", "short"):
                self.run("scancel", "--quiet", "-p", partition, check=False)
            until(lambda: not self.run("squeue", "-h").stdout, JOB_S, lambda: self.run("squeue").stdout)


def sockets_below(folder: Path) -> list[Path]:
    """Unix sockets under a folder, which need not exist."""
    return [path for path in folder.rglob("*") if path.is_socket()]


def mentions(text: str) -> list[str]:
    """Processes, as `pid command`, whose command line or environment at their start has `text`; not zombies, not ourselves."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command, variables = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in command + b"\0" + variables:
            found.append(f"{entry.name} {command.decode(errors='replace')[:80]}")
    return found


def readable_python(becoming: Sequence[str]) -> str:
    """An interpreter that an ordinary user may start: the tests' own may lie in root's home."""
    candidates = [sys.executable, "/usr/bin/python3", "/usr/local/bin/python3", shutil.which("python3")]
    for candidate in filter(None, candidates):
        # Through env, as every command: setpriv itself still has root's rights when it starts its program.
        command = [*becoming, "env", candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 10))"]
        if subprocess.run(command, cwd="/", capture_output=True).returncode == 0:
            return candidate
    raise AssertionError("no Python 3.10 here that an ordinary user may start; hint: apt-get install python3")
