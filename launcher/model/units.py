"""Sizes and times in the forms that people write, to bytes and seconds and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Callable, Optional

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtTpP]?)(i?)([bB]?)\s*")
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(d|h|ms|min|m|sec|s)")
_SECONDS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "m": 60.0, "sec": 1.0, "s": 1.0, "ms": 0.001}
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d{1,2})(?::(\d{1,2}))?")

SIZE_FORMS = "40GB, 200GiB, 512MB, or a number of bytes"
TIME_FORMS = "90s, 90m, 6h, 2h30m, 1d, 6:00:00 or 1-12:00:00"
PRICE_FORMS = "0.89/h, $0.89/h, or a number of dollars per hour"


def parse_size(text: object) -> int:
    """Bytes. `GB` is 10^9 and `GiB` is 2^30, as on disks and in SI; a bare number is bytes.

    Raises ValueError with the valid forms.
    """
    if isinstance(text, bool) or not isinstance(text, (int, float, str)):
        raise ValueError(f"a size is expected ({SIZE_FORMS})")
    factor = 1
    if isinstance(text, (int, float)):
        number = _as_float(text)
    else:
        match = _SIZE.fullmatch(text)
        if match is None:
            raise ValueError(f"a size is expected ({SIZE_FORMS})")
        base: int = 1024 if match.group(3) else 1000
        number, factor = float(match.group(1)), base ** _POWER[match.group(2).lower()]
    size = number * factor
    if size < 0 or size != size or size == float("inf"):
        raise ValueError("a size cannot be negative or endless")
    return text if isinstance(text, int) else round(size)


def _as_float(number: float) -> float:
    """Infinity for a whole number that is larger than any float."""
    try:
        return float(number)
    except OverflowError:
        return float("inf")


def parse_time(text: object) -> float:
    """Seconds, which a bare number is too. `1-12:00:00` is days-hours:minutes:seconds, `6:00:00` hours, as in SLURM.

    `90:00` is refused: SLURM reads it as minutes:seconds, most people as hours. Raises ValueError with the valid forms.
    """
    if isinstance(text, bool) or not isinstance(text, (int, float, str)):
        raise ValueError(f"a time is expected ({TIME_FORMS})")
    if isinstance(text, (int, float)):
        seconds = _as_float(text)
    else:
        seconds = _parse_time_text(text.strip())
    if seconds < 0 or seconds != seconds or seconds == float("inf"):
        raise ValueError("a time cannot be negative or endless")
    return seconds


def _parse_time_text(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    clock = _CLOCK.fullmatch(text)
    if clock:
        days, first, second, third = clock.groups()
        if third is None and days is None:
            raise ValueError(f"{text!r} could be minutes or hours; write 90s, 90m, 6h or 6:00:00")
        return float(days or 0) * 86400 + float(first) * 3600 + float(second) * 60 + float(third or 0)
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip():
        raise ValueError(f"a time is expected ({TIME_FORMS})")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_price(text: object) -> float:
    """Dollars per hour. Raises ValueError with the valid forms."""
    if isinstance(text, bool):
        raise ValueError(f"a price is expected ({PRICE_FORMS})")
    if isinstance(text, str):
        match = re.fullmatch(r"\s*\$?\s*([0-9]+(?:\.[0-9]+)?)\s*(?:/\s*(?:h|hr|hour))?\s*", text)
        if match is None:
            raise ValueError(f"a price is expected ({PRICE_FORMS})")
        text = float(match.group(1))
    if isinstance(text, (int, float)) and 0 <= _as_float(text) < float("inf"):
        return float(text)
    raise ValueError(f"a price is expected ({PRICE_FORMS})")


def show_size(size: Optional[float]) -> str:
    """`41.2GB`; decimal units; `?` when not available."""
    if size is None:
        return "?"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 999.5 or unit == "TB":
            return f"{size:.0f}{unit}" if unit == "B" or abs(size) >= 100 else f"{size:.3g}{unit}"
        size /= 1000
    return "?"


def show_time(seconds: Optional[float]) -> str:
    """`45s`, `12m`, `3h05m`, `2d04h`; `?` when not available."""
    if seconds is None:
        return "?"
    whole = int(seconds)
    if whole < 0:
        return f"-{show_time(-whole)}"
    if whole < 120:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


@dataclass(frozen=True)
class Form:
    """Marks a field that people may write as text. Pydantic reads the two methods; nothing here imports it."""

    name: str
    parse: Callable[[object], object]
    forms: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return {
            "type": "function-before",
            "function": {"type": "no-info", "function": self.parse},
            "schema": handler(source),
        }

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}],
            "description": f"a {self.name}: {self.forms}",
        }


Size = Annotated[int, Form("size", parse_size, SIZE_FORMS)]
Time = Annotated[float, Form("time", parse_time, TIME_FORMS)]
Price = Annotated[float, Form("price", parse_price, PRICE_FORMS)]
