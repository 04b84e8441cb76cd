"""How long a command takes before it does anything."""

from __future__ import annotations

import sys

from benchmarks.measure import HEADER, LAUNCH, command, in_turn

PEERS = {"import submitit": (sys.executable, "-c", "import submitit")}


def main() -> str:
    """The bar: `launch --help` within 2 x `python -c "import click"`."""
    timings = in_turn(
        {
            "python -c 'import click'": command((sys.executable, "-c", "import click")),
            "launch --help": command((*LAUNCH, "--help")),
            "launch tail --help": command((*LAUNCH, "tail", "--help")),
            **{name: command(argv) for name, argv in PEERS.items()},
        },
        rounds=10,
    )
    ratio = timings["launch --help"].median / timings["python -c 'import click'"].median
    rows = "\n".join(timing.row() for timing in timings.values())
    return f"{HEADER}\n{rows}\n\n`launch --help` / `import click`: {ratio:.2f} (bar: 2)"
