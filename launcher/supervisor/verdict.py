"""How an attempt ended: the one table of who is believed over whom. Pure.

From the top: what was done before the child could start; what the child declared before anybody asked it to stop; our
own stop; the kernel's out-of-memory killer; what the child declared; its outputs; its exit status; what its log says of
the failure. Success is believed only when nothing contradicts it.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Callable, Optional

from launcher.model.outcome import Outcome
from launcher.model.records import Declared

STOPPED_EXIT_CODE = 75
"""What a child says with `task.STOPPED_EXIT_CODE`: stopped as asked, state saved."""
SHELL_KILLED = 128 + signal.SIGKILL
"""A shell passes on the SIGKILL of its child as this exit code."""

MEMORY_SIGNS = {"cuda_out_of_memory": "the GPU's memory was not enough", "out_of_memory": "memory was not enough"}
DISK_SIGNS = {"disk_full": "the disk was full"}
FROM_OUTSIDE = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT}
)


@dataclass(frozen=True)
class Verdict:
    """How it ended, and why, for people."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class Sign:
    """What a line of the log says of the failure: a code of `MEMORY_SIGNS` or `DISK_SIGNS`, and the line."""

    code: str
    line: str


@dataclass(frozen=True)
class Facts:
    """Everything that is known at the end. `code` and `signal` are both None when nobody saw the child's status.

    `stop` is what we asked for while the child ran, `declared_first` whether the child had declared before that.
    `oom_kills` counts kills for memory in our control group during the attempt, None where that is not known.
    `complete`: the declared progress stands at its total. `missing`: outputs that are not there. `commit`: why the
    outputs could not be committed. `start`: why the child never ran.
    """

    code: Optional[int] = None
    signal: Optional[int] = None
    start: Optional[str] = None
    stop: Optional[Verdict] = None
    declared: Optional[Declared] = None
    declared_first: bool = False
    oom_kills: Optional[int] = None
    signs: tuple[Sign, ...] = ()
    disk_free: Optional[int] = None
    missing: tuple[str, ...] = ()
    complete: bool = False
    commit: Optional[Verdict] = None

    @property
    def known(self) -> bool:
        return self.code is not None or self.signal is not None

    @property
    def killed(self) -> bool:
        return self.signal == signal.SIGKILL or self.code == SHELL_KILLED


def judge(facts: Facts) -> Verdict:
    """The first row of the table that has something to say."""
    for row in TABLE:
        verdict = row(facts)
        if verdict is not None:
            return verdict
    return Verdict(Outcome.UNKNOWN, "it ended while nobody watched, and nothing tells how")


def may_commit(facts: Facts) -> bool:
    """Whether everything but the commit itself speaks for success."""
    return judge(facts).outcome is Outcome.SUCCEEDED


def _never_started(facts: Facts) -> Optional[Verdict]:
    if facts.start is None:
        return None
    return facts.stop or Verdict(Outcome.START_FAILED, facts.start)


def _declared_before_stop(facts: Facts) -> Optional[Verdict]:
    if facts.declared is not None and (facts.stop is None or facts.declared_first):
        return Verdict(facts.declared.outcome, facts.declared.reason)
    return None


def _stopped(facts: Facts) -> Optional[Verdict]:
    """A child that was asked to stop and exits with 0 has finished only if it says so by its progress."""
    if facts.stop is None:
        return None
    if facts.code == 0 and not facts.missing and facts.complete and facts.declared is None:
        return None
    return Verdict(facts.stop.outcome, f"{facts.stop.reason}{_how_it_stopped(facts)}")


def _how_it_stopped(facts: Facts) -> str:
    if facts.code == STOPPED_EXIT_CODE:
        return "; it stopped as asked"
    if facts.code == 0:
        return "; it ended with exit code 0 after it was asked to stop, without saying that its work was complete"
    if facts.code is not None:
        return f"; it ended with exit code {facts.code}"
    if facts.signal is not None:
        return f"; it was ended by {_name(facts.signal)}"
    return ""


