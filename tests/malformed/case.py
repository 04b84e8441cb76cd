"""A malformed file and what must be said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Wanted:
    """One problem: its line (None: an absence), its dotted key, and words of its message."""

    line: Optional[int]
    key: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """`wanted` is all that may be said, in any order."""

    name: str
    text: bytes
    wanted: tuple[Wanted, ...]


def case(name: str, text: str | bytes, *wanted: tuple[object, ...]) -> Case:
    """A case from tuples of line, key and words."""
    content = text if isinstance(text, bytes) else text.encode()
    return Case(name, content, tuple(_wanted(*each) for each in wanted))


def _wanted(line: object, key: object, *words: object) -> Wanted:
    assert line is None or isinstance(line, int)
    return Wanted(line, str(key), tuple(str(word) for word in words))
