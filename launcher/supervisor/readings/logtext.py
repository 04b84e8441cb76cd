"""What a piece of a log says: its last visible line, metrics, and signs of failure. Pure; bytes in, whatever they are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

from launcher.supervisor.readings.sample import MetricPoint, Sign

LINE_LENGTH = 200
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# One pass over each word: the look-behind keeps a long run of letters from being tried at each of its letters.
_PAIR = re.compile(
    rb"(?:(?<![A-Za-z0-9])(train|training|val|valid|validation|eval|evaluation|test)[ ])?"
    rb"(?<![\w./-])([A-Za-z_][\w./@-]{0,60})['\"]?[ \t]{0,2}[=:][ \t]{0,4}['\"]?"
    rb"([-+]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][-+]?[0-9]{1,4})?|\.[0-9]{1,30}|nan|inf(?:inity)?))(?![\w.])",
    re.IGNORECASE,
)
_USUAL = ("loss", "acc", "accuracy", "perplexity", "ppl", "reward", "grad_norm", "fidelity", "bleu", "f1")
_STEPS = ("step", "global_step", "iteration", "iter")
_JSON_LINE = re.compile(rb"^[ \t]*(\{[^\r\n]{2,8000}\})[ \t]*$", re.MULTILINE)
DEEPEST = 60
"""Brackets in a line of JSON; a parser that recurses on a child's garbage would run out of a small stack."""


def last_visible(tail: bytes, *, whole: bool) -> Optional[str]:
    """The last segment that is not blank, where a carriage return begins a new one. `whole`: the log begins here."""
    text = _ESCAPES.sub("", tail.decode("utf-8", "replace"))
    segments = [_CONTROL.sub("", segment).strip() for segment in re.split(r"[\r\n]", text)]
    for position in range(len(segments) - 1, -1, -1):
        segment = segments[position]
        if segment:
            begun_earlier = position == 0 and not whole
            if begun_earlier or len(segment) > LINE_LENGTH:
                return "…" + segment[-(LINE_LENGTH - 1) :] if begun_earlier else segment[: LINE_LENGTH - 1] + "…"
            return segment
    return None


