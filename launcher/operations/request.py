"""What a submit was asked to do, before anything was looked up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from launcher.errors import UsageError


@dataclass(frozen=True)
class SubmitRequest:
    """One command line. `folder` is where it was typed; `profile` None: the project's own choice. `array` is an expression
    as in `0-5%2`, `sets` are KEY=VALUE, `budget` is in dollars for each job. `reuse` and `rerun` answer what would be
    asked about earlier results; `yes` answers everything else, and never that."""

    phases: tuple[str, ...]
    folder: Path
    profile: Optional[str] = None
    array: Optional[str] = None
    sets: tuple[str, ...] = ()
    pack: Optional[int] = None
    name: Optional[str] = None
    budget: Optional[float] = None
    smoke: bool = False
    yes: bool = False
    reuse: bool = False
    rerun: bool = False

    def __post_init__(self) -> None:
        if self.reuse and self.rerun:
            raise UsageError("--reuse and --rerun exclude each other", hint="--reuse keeps, --rerun makes again")
        if self.pack is not None and self.pack < 1:
            raise UsageError(f"--pack {self.pack}: at least one task goes into an allocation")
        if self.budget is not None and not self.budget > 0:
            raise UsageError(f"--budget {self.budget}: dollars, more than nothing, are expected")
        if self.name is not None and (not self.name.strip() or not self.name.isprintable() or len(self.name) > 200):
            raise UsageError("--name is a line of 1 to 200 printable characters")
