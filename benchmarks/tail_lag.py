"""From the moment a line is written to the moment it is shown, beside `tail -F` of the same log."""

from __future__ import annotations

import glob
import re
import statistics
import subprocess
import threading
import time
from pathlib import Path

from benchmarks.measure import LAUNCH, command, project

CHILD = """
import time
for n in range(600):
    print(f"line {n} {time.time():.6f}")
    time.sleep(0.02)
"""
PHASE = "command: [python, child.py]\nbeat: 10s\n"


def main() -> str:
    """The bar: p99 under 0.5 s."""
    with project({"clock": PHASE}, {"child.py": CHILD}) as (top, env):
        command((*LAUNCH, "submit", "clock"), env, top)()
        log = _log(top)
        ours = subprocess.Popen((*LAUNCH, "tail", "last", "-f", "-n", "all"), env=env, cwd=top, stdout=subprocess.PIPE)
        theirs = subprocess.Popen(("tail", "-n", "+1", "-F", log), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        lags: dict[str, list[float]] = {"launch tail": [], "tail -F": []}
        readers = [
            threading.Thread(target=_read, args=(ours, lags["launch tail"])),
            threading.Thread(target=_read, args=(theirs, lags["tail -F"])),
        ]
        for reader in readers:
            reader.start()
        readers[0].join()
        theirs.kill()
        readers[1].join()
    rows = "\n".join(f"| {name} | {_row(values)} |" for name, values in lags.items())
    return (
        f"| follower | lines | p50 s | p99 s | max s |\n| --- | --: | --: | --: | --: |\n{rows}\n\nbar: p99 under 0.5 s"
    )


def _log(top: Path) -> str:
    pattern = f"{top}/.launch/store/jobs/*/tasks/0000/01/log.txt"
    deadline = time.monotonic() + 20
    while not glob.glob(pattern):
        if time.monotonic() > deadline:
            raise SystemExit("the task did not start within 20 s")
        time.sleep(0.05)
    return glob.glob(pattern)[0]


def _read(process: subprocess.Popen[bytes], lags: list[float]) -> None:
    """Lines of the first second are left out: they were written before the followers had started."""
    assert process.stdout is not None
    for line in process.stdout:
        now = time.time()
        found = re.search(rb"line (\d+) ([0-9.]+)", line)
        if found and int(found.group(1)) > 100:
            lags.append(now - float(found.group(2)))


def _row(values: list[float]) -> str:
    if len(values) < 2:
        return "0 | not available | not available | not available"
    p99 = statistics.quantiles(values, n=100)[98]
    return f"{len(values)} | {statistics.median(values):.3f} | {p99:.3f} | {max(values):.3f}"
