"""Submit of 1,000 tasks as a whole command, beside a Python program that gives 1,000 no-ops to submitit."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from benchmarks.measure import HEADER, LAUNCH, command, in_turn, project

PHASE = "command: ['true']\nresources: {cpus: 1}\n"
SUBMITIT = """
import submitit, sys
executor = submitit.AutoExecutor(folder=sys.argv[1], cluster="debug")
jobs = executor.map_array(abs, range(1000))
"""


def main() -> str:
    """The bar: within 1 s. submitit's `debug` cluster starts nothing, so its time is the submission alone."""
    with project({"noop": PHASE}) as (top, env):
        timings = in_turn(
            {
                "launch submit noop --array 0-999 --dry-run": command(
                    (*LAUNCH, "submit", "noop", "--array", "0-999", "--dry-run"), env, top
                ),
                "submitit map_array of 1,000 (debug)": command(
                    (sys.executable, "-c", SUBMITIT, str(Path(top) / "submitit")), env, top
                ),
            },
            rounds=5,
        )
        whole = _whole(top, env)
    rows = "\n".join(timing.row() for timing in timings.values())
    return f"{HEADER}\n{rows}\n\n{whole}"


def _whole(top: Path, env: dict[str, str]) -> str:
    """The real submit, each followed by a cancel that is not timed."""
    walls = []
    for _ in range(5):
        start = time.perf_counter()
        command((*LAUNCH, "submit", "noop", "--array", "0-999"), env, top)()
        walls.append(time.perf_counter() - start)
        command((*LAUNCH, "cancel", "last", "--yes"), env, top)()
    median, worst = statistics.median(walls), max(walls)
    return f"`launch submit noop --array 0-999`, to the prompt: median {median:.3f} s, worst {worst:.3f} s (bar: 1 s)"
