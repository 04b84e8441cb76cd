"""Names: job ids, task references, array expressions, and the rule for what a name may hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
JOB_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # without 0 o 1 l i, which are mistaken for each other when read aloud
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")
MAX_TASKS = 1_000_000


@dataclass(frozen=True)
class ArrayExpression:
    """Which indices of an array to run, in order, and how many at once (None: as many as fit)."""

    indices: tuple[int, ...]
    limit: Optional[int] = None


def parse_array(text: str) -> ArrayExpression:
    """`0-5`, `0-10:2`, `1,4,7`, `0-99%8`. Raises ValueError with what is wrong; a repeated index counts once."""
    body, percent, limit_text = text.replace(" ", "").partition("%")
    limit: Optional[int] = None
    if percent:
        if not limit_text.isdecimal() or int(limit_text) < 1:
            raise ValueError(f"after % a whole number from 1 is expected, found {limit_text!r}")
        limit = int(limit_text)
    indices: dict[int, None] = {}
    for part in body.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no index or range; valid: 0-5, 0-10:2, 1,4,7, 0-99%8")
        first = int(match.group(1))
        last = int(match.group(2)) if match.group(2) is not None else first
        step = int(match.group(3)) if match.group(3) is not None else 1
        if last < first:
            raise ValueError(f"the range {part!r} runs backwards")
        if step < 1:
            raise ValueError(f"the step of {part!r} must be at least 1")
        if (last - first) // step + len(indices) >= MAX_TASKS:
            raise ValueError(f"{part!r} makes more than {MAX_TASKS} tasks")
        indices.update(dict.fromkeys(range(first, last + 1, step)))
    return ArrayExpression(tuple(indices), limit)


def show_indices(indices: Iterable[int]) -> str:
    """The shortest expression for a set of indices: `0-5`, `1,4,7`."""
    ordered = sorted(set(indices))
    parts: list[str] = []
    start = 0
    while start < len(ordered):
        end = start
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        parts.append(str(ordered[start]) if end == start else f"{ordered[start]}-{ordered[end]}")
        start = end + 1
    return ",".join(parts)


def show_tasks(indices: Iterable[int]) -> str:
    """`task 3`, `tasks 0-5`, `no task`."""
    chosen = sorted(set(indices))
    if not chosen:
        return "no task"
    return f"task {chosen[0]}" if len(chosen) == 1 else f"tasks {show_indices(chosen)}"


def job_id(name: str, salt: Sequence[int]) -> str:
    """`phase1_large-k3f9` from a phase's name and four random numbers (or more, when four were taken)."""
    return f"{name}-{''.join(JOB_ALPHABET[n % len(JOB_ALPHABET)] for n in salt)}"


@dataclass(frozen=True)
class TaskWord:
    """A word of the command line split into a job's word and perhaps one task."""

    job: str
    task: Optional[int] = None


def split_task(word: str) -> tuple[TaskWord, ...]:
    """The ways to read a word, best first: the whole word, then `ID_5`; `ID:5` always names a task."""
    explicit = re.fullmatch(r"(.+):(\d+)", word)
    if explicit:
        return (TaskWord(explicit.group(1), int(explicit.group(2))),)
    readings = [TaskWord(word)]
    under = re.fullmatch(r"(.+)_(\d+)", word)
    if under:
        readings.append(TaskWord(under.group(1), int(under.group(2))))
    return tuple(readings)
