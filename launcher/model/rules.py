"""Rules on metrics, as people write them: `val_loss < 0.01`, `loss isnan`. A rule that is true is a finding."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

RULE_FORMS = "`metric < number` with < <= > >= == !=, or `metric isnan`"

_RULE = re.compile(r"\s*([^\s<>=!]+)\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*")
_NAN = re.compile(r"\s*([^\s<>=!()]+)\s+isnan\s*|\s*isnan\(\s*([^\s<>=!()]+)\s*\)\s*")
_TRUE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Rule:
    """`bound` is None for `isnan`."""

    text: str
    metric: str
    operator: str
    bound: Optional[float] = None

    def holds(self, value: float) -> bool:
        """Whether the rule is true of a metric's value. NaN compares as in IEEE 754."""
        if self.bound is None:
            return math.isnan(value)
        return _TRUE[self.operator](value, self.bound)


def parse_rule(text: str) -> Rule:
    """Raises ValueError with the valid forms."""
    nan = _NAN.fullmatch(text)
    if nan:
        return Rule(text, nan.group(1) or nan.group(2), "isnan")
    match = _RULE.fullmatch(text)
    if match is None:
        raise ValueError(f"a rule is expected ({RULE_FORMS})")
    metric, sign, number = match.groups()
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"{number!r} is no number; a rule is {RULE_FORMS}") from None
    if math.isnan(bound):
        raise ValueError(f"nothing compares with nan; write `{metric} isnan`")
    return Rule(text, metric, sign, bound)
