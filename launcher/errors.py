"""Every exception of `launch`, with its exit code, its hint, and whether trying again can help.

    LaunchError                 1    something failed
    ├── UsageError              2    the command line does not make sense
    ├── ConfigError             3    phases, profiles, settings; holds every problem found
    ├── DecisionNeeded          4    earlier results are in the way and nobody answered
    ├── Refused                 1    a check said no before anything was changed
    ├── NotFound              102    no job, phase or profile of that name
    ├── BadRecord               1    a stored record is not what its schema says
    ├── StoreError              1    durable bytes could not be read or written
    └── SubmitError             1    an executor did not take the job; says what may have been created

Travels to the node: standard library, Python 3.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

EXIT_FINE = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_CONFIG = 3
EXIT_DECISION = 4
EXIT_FAILED = 100
EXIT_NOT_FINISHED = 101
EXIT_NOT_FOUND = 102
EXIT_CANCELLED = 103


class LaunchError(Exception):
    """What was tried, on what, what came back, what is left behind, and the next command.

    `tried` is a sentence without a full stop; `came_back` the answer of the world; `left` what exists now
    because of the attempt (None: nothing); `hint` the next command or step.
    """

    exit_code = EXIT_ERROR
    transient = False

    def __init__(
        self,
        tried: str,
        *,
        came_back: Optional[str] = None,
        left: Optional[str] = None,
        hint: Optional[str] = None,
        transient: Optional[bool] = None,
    ) -> None:
        super().__init__(tried)
        self.tried = tried
        self.came_back = came_back
        self.left = left
        self.hint = hint
        if transient is not None:
            self.transient = transient

    def __str__(self) -> str:
        parts = [self.tried]
        if self.came_back:
            parts[0] += f": {self.came_back}"
        if self.left:
            parts.append(self.left)
        return "\n".join(parts)

    def as_json(self) -> dict[str, object]:
        """The form that `--json` prints under the key `error`."""
        found: dict[str, object] = {"kind": type(self).__name__, "message": self.tried, "exit_code": self.exit_code}
        for name in ("came_back", "left", "hint"):
            value = getattr(self, name)
            if value:
                found[name] = value
        return found


class UsageError(LaunchError):
    """The command line does not make sense."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True)
class Problem:
    """One mistake in a configuration file. `line` counts from 1; None where the mistake is an absence."""

    file: str
    line: Optional[int]
    key: str
    message: str
    found: Optional[str] = None
    valid: Optional[str] = None
    nearest: Optional[str] = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        text = f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"
        if self.found is not None:
            text += f", found {self.found}"
        if self.valid:
            text += f"; valid: {self.valid}"
        if self.nearest:
            text += f"; did you mean {self.nearest}?"
        return text


class ConfigError(LaunchError):
    """All mistakes that were found, in the order of their lines."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: Sequence[Problem], *, hint: Optional[str] = None) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems), hint=hint)

    def as_json(self) -> dict[str, object]:
        return {**super().as_json(), "problems": [dict(p.__dict__) for p in self.problems]}


class DecisionNeeded(LaunchError):
    """Only a person can decide, and none answered; the hint names the flags."""

    exit_code = EXIT_DECISION


class Refused(LaunchError):
    """A check said no before anything was changed."""


class NotFound(LaunchError):
    """No job, phase or profile of that name."""

    exit_code = EXIT_NOT_FOUND


class BadRecord(LaunchError):
    """A stored record is not what its schema says."""


class StoreError(LaunchError):
    """Durable bytes could not be read or written."""


class SubmitError(LaunchError):
    """An executor did not take the job; `left` says what may have been created."""
