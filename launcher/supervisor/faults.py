"""Why an attempt cannot go on, as an outcome and a reason for people."""

from __future__ import annotations

from typing import Optional

from launcher.errors import LaunchError
from launcher.model.outcome import Outcome


class StartFailed(LaunchError):
    """The child was never started: code, inputs, environment or program are not what the phase says."""


class CommitFailed(LaunchError):
    """Outputs exist and were not committed; `left` says where they are."""

    def __init__(self, outcome: Outcome, tried: str, *, came_back: Optional[str], left: Optional[str]) -> None:
        super().__init__(tried, came_back=came_back, left=left)
        self.outcome = outcome


def in_one_line(error: LaunchError) -> str:
    """An error as the reason of an exit record: what was tried, what came back, what is left, what to do."""
    text = str(error).replace("\n", "; ")
    return f"{text}; hint: {error.hint}" if error.hint else text
