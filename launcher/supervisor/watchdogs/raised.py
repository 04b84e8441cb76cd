"""What a judge says of one sample, before the board gives it its time and its consequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Protocol

from launcher.model.outcome import Outcome
from launcher.supervisor.readings.sample import Sample

NOTICE, WARNING, ACT = "notice", "warning", "act"
LEVELS = (NOTICE, WARNING, ACT)


@dataclass(frozen=True)
class Raised:
    """One thing that a judge sees. `key` tells apart several of one code (two disks). `stop` is how the attempt would end
    if this watchdog may stop it; None: nothing to stop for. `evidence`: worth capturing."""

    code: str
    level: str
    message: str
    hint: Optional[str] = None
    key: str = ""
    stop: Optional[Outcome] = None
    evidence: bool = False


class Watchdog(Protocol):
    """Looks at one sample after the other, in the order of their time. Remembers what it needs; never raises."""

    def look(self, sample: Sample) -> list[Raised]:
        """What is to be said of this sample."""
