"""All mistakes of a file, gathered: one Problem for each place, in the order of lines."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn, Optional

from launcher.config.nodes import Node, describe, locate
from launcher.errors import ConfigError, Problem

NOT_FOUND = "\0"  # for `found`: describe what is there


def nearest(word: str, known: Iterable[str]) -> Optional[str]:
    """The known name that is most like a word, upper and lower case being the same."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def listed(names: Collection[str], most: int = 24) -> Optional[str]:
    """Names for `valid`; None where there are none."""
    some = sorted(names)[:most]
    return (", ".join(some) + (", ..." if len(names) > most else "")) or None


class Problems:
    """Gathers. The first problem of a place is kept: what comes later there follows from it."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, Optional[int], str], Problem] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, problem: Problem) -> None:
        """Keep a problem, unless its place has one."""
        self._found.setdefault((problem.file, problem.line, problem.key), problem)

    def at(
        self,
        root: Node,
        loc: Sequence[Any],
        message: str,
        *,
        found: Optional[str] = NOT_FOUND,
        valid: Optional[str] = None,
        near: Optional[str] = None,
    ) -> None:
        """A problem with what stands at `loc` of the model; `found` is what stands there unless it is given."""
        place = locate(root, loc)
        shown = describe(place.node) if found == NOT_FOUND else found
        self.add(Problem(place.file, place.line, place.key, message, shown, valid, near))

    def all(self) -> tuple[Problem, ...]:
        """In the order of files and lines; an absence, which has no line, comes first."""
        return tuple(sorted(self._found.values(), key=lambda problem: (problem.file, problem.line or 0)))

    def stop(self, hint: Optional[str] = None) -> NoReturn:
        """Raises ConfigError with everything that was found."""
        raise ConfigError(self.all(), hint=hint)

    def stop_if_any(self, hint: Optional[str] = None) -> None:
        """Raises ConfigError where something was found."""
        if self._found:
            self.stop(hint)
