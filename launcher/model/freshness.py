"""How old news is, by the reader's own clock: a sequence number that moves is fresh, whatever the node's clock says.

The node's clock is asked once only, where a reader sees a record for the first time and has nothing else to go by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

TOLERANCE = 120.0  # seconds by which the clocks of two hosts may differ without anybody being called silent


@dataclass(frozen=True)
class Sighting:
    """A sequence number, when the reader first saw it (monotonic seconds), and how old it was then by the node's clock
    (0 where that is not to be asked). `moved`: the reader has seen another number before."""

    seq: int
    seen_at: float
    before: float = 0.0
    moved: bool = False


@dataclass(frozen=True)
class Clock:
    """The reader's time: `mono` since its host booted, `wall` since 1970, and the name of that host."""

    mono: float
    wall: float
    host: str = ""


def sight(previous: Optional[Sighting], seq: int, at: float, beat: float, host: Optional[str], now: Clock) -> Sighting:
    """What is known of a record's age after one more look; `at`, `beat` and `host` are the writer's.

    A reader that comes back after a long time sees a number that has moved since, and not when it moved last. It may
    have stopped: where fewer beats than fit into that time were counted *and* the node's clock says so too, it has.
    """
    if previous is None or previous.seen_at > now.mono:
        old = now.wall - at
        return Sighting(seq, now.mono, old if old > _tolerance(host, now) else 0.0)
    if previous.seq == seq:
        return previous
    away = now.mono - previous.seen_at
    uncounted = away - max(0, seq - previous.seq) * beat
    before = min(away, uncounted, now.wall - at)
    return Sighting(seq, now.mono, before if before >= silent_after(beat) else 0.0, True)


def _tolerance(host: Optional[str], now: Clock) -> float:
    return 0.0 if host == now.host else TOLERANCE


def age(sighting: Sighting, now: Clock) -> float:
    """Seconds, never negative."""
    return max(0.0, now.mono - sighting.seen_at) + max(0.0, sighting.before)


def silent_after(beat: float) -> float:
    """How many seconds without news are still ordinary: two missed beats, and time for a slow disk."""
    return max(3 * beat, beat + 5.0)
