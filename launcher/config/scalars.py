"""Plain scalars as in YAML 1.2 (core schema): `off` and `6:00:00` are text, `1e-3` is a number, dates are text."""

from __future__ import annotations

import re
from typing import Union

Value = Union[None, bool, int, float, str]

_CONSTANTS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_NAN = {".nan", ".NaN", ".NAN"}
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_MAY_BEGIN = frozenset("+-.0123456789")
LONGEST_NUMBER = 300  # digits; beyond it Python itself refuses to convert, at 4300


def resolve(text: str) -> Value:
    """Raises ValueError for a number with more digits than anything is counted in."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _MAY_BEGIN:
        return text
    number = _number(text)
    if number is None:
        return text
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} digits; put it in quotes if it is text")
    return number


def _number(text: str) -> Union[int, float, None]:
    if _INT.fullmatch(text):
        return int(text) if len(text) <= LONGEST_NUMBER else 0
    if _FLOAT.fullmatch(text):
        return float(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    infinite = _INFINITE.fullmatch(text)
    if infinite:
        return float(f"{infinite.group(1)}inf")
    return float("nan") if text in _NAN else None
