"""The supervisor: runs one attempt. Started by the agent, with the control pipe as its standard input.

Exit code 0 says that the attempt's exit record lies in the store; with any other, another supervisor is to go on.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from launcher.errors import LaunchError
from launcher.store import records
from launcher.store.folder import FolderStore
from launcher.supervisor import places
from launcher.supervisor.beats import say
from launcher.supervisor.faults import StartFailed, in_one_line
from launcher.supervisor.start import child

OPTIONS = ("--store", "--job", "--task", "--attempt", "--allocation", "--gpus")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The exit code; never raises."""
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except LaunchError as error:
        say(in_one_line(error))
    except Exception:  # noqa: BLE001 - the last resort: it goes to the allocation's log, and the agent starts another
        say(traceback.format_exc())
    return 1


def _run(arguments: list[str]) -> int:
    _take_umask(os.environ.get("LAUNCH_UMASK", ""))
    options = _parse(arguments)
    store = FolderStore(Path(options["--store"]))
    spec = records.read_spec(store, options["--job"])
    if spec is None:
        raise LaunchError(f"reading the spec of {options['--job']}", came_back=f"there is none in {store.root}")
    task = spec.task(int(options["--task"]))
    if task is None:
        raise LaunchError(f"running task {options['--task']} of {spec.job}", came_back="the job has no such task")
    share = child.inherited_share(os.environ)
    child.become_subreaper()
    from launcher.supervisor import life
    from launcher.supervisor.attempt import Attempt
    from launcher.supervisor.loop import Loop

    loop = Loop(0)
    attempt_number, allocation = int(options["--attempt"]), options["--allocation"]
    gpus = tuple(part for part in options.get("--gpus", "").split(",") if part)
    try:
        where = places.of(store.root, spec, task, attempt_number, allocation)
    except StartFailed as error:
        where = places.without_paths(store.root, spec, task, attempt_number, allocation)
        return life.refuse(Attempt(where, gpus, loop, share), in_one_line(error))
    return life.run(Attempt(where, gpus, loop, share))


def _take_umask(text: str) -> None:
    """That of the shell that submitted: for the child and for the results. What is ours names its mode each time."""
    if text and all(digit in "01234567" for digit in text) and int(text, 8) <= 0o777:
        os.umask(int(text, 8))


def _parse(arguments: list[str]) -> dict[str, str]:
    """`--adopt` changes nothing: what to do follows from what lies in the attempt's folder."""
    rest = [argument for argument in arguments if argument != "--adopt"]
    options = dict(zip(rest[::2], rest[1::2]))
    unknown = [name for name in options if name not in OPTIONS]
    absent = [name for name in OPTIONS[:-1] if name not in options]
    if len(rest) % 2 or unknown or absent:
        raise LaunchError("reading the supervisor's arguments", came_back=f"unknown {unknown}, missing {absent}")
    for name in ("--task", "--attempt"):
        if not options[name].isdecimal():
            raise LaunchError("reading the supervisor's arguments", came_back=f"{name} {options[name]!r} is no number")
    return options


if __name__ == "__main__":
    sys.exit(main())
