"""Earlier results, and what would become of them, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.model.names import show_tasks
from launcher.model.units import show_size, show_time
from launcher.operations.protect import Decision
from launcher.operations.results import Existing

_SHOWN = 6


def decisions(phase: str, found: Sequence[Decision], now: float) -> list[str]:
    """One block for each set of tasks with the same reason: what exists, what changed, what redoing it means."""
    alike: dict[tuple[str, tuple[str, ...]], list[Decision]] = {}
    for one in found:
        alike.setdefault((one.reason, one.invalidates), []).append(one)
    lines: list[str] = []
    for (reason, invalidates), same in alike.items():
        lines.append(f"{phase}, {show_tasks([one.task for one in same])}: {reason}")
        shown = [existing for one in same for existing in one.existing]
        lines.extend(f"  {_existing(existing, now)}" for existing in shown[:_SHOWN])
        if len(shown) > _SHOWN:
            lines.append(f"  and {len(shown) - _SHOWN} more")
        if invalidates:
            lines.append(f"  made from these, and no longer up to date after a re-run: {_some(invalidates)}")
        lines.extend(f"  {line}" for line in (_redo(same),) if line)
    return lines


def _existing(existing: Existing, now: float) -> str:
    if existing.manifest is None:
        return f"{existing.path}: no manifest"
    made = existing.manifest
    facts = [show_size(existing.size), f"{show_time(now - made.at)} old", f"by {made.job}"]
    facts.extend(f"{name} {value:.6g}" for name, value in sorted(made.metrics.items())[:_SHOWN])
    if existing.quality is not None:
        facts.append(f"quality {existing.quality}")
    return f"{existing.path}: {', '.join(facts)}"


def _redo(same: Sequence[Decision]) -> str:
    """Empty where no manifest says what it took."""
    seconds = [one.seconds for one in same if one.seconds is not None]
    costs = [one.cost for one in same if one.cost is not None]
    if not seconds and not costs:
        return ""
    price = f", ${sum(costs):.2f}" if costs else ""
    return f"took {show_time(sum(seconds)) if seconds else '?'}{price} to make"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
