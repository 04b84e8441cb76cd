"""What agent and supervisor cost beside a job of ordinary output: memory and processor time over two minutes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.measure import LAUNCH, command, project

CHILD = """
import time
for n in range(100000):
    print(f"step {n} loss={1 / (n + 1):.4f}")
    time.sleep(0.2)
"""
PHASE = "command: [python, child.py]\n"
SECONDS = 120


def main(seconds: int = SECONDS) -> str:
    """The bars: together under 45 MB, and under 0.5 % of a core. Five lines a second, the default beat of 10 s."""
    with project({"steady": PHASE}, {"child.py": CHILD}) as (top, env):
        command((*LAUNCH, "submit", "steady"), env, top)()
        time.sleep(5)  # past the start, which is no steady cost
        ours = _ours(env["HOME"])
        before = {pid: _cpu(pid) for pid in ours}
        time.sleep(seconds)
        spent = {pid: _cpu(pid) - before[pid] for pid in ours}
        memory = {pid: _memory(pid) for pid in ours}
        command((*LAUNCH, "cancel", "last", "--yes", "--wait"), env, top)()
    rows = "\n".join(
        f"| {name} | {memory[pid][0] / 1e6:.1f} | {memory[pid][1] / 1e6:.1f} | {100 * spent[pid] / seconds:.3f} |"
        for pid, name in ours.items()
    )
    share = 100 * sum(spent.values()) / seconds
    resident, own = (sum(m[i] for m in memory.values()) / 1e6 for i in (0, 1))
    return (
        f"| process | resident MB | proportional MB | % of a core |\n| --- | --: | --: | --: |\n{rows}\n\n"
        f"together {resident:.1f} MB resident ({own:.1f} MB proportional; bar: 45 MB), {share:.3f} % of a core (bar: 0.5 %)"
    )


def _ours(home: str) -> dict[int, str]:
    """The agent and the supervisor of this benchmark's home, by pid."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            environ = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            words = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if f"HOME={home}".encode() in environ:
            for kind in ("launcher.supervisor", "launcher.agent"):
                if kind.encode() in words:
                    found[int(name)] = kind
    if sorted(found.values()) != ["launcher.agent", "launcher.supervisor"]:
        raise SystemExit(f"expected one agent and one supervisor, found {found}")
    return found


def _cpu(pid: int) -> float:
    """Seconds of user and system time (fields 14 and 15 of /proc/PID/stat), with those of ended children (16 and 17)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[n]) for n in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> tuple[int, int]:
    """Bytes resident, and the proportional share."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return int(rollup[rollup.index("Rss:") + 1]) * 1024, int(rollup[rollup.index("Pss:") + 1]) * 1024
