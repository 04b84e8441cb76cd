"""Stall: is it working, silent but busy, stalled, or spinning? From evidence, and from how long its steps usually take.

working            output, progress, a metric or a checkpoint came within the time that it usually takes
silent but busy    none of that, but CPU, GPU or files move: the buffered job that looks dead
stalled            none of that, and nothing moves
spinning           busy without getting on: the step stands still though it has moved before, or a GPU is at 100 % at the
                   power of an idle one (a collective that waits for a lost peer does that)
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Optional

from launcher.model.outcome import Outcome
from launcher.supervisor.readings.sample import Sample
from launcher.supervisor.watchdogs.median import median
from launcher.supervisor.watchdogs.raised import ACT, NOTICE, WARNING, Raised
from launcher.supervisor.watchdogs.words import count, percent, show_time

BUSY_CORES = 0.05
BUSY_GPU = 0.05
BUSY_BYTES_PER_S = 100_000.0
"""A model that is loaded from a slow disk takes hardly any CPU."""
FULL_GPU = 0.95
LOW_POWER = 0.35
"""Of the power limit. An H100 draws 70 W of its 700 W while a stuck collective shows 100 %; generation draws more than half."""
STEPS_LEARNT = 5
STEPS_KEPT = 32
TYPICAL_FACTOR, LONGEST_FACTOR = 20.0, 3.0
SOONEST_S = 60.0
QUIET_NOTICE_S = 120.0
WINDOW = 6
_ENDLESS = 1e12


@dataclass(frozen=True)
class _Activity:
    """Averages over the last looks since the last sign of life; None: not available."""

    cores: Optional[float]
    gpu: Optional[float]
    power: Optional[float]  # fraction of the limit, of the GPU that is busiest
    bytes_per_s: Optional[float]

    @property
    def known(self) -> bool:
        return self.cores is not None or self.gpu is not None

    @property
    def busy(self) -> bool:
        moved = self.bytes_per_s is not None and self.bytes_per_s > BUSY_BYTES_PER_S
        return (self.cores or 0.0) > BUSY_CORES or (self.gpu or 0.0) > BUSY_GPU or moved

    @property
    def gpu_waits(self) -> bool:
        """At 100 % and the power of idleness."""
        return self.gpu is not None and self.gpu >= FULL_GPU and self.power is not None and self.power < LOW_POWER

    def __str__(self) -> str:
        parts = []
        if self.cores is not None:
            parts.append(f"CPU {self.cores:.2f} cores")
        if self.gpu is not None:
            parts.append(
                f"GPU {percent(self.gpu)}" + ("" if self.power is None else f" at {percent(self.power)} of its power")
            )
        return ", ".join(parts) or "CPU and GPU not available"


class StallWatch:
    """`after`: seconds without a sign of life from which a stall may be acted on. All times are monotonic."""

    def __init__(self, after: float) -> None:
        self._after = after
        self._begun: Optional[float] = None
        self._sign_at = 0.0  # of any kind
        self._step_at = 0.0  # of progress alone
        self._seen: tuple[object, ...] = ()
        self._step: Optional[float] = None
        self._stage: Optional[str] = None
        self._stepping = False
        self._intervals: deque[float] = deque(maxlen=STEPS_KEPT)
        self._window: deque[tuple[float, Sample]] = deque(maxlen=WINDOW)

    def look(self, sample: Sample) -> list[Raised]:
        """A sample in which the log could not be read says nothing about output, and so nothing about a stall."""
        now = sample.mono
        if self._begun is None:
            self._begun = self._sign_at = self._step_at = now
        self._signs(sample, now)
        self._window.append((now, sample))
        if sample.log is None and sample.progress is None:
            self._sign_at = self._step_at = now
            return []
        activity = self._activity()
        quiet, frozen = now - self._sign_at, now - self._step_at
        done = self._done(sample)
        spinning = None if done else self._spinning(sample, activity, quiet, frozen)
        return [spinning] if spinning else self._silent(activity, quiet)

    def _done(self, sample: Sample) -> bool:
        """After its last step it saves and evaluates; that takes what it takes, but not in silence."""
        progress = sample.progress
        return bool(progress and progress.step is not None and progress.total and progress.step >= progress.total)

    def _signs(self, sample: Sample, now: float) -> None:
        progress, log, saved = sample.progress, sample.log, sample.checkpoints
        seen = (
            (progress.step, progress.stage, progress.message) if progress else None,
            log.size if log else None,
            (saved.complete[-1:], saved.incomplete) if saved else None,
        )
        if seen != self._seen or sample.points:
            self._seen, self._sign_at = seen, now
            self._window.clear()
        if progress is None:
            return
        if progress.stage != self._stage:
            self._stage, self._step_at = progress.stage, now
        if progress.step is not None and progress.step != self._step:
            if self._step is not None:
                moved = max(1.0, abs(progress.step - self._step))
                # Steps that came within one look share it; a step of many looks has its own time.
                self._intervals.append((now - self._step_at) / moved if moved > 1 else now - self._step_at)
                self._stepping = True
            self._step, self._step_at = progress.step, now

    def limit(self) -> float:
        """Seconds without a step from which on it is remarkable: `after`, or less or more where steps are known."""
        if len(self._intervals) < STEPS_LEARNT:
            return self._after
        usual = max(SOONEST_S, TYPICAL_FACTOR * median(self._intervals))
        return max(min(self._after, usual), LONGEST_FACTOR * max(self._intervals))

    def _act_after(self) -> float:
        longest = max(self._intervals) if self._intervals else 0.0
        return max(self._after, LONGEST_FACTOR * longest)

    def _spinning(self, sample: Sample, activity: _Activity, quiet: float, frozen: float) -> Optional[Raised]:
        stage = f" in stage {self._stage}" if self._stage else ""
        hint = "the evidence holds the stacks of all threads: `launch status` names it"
        if activity.gpu_waits and frozen >= self.limit() and quiet >= min(self._after, self.limit()):
            message = f"no step for {show_time(frozen)}{stage}, {activity}: it computes nothing, it waits"
            return self._raised("stall.spinning", message, hint, frozen)
        if self._stepping and frozen >= self.limit() and activity.busy:
            step = "" if self._step is None else f" at step {count(self._step)}"
            usual = f", steps took {show_time(median(self._intervals))}" if self._intervals else ""
            message = f"busy, but progress stands still{step} for {show_time(frozen)}{stage}{usual}; {activity}"
            return self._raised("stall.spinning", message, hint, frozen)
        return None

    def _raised(self, code: str, message: str, hint: Optional[str], for_s: float) -> Raised:
        acting = for_s >= self._act_after()
        level, stop = (ACT, Outcome.STALLED) if acting else (WARNING, None)
        return Raised(code, level, message, hint, stop=stop, evidence=True)

    def _silent(self, activity: _Activity, quiet: float) -> list[Raised]:
        if activity.busy and quiet >= min(self._after, QUIET_NOTICE_S):
            message = f"silent for {show_time(quiet)}, but busy: {activity}"
            hint = "its output may be buffered; task.progress() would tell how far it is"
            return [Raised("stall.silent_but_busy", NOTICE, message, hint)]
        # Where the step is known, silence is measured by it; where only the log is, it may rest for `after`.
        if activity.busy or quiet < (self.limit() if self._stepping else self._after):
            return []
        if not activity.known:
            message = f"silent for {show_time(quiet)}; whether it is busy cannot be told: {activity}"
            return [Raised("stall.silent", NOTICE, message, None, evidence=True)]
        message = f"no output, no progress and nothing moving for {show_time(quiet)}: {activity}"
        hint = "the evidence holds the stacks of all threads; a lock, a dead peer or a mount that hangs are usual"
        return [self._raised("stall.stalled", message, hint, quiet)]

    def _activity(self) -> _Activity:
        """Over the looks since the last sign of life, so that the work before it does not count as activity now."""
        samples = [sample for _, sample in self._window]
        cores = [one.tree.cpu for one in samples if one.tree is not None and one.tree.cpu is not None]
        gpus = [_busiest(one) for one in samples]
        used = [one for one in gpus if one is not None]
        power = [one[1] for one in used if one[1] is not None]
        return _Activity(
            sum(cores) / len(cores) if cores else None,
            sum(one[0] for one in used) / len(used) if used else None,
            sum(power) / len(power) if power else None,
            _speed(samples),
        )


def _busiest(sample: Sample) -> Optional[tuple[float, Optional[float]]]:
    """Utilisation of the busiest GPU, and what part of its power limit it draws."""
    found: list[tuple[float, Optional[float]]] = []
    for gpu in sample.gpus or ():
        if gpu.utilisation is not None:
            drawn = gpu.power / gpu.power_limit if gpu.power is not None and gpu.power_limit else None
            found.append((gpu.utilisation, drawn))
    return max(found, key=lambda one: (one[0], one[1] if one[1] is not None else _ENDLESS)) if found else None


def _speed(samples: list[Sample]) -> Optional[float]:
    told = [(one.mono, one.io_bytes) for one in samples if one.io_bytes is not None]
    if len(told) < 2 or told[-1][0] <= told[0][0]:
        return None
    return max(0, told[-1][1] - told[0][1]) / (told[-1][0] - told[0][0])
