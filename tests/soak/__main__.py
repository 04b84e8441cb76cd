"""`python -m tests.soak SUITE --rounds N --seed S`: one round a line; a piece that was stopped goes on where it was."""

from __future__ import annotations

import argparse
import concurrent.futures
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.soak import kill

SUITES = {"kill": kill.play}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next one has the next seed")
    parser.add_argument("--jobs", type=int, default=2, help="rounds at once")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long; the same command goes on later")
    parser.add_argument("--log", type=Path, default=Path("build/soak"))
    said = parser.parse_args()
    said.log.mkdir(parents=True, exist_ok=True)
    log = said.log / f"{said.suite}-{said.seed}.log"
    done = (
        {int(line.split()[1].rstrip(":")) for line in log.read_text().splitlines() if line.startswith("seed ")}
        if log.exists()
        else set()
    )
    todo = [seed for seed in range(said.seed, said.seed + said.rounds) if seed not in done]
    print(f"{said.suite}: {len(done)} of {said.rounds} rounds done before, {len(todo)} to go, log {log}", flush=True)
    return _run(SUITES[said.suite], todo, said.jobs, said.minutes, log)


def _run(play: Callable[[int], str], todo: list[int], jobs: int, minutes: float, log: Path) -> int:
    failed = 0
    deadline = time.monotonic() + minutes * 60 if minutes else None
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        running: dict[concurrent.futures.Future[str], int] = {}
        while todo or running:
            while todo and len(running) < jobs and (deadline is None or time.monotonic() < deadline):
                seed = todo.pop(0)
                running[pool.submit(play, seed)] = seed
            if not running:
                break
            ended, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in ended:
                seed = running.pop(future)
                try:
                    line = future.result()
                    with log.open("a") as file:
                        file.write(line + "\n")
                except Exception as error:  # noqa: BLE001 - whatever a round dies of, the other rounds go on
                    failed += 1
                    line = f"FAILED seed {seed}: {type(error).__name__}: {error}"
                print(line, flush=True)
    print(f"{failed} failed, {len(todo)} left")
    return 1 if failed or todo else 0


if __name__ == "__main__":
    sys.exit(main())
