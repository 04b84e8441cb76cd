"""How a state, a time, a price and a share look: one word, one sign and one colour each, the same in every verb."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import NamedTuple, Optional

from launcher.model.outcome import Outcome, State
from launcher.model.records import Finding, GpuReading
from launcher.model.units import show_size, show_time
from launcher.model.view import JobView, TaskView

CALM, GOOD, BAD, CARE, BUSY, STRONG = (
    "2",
    "32",
    "31",
    "33",
    "36",
    "1",
)  # SGR codes; the signs say the same without colour


class Look(NamedTuple):
    """A sign, a word and a colour."""

    sign: str
    word: str
    style: str


STATES = {
    State.PENDING: Look("○", "waiting", CALM),
    State.SUBMITTED: Look("○", "waiting", CALM),
    State.STARTING: Look("◌", "starting", BUSY),
    State.RUNNING: Look("●", "running", BUSY),
    State.STOPPING: Look("◍", "stopping", CARE),
    State.ENDED: Look("?", "ended", CARE),
    State.UNKNOWN: Look("?", "unknown", CARE),
}
LEVELS = {"notice": Look("·", "notice", CALM), "warning": Look("▲", "warning", CARE), "act": Look("■", "act", BAD)}
HEARD = (State.STARTING, State.RUNNING, State.STOPPING, State.UNKNOWN)
"""The states in which a task itself should be heard of."""
ORDER = ("failed", "silent", "unknown", "stopping", "running", "starting", "waiting", "cancelled", "succeeded")


def of_state(state: State, outcome: Optional[Outcome]) -> Look:
    """The look of an outcome, or where there is none of a state."""
    if outcome is None:
        return STATES[state]
    if outcome is Outcome.SUCCEEDED:
        return Look("✔", outcome.value, GOOD)
    if outcome is Outcome.CANCELLED:
        return Look("⊘", outcome.value, CALM)
    if outcome is Outcome.UNKNOWN:
        return Look("?", "end unknown", CARE)
    return Look("✘", outcome.value, BAD)


def of_task(task: TaskView) -> Look:
    """Silence is said in place of the state that was last known."""
    if task.silent is not None and task.state in HEARD:
        return Look("◔", f"silent {show_time(task.silent)}", CARE)
    return of_state(task.state, task.outcome)


def of_job(job: JobView) -> Look:
    """Silent where everything that runs is."""
    active = [task for task in job.tasks if task.state in HEARD]
    silent = [task.silent for task in active if task.silent is not None]
    if active and len(silent) == len(active):
        return Look("◔", f"silent {show_time(min(silent))}", CARE)
    return of_state(job.state, job.outcome)


def counts(job: JobView) -> list[tuple[int, Look]]:
    """How many tasks look how, the ones that need a person first."""
    found: dict[str, tuple[int, Look]] = {}
    for task in job.tasks:
        look = of_task(task)
        if look.word.startswith("silent"):
            look = look._replace(word="silent")
        number, _ = found.get(look.word, (0, look))
        found[look.word] = (number + 1, look)
    return sorted(found.values(), key=lambda one: rank(one[1]))


def rank(look: Look) -> int:
    """Where a look stands in a list that begins with what needs a person."""
    word = look.word.partition(" ")[0] if look.word.startswith("silent") else look.word
    return ORDER.index(word) if word in ORDER else 0  # every failure is one


def fraction(task: TaskView) -> Optional[float]:
    """How much of a task is done, 0..1; None where it did not say."""
    if task.outcome is Outcome.SUCCEEDED:
        return 1.0
    progress = task.progress
    if progress is None or progress.step is None or progress.total is None or not progress.total > 0:
        return None
    share = progress.step / progress.total
    return min(max(share, 0.0), 1.0) if share == share else None


def job_fraction(job: JobView) -> Optional[float]:
    """The mean over the tasks; one that did not begin counts as nothing done. None where no task says anything."""
    known = [share for share in map(fraction, job.tasks) if share is not None]
    return sum(known) / len(job.tasks) if known else None


def left(job: JobView) -> Optional[float]:
    """Seconds until the last of the running tasks ends; None where one does not know, or others still wait."""
    if any(task.state in (State.PENDING, State.SUBMITTED) for task in job.tasks):
        return None
    found = [
        task.progress.left if task.progress is not None else None for task in job.tasks if task.state is State.RUNNING
    ]
    known = [seconds for seconds in found if seconds is not None and 0 <= seconds < 1e9]
    return max(known) if known and len(known) == len(found) else None


def bar(share: Optional[float], width: int) -> tuple[str, str]:
    """The done and the open part of a bar of `width` characters."""
    if share is None:
        return "", ""
    done = int(share * width * 2 + 0.5)
    full = "━" * (done // 2) + ("╸" if done % 2 else "")
    return full, "─" * (width - len(full))


def elapsed(task: TaskView) -> Optional[float]:
    """Seconds since the attempt began, by the node's own clock and the age of its news; None where it is not known."""
    if task.started_at is None:
        return None
    if task.ended_at is not None:
        return max(0.0, task.ended_at - task.started_at)
    if task.heartbeat is None or task.state is State.ENDED:
        return None
    passed = max(0.0, task.heartbeat.at - task.started_at) + (task.seen or 0.0)
    return passed if passed < 1e9 else None


def cost(dollars: Optional[float]) -> str:
    """`$1.24`; nothing where no price is known."""
    if dollars is None:
        return ""
    return f"${dollars:.2f}" if dollars < 1000 else f"${dollars:,.0f}"


def percent(share: Optional[float]) -> str:
    """`41%`, and `?` where it is not available."""
    return "?" if share is None or share != share else f"{min(max(share, 0.0), 9.99) * 100:.0f}%"


def gpus(readings: Optional[tuple[GpuReading, ...]]) -> str:
    """`97% 21GB` for one, `4x 93% 71GB` for several: mean utilisation and the fullest memory."""
    if not readings:
        return ""
    if any(one.lost for one in readings):
        return "lost"
    busy = [one.utilisation for one in readings if one.utilisation is not None]
    used = [one.memory_used for one in readings if one.memory_used is not None]
    many = f"{len(readings)}x " if len(readings) > 1 else ""
    mean = percent(sum(busy) / len(busy) if busy else None)
    return f"{many}{mean} {show_size(max(used) if used else None)}"


def worst(findings: tuple[Finding, ...]) -> Optional[Look]:
    """The look of the gravest finding; None where there is none."""
    for level in ("act", "warning", "notice"):
        if any(one.level == level for one in findings):
            return LEVELS[level]
    return LEVELS["warning"] if findings else None


def ago(at: float, now: float) -> Optional[float]:
    """Seconds since `at`, never negative; None for a time that is none."""
    return max(0.0, now - at) if at > 0 else None


def iso(at: Optional[float]) -> Optional[str]:
    """ISO 8601 in UTC, with milliseconds; None for what is no time."""
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None