def number(value: Any) -> Optional[float]:
    """A measured value: numbers, and the strings by which JSON tells those that are not finite (or that were rounded)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and len(value) > 40:
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def load_object(line: bytes) -> Optional[dict[str, Any]]:
    """The JSON object in a line; None for anything else."""
    if line.count(b"{") + line.count(b"[") > DEEPEST:
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def is_usual(name: str) -> bool:
    """Whether a name in a log is a metric in its own right, rather than any setting that has a number."""
    last = re.split(r"[/.:@-]", name)[-1]
    return any(last == usual or last.endswith("_" + usual) for usual in _USUAL) or last.endswith("loss")


def metric_points(lines: bytes, names: frozenset[str]) -> Iterator[MetricPoint]:
    """Metrics in whole lines of a log, in their order: JSON objects, and pairs such as `loss=0.123` and `'loss': 0.123`."""
    if b"=" not in lines and b":" not in lines:
        return
    if b"{" in lines:
        lines = _JSON_LINE.sub(lambda match: _spread(match.group(1)), lines)
    step: Optional[float] = None
    line_of_step = -1
    for match in _PAIR.finditer(lines):
        split, name, text = match.groups()
        key = name.decode("ascii", "replace").lower()
        value = _value(text)
        if key in _STEPS:
            step, line_of_step = value, match.start()
            continue
        if split and not key.startswith(split.lower().decode("ascii")):
            key = f"{split.lower().decode('ascii')}_{key}"
        if value is None or not (key in names or is_usual(key)):
            continue
        if step is not None and lines.find(b"\n", line_of_step, match.start()) >= 0:
            step = None  # said in an earlier line
        yield MetricPoint(key, value, step, "log")


def _spread(line: bytes) -> bytes:
    """A JSON object as pairs, its step first, so that one rule reads both forms."""
    found = load_object(line)
    if found is None:
        return line
    numbers = {key: value for key, item in found.items() if (value := number(item)) is not None and " " not in key}
    ordered = sorted(numbers.items(), key=lambda item: item[0].lower() not in _STEPS)
    return " ".join(f"{key}={value!r}" for key, value in ordered).encode("utf-8", "replace")


def _value(text: bytes) -> Optional[float]:
    try:
        return float(text)
    except ValueError:
        return None


class _Kind(NamedTuple):
    code: str
    needles: tuple[bytes, ...]  # one of them is in the line: found quickly in much text
    line: re.Pattern[bytes]  # what the line must be like


def _kind(code: str, needles: tuple[bytes, ...], line: bytes) -> _Kind:
    return _Kind(code, needles, re.compile(line, re.IGNORECASE))


_KINDS = (
    _kind(
        "cuda_out_of_memory",
        (b"out of memory", b"OutOfMemoryError", b"ALLOC_FAILED"),
        rb"cuda.{0,80}out of memory|hip.{0,40}out of memory|OutOfMemoryError|CU(?:BLAS|DNN)_STATUS_ALLOC_FAILED",
    ),
    _kind(
        "out_of_memory",
        (
            b"MemoryError",
            b"Cannot allocate memory",
            b"bad_alloc",
            b"t allocate memory",
            b"oom-kill",
            b"Out of memory: K",
        ),
        rb"(?<![a-z])MemoryError\b|cannot allocate memory|std::bad_alloc|can't allocate memory|oom-kill|out of memory: kill",
    ),
    _kind(
        "disk_full",
        (b"No space left on device", b"quota exceeded", b"ENOSPC", b"EDQUOT"),
        rb"no space left on device|disk quota exceeded|\bENOSPC\b|\bEDQUOT\b",
    ),
    _kind(
        "nccl",
        (b"NCCL", b"nccl"),
        rb"nccl(?:System|Internal|UnhandledCuda|Remote|InvalidUsage)\w*|nccl (?:error|warn)|watchdog caught collective|"
        rb"nccl.{0,200}(?:timeout|timed out|abort)",
    ),
    _kind("cuda_error", (b"CUDA error", b"device-side assert"), rb"cuda error: (?!out of memory)|device-side assert"),
    _kind("crash", (b"Segmentation fault", b"Bus error", b"core dumped"), rb"segmentation fault|bus error|core dumped"),
)
_TRACEBACK = b"Traceback (most recent call last)"
# `module.SomeError: message` at the start of a line, as the last line of a traceback has it.
_RAISED = re.compile(
    rb"^(?:\[?rank\d+\]?: ?)?((?:[A-Za-z_][\w.]{0,100})?"
    rb"(?:Error|Exception|Interrupt|Exit|Warning|Timeout|Failure)\b(?:: [^\r\n]{0,400})?)\r?$",
    re.MULTILINE,
)


class Signs:
    """Keeps, for each kind of sign, the newest line and how often it came. Bounded, whatever the log says."""

    def __init__(self) -> None:
        self._found: dict[str, Sign] = {}
        self._in_traceback = False

    def found(self) -> tuple[Sign, ...]:
        return tuple(self._found.values())

    def look(self, lines: bytes) -> None:
        """Whole lines, in the order of the log."""
        for kind in _KINDS:
            if any(needle in lines for needle in kind.needles):
                self._look_for(kind, lines)
        if self._in_traceback or _TRACEBACK in lines:
            start = lines.find(_TRACEBACK)
            raised = list(_RAISED.finditer(lines, 0 if self._in_traceback else start))
            if raised:
                self._keep("exception", raised[-1].group(1), len(raised))
                self._in_traceback = lines.rfind(_TRACEBACK) > raised[-1].start()
            else:
                self._in_traceback = True

    def _look_for(self, kind: _Kind, lines: bytes) -> None:
        count, newest = 0, None
        position = min(found for needle in kind.needles if (found := lines.find(needle)) >= 0)
        for line in lines[lines.rfind(b"\n", 0, position) + 1 :].splitlines():
            if any(needle in line for needle in kind.needles):
                match = kind.line.search(line[:4000])
                if match is not None:
                    count, newest = count + 1, line
        if newest is not None:
            self._keep(kind.code, newest, count)

    def _keep(self, code: str, line: bytes, count: int) -> None:
        text = _CONTROL.sub("", _ESCAPES.sub("", line[:2000].decode("utf-8", "replace"))).strip()
        before = self._found.get(code)
        self._found[code] = Sign(code, text[:500], count + (before.count if before else 0))


def finite(value: Optional[float]) -> bool:
    """Whether there is a value and it is an ordinary number."""
    return value is not None and math.isfinite(value)
