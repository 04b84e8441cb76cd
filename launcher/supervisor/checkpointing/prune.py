"""Deletes checkpoints beyond `keep_last`: only complete ones, never the newest, never the best, and sees that they are gone."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Optional

from launcher.model.phase import Checkpoints
from launcher.supervisor.checkpointing.checkpoints import PRUNING, Entry

LARGEST_STATE = 16 << 20


class Plan(NamedTuple):
    """What may go, oldest first, and what would go if it were known not to be the best."""

    delete: tuple[Entry, ...] = ()
    withheld: tuple[Entry, ...] = ()


def plan(entries: Sequence[Entry], rules: Checkpoints, *, protected: Collection[str] = ()) -> Plan:
    """Pure. Each series (`checkpoint-`, `epoch`) keeps its own last ones; what has no number is never deleted by us where
    others have one: `best` and `final` are names that people give for a reason.

    `protected` are names that the code itself declares as its best.
    """
    keep = max(1, rules.keep_last)
    numbered = any(entry.number is not None for entry in entries)
    series: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.number is not None or not numbered:
            series.setdefault(entry.stem if numbered else "", []).append(entry)
    best = best_of(entries, rules)
    latest = max(entries, key=lambda entry: entry.newest).path if entries else None
    delete, withheld = [], []
    for members in series.values():
        members.sort(key=lambda entry: (entry.number or 0, entry.newest, entry.path.name))
        done = [entry for entry in members if entry.complete]
        for entry in done[:-keep]:
            if entry is members[-1] or entry.path == latest or entry.path.name in protected:
                continue
            if rules.best is None or (best is not None and rules.best in entry.metrics and entry.path != best.path):
                delete.append(entry)
            elif best is None or entry.path != best.path:
                withheld.append(entry)
    order = {entry.path: position for position, entry in enumerate(entries)}
    return Plan(
        tuple(sorted(delete, key=lambda entry: order[entry.path])),
        tuple(sorted(withheld, key=lambda entry: order[entry.path])),
    )


def best_of(entries: Sequence[Entry], rules: Checkpoints) -> Optional[Entry]:
    """The complete entry with the best value of `rules.best`; of equals, the newest. None where no value is known."""
    if rules.best is None:
        return None
    sign = 1.0 if rules.best_is == "highest" else -1.0
    found: Optional[tuple[float, Entry]] = None
    for entry in entries:
        value = entry.metrics.get(rules.best)
        known = entry.complete and value is not None and value == value
        if known and value is not None and (found is None or sign * value >= found[0]):
            found = (sign * value, entry)
    return found[1] if found else None


def best_named_by_trainer(entries: Sequence[Entry]) -> frozenset[str]:
    """Names that transformers' own `trainer_state.json` gives as the best checkpoint. Unreadable ones are left out."""
    names = set()
    for entry in entries:
        state = entry.path / "trainer_state.json"
        try:
            if os.stat(state).st_size > LARGEST_STATE:
                continue
            found = json.loads(state.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        best = found.get("best_model_checkpoint") if isinstance(found, dict) else None
        if isinstance(best, str) and best:
            names.add(os.path.basename(best.rstrip("/")))
    return frozenset(names)


def named_by_links(folder: Path) -> frozenset[str]:
    """Names of entries to which a link in the same folder points: `best -> step-100` is the code's own word for what stays.
    Raises OSError."""
    with os.scandir(folder) as found:
        targets = [os.path.realpath(one.path) for one in found if one.is_symlink()]
    real = os.path.realpath(folder)
    return frozenset(os.path.basename(target) for target in targets if os.path.dirname(target) == real)


def with_metrics(entries: Sequence[Entry], told: Mapping[str, Mapping[str, float]]) -> list[Entry]:
    """Entries with the metrics that the child announced for them, by real path."""
    return [replace(entry, metrics=dict(told.get(os.path.realpath(entry.path), {}))) for entry in entries]


def delete(entry: Entry, rules: Checkpoints) -> dict[str, Any]:
    """Delete one checkpoint and its marker, and look whether it is gone. Returns the event; never raises.

    It is renamed first: whatever dies half way leaves nothing that looks like a checkpoint.
    """
    event: dict[str, Any] = {"kind": "pruned", "path": str(entry.path), "bytes": entry.size}
    doomed = entry.path.with_name(PRUNING + entry.path.name)
    try:
        os.rename(entry.path, doomed)
        remove_tree(doomed)
        if rules.marker is not None:
            _unlink(Path(f"{entry.path}{rules.marker}"))
    except OSError as error:
        event.update(kind="prune failed", why=error.strerror or str(error))
    if event["kind"] == "pruned" and (os.path.lexists(entry.path) or os.path.lexists(doomed)):
        event.update(kind="prune failed", why="it is still there")
    return event


def finish_earlier(folder: Path) -> None:
    """Delete what an earlier supervisor had begun to. Raises OSError."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if name.startswith(PRUNING):
            remove_tree(folder / name)


def remove_tree(path: Path) -> None:
    """Links are removed, never followed. Gone already is success. Raises OSError."""
    if os.path.islink(path) or not os.path.isdir(path):
        _unlink(path)
        return
    for _, folders, files, descriptor in os.fwalk(path, topdown=False, follow_symlinks=False):
        for name in files:
            os.unlink(name, dir_fd=descriptor)
        for name in folders:
            try:
                os.rmdir(name, dir_fd=descriptor)
            except NotADirectoryError:  # a link to a folder
                os.unlink(name, dir_fd=descriptor)
    os.rmdir(path)


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
