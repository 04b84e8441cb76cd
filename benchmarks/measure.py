"""Timing whole commands in turn (A B A B ...), so that a machine whose speed drifts does not favour one of them."""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCH = (sys.executable, "-c", "import sys; from launcher.cli.main import main; sys.exit(main())")


@dataclass(frozen=True)
class Timing:
    """Seconds of wall time, and of processor time of the command and its children."""

    name: str
    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    def row(self) -> str:
        cpu = statistics.median(self.cpu)
        return f"| {self.name} | {min(self.wall):.3f} | {self.median:.3f} | {max(self.wall):.3f} | {cpu:.3f} |"


HEADER = "| command | min s | median s | max s | cpu s |\n| --- | --: | --: | --: | --: |"


def in_turn(commands: dict[str, Callable[[], None]], rounds: int, warm: int = 1) -> dict[str, Timing]:
    """Run every command once a round, after `warm` rounds that do not count."""
    wall: dict[str, list[float]] = {name: [] for name in commands}
    cpu: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(warm + rounds):
        for name, run in commands.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.perf_counter()
            run()
            took = time.perf_counter() - start
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if number >= warm:
                wall[name].append(took)
                cpu[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {name: Timing(name, tuple(wall[name]), tuple(cpu[name])) for name in commands}


def command(argv: Sequence[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> Callable[[], None]:
    """A command whose output is thrown away; one that fails ends the benchmark, since its time would mean nothing."""

    def run() -> None:
        done = subprocess.run(argv, env=env, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if done.returncode not in (0, 101):
            raise SystemExit(f"{' '.join(argv[:6])}: exit {done.returncode}: {done.stderr.decode()[-500:]}")

    return run


@contextlib.contextmanager
def project(phases: dict[str, str], files: dict[str, str] | None = None) -> Iterator[tuple[Path, dict[str, str]]]:
    """A throw-away project with a home of its own; its processes are told to end at the end."""
    with tempfile.TemporaryDirectory(prefix="launch-bench-") as name:
        top = Path(name)
        (top / "jobs").mkdir()
        (top / "home").mkdir()
        for phase, text in phases.items():
            (top / "jobs" / f"{phase}.yaml").write_text(text)
        for path, text in (files or {}).items():
            (top / path).write_text(text)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("LAUNCH_", "XDG_"))}
        yield top, {**env, "HOME": str(top / "home")}