def _killed_for_memory(facts: Facts) -> Optional[Verdict]:
    if not facts.oom_kills or facts.code == 0 or not facts.known:
        return None
    if facts.killed or any(sign.code == "out_of_memory" for sign in facts.signs):
        return Verdict(Outcome.OUT_OF_MEMORY, "the kernel killed it: host memory was not enough")
    return None


def _unseen(facts: Facts) -> Optional[Verdict]:
    if facts.known:
        return None
    if facts.oom_kills:
        text = (
            "it ended while nobody watched; the kernel has killed a process of its control group for memory meanwhile"
        )
        return Verdict(Outcome.UNKNOWN, text)
    return Verdict(Outcome.UNKNOWN, "it ended while nobody watched, and nothing tells how")


def _succeeded(facts: Facts) -> Optional[Verdict]:
    if facts.code != 0:
        return None
    if facts.missing:
        names = ", ".join(facts.missing)
        full = _by_signs(facts, DISK_SIGNS)
        if full is not None:
            return Verdict(Outcome.OUT_OF_DISK, f"{full}; it ended with exit code 0, and did not make: {names}")
        return Verdict(Outcome.FAILED, f"it ended with exit code 0, and did not make: {names}")
    return facts.commit or Verdict(Outcome.SUCCEEDED, "exit code 0")


def _ran_out(facts: Facts) -> Optional[Verdict]:
    """The last line of the log that tells of a lack is nearest to the failure."""
    for sign in reversed(facts.signs):
        if sign.code in MEMORY_SIGNS:
            outcome, text = Outcome.OUT_OF_MEMORY, MEMORY_SIGNS[sign.code]
        elif sign.code in DISK_SIGNS:
            outcome, text = Outcome.OUT_OF_DISK, DISK_SIGNS[sign.code]
        else:
            continue
        return Verdict(outcome, f"{text} ({_status(facts)}): {sign.line[:300]}")
    if facts.signal == signal.SIGBUS and facts.disk_free == 0:
        return Verdict(Outcome.OUT_OF_DISK, "it crashed (SIGBUS) while the disk was full")
    return None


def _by_signal(facts: Facts) -> Optional[Verdict]:
    if facts.signal is None:
        return None
    if facts.signal == signal.SIGXCPU:
        return Verdict(Outcome.FAILED, "its limit of CPU time (ulimit -t) ended it: SIGXCPU")
    if facts.signal == signal.SIGXFSZ:
        return Verdict(Outcome.FAILED, "its limit of file size (ulimit -f) ended it: SIGXFSZ")
    if facts.signal in FROM_OUTSIDE:
        unsure = facts.signal == signal.SIGKILL and facts.oom_kills is None
        doubt = "; whether it was the kernel, for memory, is not known" if unsure else ""
        return Verdict(Outcome.FAILED, f"killed by {_name(facts.signal)} from outside{doubt}")
    return Verdict(Outcome.FAILED, f"it crashed: {_name(facts.signal)}")


def _by_code(facts: Facts) -> Optional[Verdict]:
    if facts.code == STOPPED_EXIT_CODE:
        return Verdict(Outcome.FAILED, f"exit code {STOPPED_EXIT_CODE} (stopped as asked), though nobody asked")
    if facts.code is None:
        return None
    raised = next((sign.line for sign in reversed(facts.signs) if sign.code == "exception"), None)
    return Verdict(Outcome.FAILED, f"exit code {facts.code}" + (f": {raised[:300]}" if raised else ""))


TABLE: tuple[Callable[[Facts], Optional[Verdict]], ...] = (
    _never_started,
    _declared_before_stop,
    _stopped,
    _killed_for_memory,
    _unseen,
    _succeeded,
    _ran_out,
    _by_signal,
    _by_code,
)


def _by_signs(facts: Facts, table: dict[str, str]) -> Optional[str]:
    return next((table[sign.code] for sign in facts.signs if sign.code in table), None)


def _status(facts: Facts) -> str:
    return f"exit code {facts.code}" if facts.code is not None else _name(facts.signal or 0)


def _name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
