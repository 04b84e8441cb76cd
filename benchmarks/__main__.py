"""`python -m benchmarks [NAME...]`: run them and print what docs/benchmarks.md holds."""

from __future__ import annotations

import importlib
import os
import platform
import sys

NAMES = ("startup", "submit", "status", "tail_lag", "chatty", "footprint")


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    for name in names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"## {name}\n\n{(module.__doc__ or '').strip()} {(module.main.__doc__ or '').strip()}\n", flush=True)
        print(f"{module.main()}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
