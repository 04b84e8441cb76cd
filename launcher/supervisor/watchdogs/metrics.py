"""Metrics: what is not finite, a loss of exactly nothing, divergence, and the rules that a phase makes itself."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Sequence
from typing import Optional

from launcher.model.outcome import Outcome
from launcher.model.rules import RULE_FORMS, Rule, parse_rule
from launcher.supervisor.readings.sample import MetricPoint, Sample
from launcher.supervisor.watchdogs.median import median
from launcher.supervisor.watchdogs.raised import ACT, NOTICE, WARNING, Raised
from launcher.supervisor.watchdogs.words import count

ZEROS = 3
"""So many times in a row exactly 0.0 is no rounding."""
RECENT = 5
LEARN = 10
DIVERGED, DIVERGED_FAR = 3.0, 10.0
LEAST = 0.05
"""Of the first loss: what wanders about below this has converged."""
NAMES = 200
_VALIDATION = re.compile(r"(?:^|[_/.-])(?:val|valid|validation|eval|evaluation|dev|test)(?:[_/.-]|\d|$)", re.IGNORECASE)


class _Series:
    """One metric as it came."""

    def __init__(self) -> None:
        self.newest: Optional[MetricPoint] = None
        self.zeros = 0
        self.bad_since: Optional[MetricPoint] = None
        self.good: Optional[MetricPoint] = None  # the newest finite one
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.lowest = math.inf  # of the medians of RECENT
        self.first: Optional[float] = None
        self.count = 0
        self.seen = False

    def take(self, point: MetricPoint) -> None:
        self.newest, self.seen = point, True
        if not math.isfinite(point.value):
            self.bad_since = self.bad_since or point
            self.zeros = 0
            return
        self.bad_since, self.good = None, point
        self.count += 1
        self.zeros = self.zeros + 1 if point.value == 0.0 else 0
        self.recent.append(point.value)
        if self.first is None:
            self.first = point.value
        if len(self.recent) == RECENT:
            self.lowest = min(self.lowest, median(self.recent))


class MetricsWatch:
    """`rules` such as `val_loss < 0.01`. One that cannot be read is told of, and never true."""

    def __init__(self, rules: Sequence[str] = ()) -> None:
        self._series: dict[str, _Series] = {}
        self._rules = [(rule, _parsed(rule)) for rule in rules]
        self._checkpoint: Optional[str] = None

    def look(self, sample: Sample) -> list[Raised]:
        """Every point since the last sample is judged, not only the newest."""
        bad: dict[str, MetricPoint] = {}
        for point in sample.points:
            series = self._series.get(point.name)
            if series is None:
                if len(self._series) >= NAMES:
                    continue
                series = self._series[point.name] = _Series()
            series.take(point)
            if series.bad_since is not None:
                bad[point.name] = series.bad_since
        if sample.checkpoints and sample.checkpoints.complete:
            self._checkpoint = sample.checkpoints.complete[-1]
        return [*self._not_finite(bad), *self._zero(), *self._divergence(), *self._by_rule()]

    def _not_finite(self, now: dict[str, MetricPoint]) -> list[Raised]:
        """Also what was finite again within one sample is told, once."""
        found = []
        for name, series in self._series.items():
            point = series.bad_since or now.get(name)
            if point is None:
                continue
            at = "" if point.step is None else f" at step {count(point.step)}"
            message = f"{name} is {_show(point.value)}{at}"
            if series.good is not None:
                step = "" if series.good.step is None else f" at step {count(series.good.step)}"
                message += f"; its last finite value was {series.good.value:.6g}{step}"
            is_loss = _is_loss(name)
            hint = "the loss is past saving: lower the learning rate, check the precision and the batch"
            if self._checkpoint is not None:
                hint += f"; the newest checkpoint is {self._checkpoint}, which may hold it already"
            if not is_loss:
                hint = "mixed precision skips such a step now and then; many of them are a fault"
            # A gradient's norm overflows now and then in mixed precision, and the scaler skips that step.
            level, stop = (ACT, Outcome.FAILED) if is_loss and series.bad_since is not None else (WARNING, None)
            found.append(Raised("metrics.not_finite", level, message, hint, name, stop))
        return found

    def _zero(self) -> list[Raised]:
        training = [name for name, one in self._series.items() if _is_training_loss(name) and one.zeros >= ZEROS]
        checked = [name for name, one in self._series.items() if _is_loss(name) and _is_validation(name) and one.zeros]
        if not training:
            return []
        hint = (
            "memorised, or computed over nothing: look at the labels, the mask and the ratio of parameters to samples"
        )
        if checked:
            message = f"{training[0]} and {checked[0]} are exactly 0.0"
            return [Raised("metrics.zero_loss", ACT, message, hint, stop=Outcome.FAILED)]
        times = self._series[training[0]].zeros
        return [Raised("metrics.zero_loss", WARNING, f"{training[0]} is exactly 0.0, {times} times in a row", hint)]

    def _divergence(self) -> list[Raised]:
        found = []
        for name, series in self._series.items():
            if not _is_loss(name) or series.count < LEARN or len(series.recent) < RECENT or series.first is None:
                continue
            now = median(series.recent)
            ground = max(series.lowest, abs(series.first) * LEAST)
            if series.lowest <= 0 or not math.isfinite(ground) or ground <= 0 or now <= ground * DIVERGED:
                continue
            far = now > ground * DIVERGED_FAR and now > series.first * 2
            message = f"{name} has gone up to {now:.4g}, {now / ground:.1f} times its lowest ({series.lowest:.4g})"
            hint = "lower the learning rate, or resume from a checkpoint before it rose"
            stop = Outcome.FAILED if far else None
            found.append(Raised("metrics.divergence", ACT if far else WARNING, message, hint, name, stop))
        return found

    def _by_rule(self) -> list[Raised]:
        found = []
        for text, rule in self._rules:
            if rule is None:
                message = f"the rule {text!r} cannot be read"
                found.append(Raised("metrics.bad_rule", NOTICE, message, f"valid: {RULE_FORMS}", text))
                continue
            series = self._series.get(rule.metric) or self._series.get(rule.metric.lower())
            if series is None or series.newest is None or not rule.holds(series.newest.value):
                continue
            at = "" if series.newest.step is None else f" at step {count(series.newest.step)}"
            message = f"{rule.metric} is {_show(series.newest.value)}{at}: {text.strip()}"
            found.append(Raised("metrics.rule", ACT, message, None, text, Outcome.FAILED))
        return found


def _parsed(text: str) -> Optional[Rule]:
    try:
        return parse_rule(text)
    except ValueError:
        return None


def _is_loss(name: str) -> bool:
    return "loss" in name.lower()


def _is_validation(name: str) -> bool:
    return _VALIDATION.search(name) is not None


def _is_training_loss(name: str) -> bool:
    lower = name.lower()
    plain = lower in ("loss", "train_loss", "training_loss", "train/loss", "training/loss", "train.loss")
    return plain or (_is_loss(name) and "train" in lower and not _is_validation(name))


def _show(value: float) -> str:
    return "NaN" if value != value else f"{value:.6g}" if math.isfinite(value) else "infinite"
