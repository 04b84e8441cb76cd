"""A child that prints 2 million lines: under `launch`, and plainly redirected to a file."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import LAUNCH, project

# Its own clock, so that starting the agent is not counted as slowness of the child.
CHILD = """
import os, sys, time
start = time.perf_counter()
line = b"step 123456 loss=0.1234 lr=3e-4 tokens/s=12345 and some more words\\n"
for n in range(2_000_000):
    os.write(1, line)
with open(os.environ["TOOK"], "a") as took:
    took.write(f"{time.perf_counter() - start}\\n")
"""
PHASE = "command: [python, child.py]\nbeat: 10s\n"
ROUNDS = 5


def main() -> str:
    """The bar: not slower by more than 3 %. Rounds in turn; the ratio is taken pair by pair."""
    pairs = []
    with project({"chatty": PHASE}, {"child.py": CHILD}) as (top, env):
        for number in range(ROUNDS + 1):
            plain = _plain(top, env, number)
            supervised = _supervised(top, env, number)
            if number:
                pairs.append((plain, supervised))
    ratios = [supervised / plain for plain, supervised in pairs]
    rows = "\n".join(f"| {p:.2f} | {s:.2f} | {s / p:.3f} |" for p, s in pairs)
    table = f"| redirected s | under launch s | ratio |\n| --: | --: | --: |\n{rows}"
    return f"{table}\n\nmedian ratio {statistics.median(ratios):.3f} (bar: 1.03), 2,000,000 lines of 67 bytes, one write each"


def _plain(top: Path, env: dict[str, str], number: int) -> float:
    took = top / f"plain-{number}"
    with open(top / "home" / f"plain-{number}.log", "ab") as log:
        subprocess.run(
            (sys.executable, "child.py"),
            cwd=top,
            env={**env, "TOOK": str(took), "PYTHONUNBUFFERED": "1"},
            stdout=log,
            check=True,
        )
    (top / "home" / f"plain-{number}.log").unlink()
    return float(took.read_text())


def _supervised(top: Path, env: dict[str, str], number: int) -> float:
    took = top / "home" / f"supervised-{number}"
    subprocess.run(
        (*LAUNCH, "submit", "chatty", "--rerun"),
        cwd=top,
        env={**env, "TOOK": str(took)},
        check=True,
        capture_output=True,
    )
    subprocess.run((*LAUNCH, "wait", "last"), cwd=top, env=env, check=True, capture_output=True)
    for log in top.glob(".launch/store/jobs/*/tasks/0000/01/log.txt"):
        lines = _lines(log)
        if lines != 2_000_000:
            raise SystemExit(f"{lines} of 2,000,000 lines are in the log")
        log.unlink()
    return float(re.findall(r"[0-9.]+", took.read_text())[0])


def _lines(path: Path) -> int:
    with path.open("rb") as log:
        return sum(block.count(b"\n") for block in iter(lambda: log.read(1 << 20), b""))
