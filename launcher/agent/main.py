"""The agent's entry: reads spec and order, owns what its processes leave behind, runs the loop, says when it is over."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Optional

from launcher.agent import machine
from launcher.agent.loop import Agent
from launcher.agent.orders import to_do
from launcher.agent.queue import Queue, shares_of
from launcher.agent.report import Report, say
from launcher.agent.requests import Requests
from launcher.agent.running import Running
from launcher.agent.upstream import Upstream
from launcher.errors import BadRecord, LaunchError, NotFound, Refused, UsageError
from launcher.model.job import JobSpec
from launcher.model.records import Order
from launcher.store import processes, records
from launcher.store.folder import FolderStore
from launcher.store.machine import Capacity, capacity

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_ENDING = (signal.SIGTERM, signal.SIGINT)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """0: the allocation is released (or was). 1: it could not be worked on; the log says why."""
    try:
        given = arguments(sys.argv[1:] if argv is None else argv, ("store", "job", "allocation"))
        return run(FolderStore(Path(given["store"])), given["job"], given["allocation"])
    except LaunchError as error:
        say(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort of a program that nobody watches: its log names the place
        _say_where(error)
        return 1


def arguments(argv: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """`--name value` for each of `names`. Raises UsageError."""
    given = {word[2:]: value for word, value in zip(argv[::2], argv[1::2]) if word.startswith("--")}
    if len(argv) != 2 * len(names) or set(given) != set(names):
        raise UsageError("the agent takes " + " ".join(f"--{name} {name.upper()}" for name in names))
    return given


def run(store: FolderStore, job: str, allocation: str) -> int:
    """One allocation, from its order to its release. Raises LaunchError."""
    wake = _signals()
    _become_subreaper()
    spec = records.read_spec(store, job)
    order = records.read_order(store, job, allocation)
    if spec is None or order is None:
        missing = f"spec of {job}" if spec is None else f"order of allocation {allocation} of {job}"
        raise NotFound(f"there is no {missing} in {store.root}")
    if records.read_released(store, job, allocation) is not None:
        return 0
    report = _report(store, spec, allocation)
    left, words = to_do(store, order, report.start())
    for text in words:
        say(text)
    agent = _agent(store, spec, left, report)

    def end(number: int, frame: Optional[FrameType]) -> None:
        agent.asked_to_end = f"the agent was told to end ({signal.Signals(number).name})"

    for number in _ENDING:
        signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    agent.run(wake)
    return 0


def _agent(store: FolderStore, spec: JobSpec, order: Order, report: Report) -> Agent:
    place = (order.at, f"{order.job}/{order.allocation}")
    return Agent(
        job=spec.job,
        beat=spec.beat,
        queue=Queue(shares_of(spec, order), spec.limit, spec.retry),
        running=Running(store, spec.job, order.allocation),
        ledger=machine.Ledger(machine.folder(), _capacity(spec.place.options), place),
        report=report,
        requests=Requests(store, spec.job, order),
        upstream=Upstream(store, spec.after) if spec.after else None,
    )


def _report(store: FolderStore, spec: JobSpec, allocation: str) -> Report:
    """Refused where another agent works on this allocation."""
    me = processes.process_id(os.getpid())
    if me is None:
        raise LaunchError("finding out who I am", came_back="/proc cannot be read")
    view = records.read_view(store, spec.job, allocation)
    if view is not None and view.agent != me and processes.alive(view.agent):
        raise Refused(f"allocation {allocation} of {spec.job} has an agent, process {view.agent.pid}")
    return Report(store, spec.job, allocation, me, spec.beat)


def _capacity(options: dict[str, Any]) -> Capacity:
    """The machine, as far as the profile lets us use it. Raises BadRecord."""
    gpus, cpus, memory = (options.get(name) for name in ("gpus", "cpus", "memory"))
    numbers = [*(gpus if isinstance(gpus, (list, tuple)) else ()), cpus or 0, memory or 0]
    if not (gpus is None or isinstance(gpus, (list, tuple))) or any(type(number) is not int for number in numbers):
        raise BadRecord("the spec's options gpus, cpus and memory are whole numbers", came_back=str(options))
    return capacity(gpus=gpus, cpus=cpus, memory=memory)


def _signals() -> int:
    """A descriptor that is readable when a signal has come. Those that end us are held back until the loop hears them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal it was started from has gone: none of our business
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)  # a handler there must be, for the descriptor to be told
    return reading


def _become_subreaper() -> None:
    """What a dead supervisor leaves becomes our child, and its exit code ours to read."""
    try:
        failed = ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError) as error:
        failed, reason = -1, str(error)
    else:
        reason = os.strerror(ctypes.get_errno())
    if failed:
        say(
            f"cannot become a subreaper ({reason}): the exit code of a child that outlives its supervisor will be unknown"
        )


def _say_where(error: BaseException) -> None:
    """One line: what went wrong, and the places in our own code, innermost last."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        places.append(f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}")
        trace = trace.tb_next
    say(f"a mistake of launch itself: {type(error).__name__}: {error} at {' > '.join(places)}")
