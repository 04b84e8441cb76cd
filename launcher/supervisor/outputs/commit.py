"""Committing outputs: hashed, moved into the workspace file by file, the manifest last, earlier artifacts set aside.

The intent is written first and says everything that later steps need, so that any step may be the last one of a process
and the next process does the rest. On a full disk the steps are taken back.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from launcher.errors import BadRecord, LaunchError, StoreError
from launcher.model import codec
from launcher.model.outcome import Outcome
from launcher.model.records import SCHEMA, Fingerprint, Manifest, ManifestFile, ManifestList
from launcher.store import fingerprints, keys, records
from launcher.supervisor.faults import CommitFailed
from launcher.supervisor.outputs import moving
from launcher.supervisor.outputs.exclusive import alone
from launcher.supervisor.places import Places

INTENT = "commit.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Facts:
    """What manifests say of the attempt beside its files."""

    command: tuple[str, ...]
    inputs: tuple[Fingerprint, ...]
    metrics: dict[str, float]
    hardware: dict[str, Any]
    seconds: Optional[float]
    cost: Optional[float]


@dataclass(frozen=True)
class Part:
    """One artifact of an intent. `replaces`: something lies at its place, and is to be set aside first."""

    manifest: Manifest
    replaces: bool


@dataclass(frozen=True)
class Intent:
    """Everything that is to be committed; `stamp` names the folder of what is set aside for it."""

    schema: int
    stamp: str
    parts: tuple[Part, ...]


def missing(places: Places) -> tuple[str, ...]:
    """The outputs that a success needs and that are not there, as `name (path)`."""
    if _read_intent(places) is not None:
        return ()  # they were all there, and some have been moved since
    return tuple(
        f"{name} ({path})"
        for name, path in places.outputs.items()
        if not places.spec.outputs[name].optional and not is_there(places.collected(path))
    )


def is_there(path: Path) -> bool:
    """Whether something lies at a path; a link that leads nowhere does not. Raises OSError where that cannot be seen (a lost
    mount, a folder that was closed): `os.path.exists` would say no."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def begun(places: Places) -> bool:
    """Whether an earlier supervisor of this attempt began to commit: its child had succeeded then. Raises StoreError."""
    try:
        return _read_intent(places) is not None or places.store.exists(places.key(keys.MANIFEST))
    except BadRecord:
        return True  # an intent that makes no sense is one all the same


def commit(places: Places, facts: Facts, wall: float) -> tuple[Manifest, ...]:
    """Commit all outputs that exist; may be repeated after a death at any moment. Raises CommitFailed.

    Only the newest attempt of a task may commit.
    """
    try:
        done = records.read_manifests(places.store, places.spec.job, places.task.index, places.attempt)
        if done is not None:
            return done.artifacts
        # Hashed before anybody is kept waiting; what lies at the outputs' places is looked at when nobody else can change it.
        made = _describe(places) if _read_intent(places) is None else {}
        with alone(places.workspace.root / keys.WORKSPACE):
            newer = superseded(places)
            if newer is not None:
                tried = f"attempt {newer} has taken its place"
                raise CommitFailed(Outcome.CANCELLED, tried, came_back=None, left=_where(places))
            intent = _read_intent(places)
            return _carry_out(places, intent if intent is not None else _intend(places, made, facts, wall))
    except (OSError, StoreError) as error:
        raise _failed(places, error) from error
    except BadRecord as error:
        raise CommitFailed(Outcome.FAILED, error.tried, came_back=error.came_back, left=_where(places)) from error


def forget(places: Places) -> None:
    """Remove the intent, once the exit record says how the attempt ended."""
    places.workspace.remove(f"{places.data_key}/{INTENT}")


def superseded(places: Places) -> Optional[int]:
    """The number of a newer attempt of the task. Raises StoreError."""
    newest = max(records.attempts(places.store, places.spec.job, places.task.index), default=places.attempt)
    return newest if newest > places.attempt else None


def _read_intent(places: Places) -> Optional[Intent]:
    return records.read(places.workspace, Intent, f"{places.data_key}/{INTENT}")


def _describe(places: Places) -> dict[str, tuple[ManifestFile, ...]]:
    """The files of each output that exists, by the output's name. Raises OSError where that cannot be seen."""
    found = {}
    for name, path in places.outputs.items():
        source = places.collected(path)
        if is_there(source) or not places.spec.outputs[name].optional:
            found[name] = fingerprints.describe(source, moving.durable_sha256)
    return found


def _intend(places: Places, made: dict[str, tuple[ManifestFile, ...]], facts: Facts, wall: float) -> Intent:
    when = time.strftime("%Y%m%dT%H%M%S", time.gmtime(wall))
    stamp = f"{when}Z-{places.spec.job}-{places.task.index}-{places.attempt}"
    parts = []
    for name, path in places.outputs.items():
        if name not in made:
            continue  # optional
        files = made[name]
        target = places.workspace.root / path
        replaces = os.path.lexists(target) and not moving.same(places.collected(path), target)
        manifest = Manifest(
            schema=SCHEMA,
            name=name,
            path=path,
            job=places.spec.job,
            phase=places.spec.phase,
            task=places.task.index,
            attempt=places.attempt,
            at=wall,
            files=files,
            hash=fingerprints.combine(files),
            code=places.spec.code.hash,
            command=facts.command,
            params=dict(places.spec.params_of(places.task)),
            inputs=facts.inputs,
            metrics=facts.metrics,
            hardware=facts.hardware,
            seconds=facts.seconds,
            cost=facts.cost,
            set_aside=keys.set_aside(path, stamp) if replaces else None,
        )
        parts.append(Part(manifest, replaces))
    intent = Intent(SCHEMA, stamp, tuple(parts))
    places.workspace.replace(f"{places.data_key}/{INTENT}", codec.dump(intent))
    return intent


def _carry_out(places: Places, intent: Intent) -> tuple[Manifest, ...]:
    """For who is alone at it."""
    try:
        for part in intent.parts:
            _artifact(places, intent, part)
    except (OSError, StoreError) as error:
        if _number(error) in _FULL:
            _take_back(places, intent)
        raise
    manifests = tuple(part.manifest for part in intent.parts)
    _log(places, manifests)
    content = codec.dump(ManifestList(SCHEMA, manifests))
    places.store.create(places.key(keys.MANIFEST), content)
    return manifests


def _artifact(places: Places, intent: Intent, part: Part) -> None:
    """Set aside, move, and say so last."""
    path = part.manifest.path
    key = keys.workspace_manifest(path)
    current = _current(places, key)
    if current is not None and _ours(places, current):
        return
    root = places.workspace.root
    source, target = places.collected(path), root / path
    aside, old = root / keys.set_aside(path, intent.stamp), root / keys.set_aside(key, intent.stamp)
    if os.path.lexists(root / key):  # first: without its manifest an artifact is incomplete, whatever happens next
        moving.rename(root / key, old)
    if not moving.same(source, target):
        # Not only what lay there when the intent was written: between a death and its repair another may have committed.
        anothers = part.replaces or os.path.lexists(old)
        if anothers and not os.path.lexists(aside) and os.path.lexists(target):
            moving.rename(target, aside)
        moving.move_files(source, target, part.manifest.files)
    places.workspace.replace(key, codec.dump(part.manifest))


def _take_back(places: Places, intent: Intent) -> None:
    """Undo what can be undone without space: renames. What fails here stays where the reason of the failure says."""
    root = places.workspace.root
    for part in reversed(intent.parts):
        path = part.manifest.path
        key = keys.workspace_manifest(path)
        current = _current(places, key)
        if moving.same(places.collected(path), root / path) or (current is not None and _ours(places, current)):
            continue  # complete, or never moved
        aside, old = root / keys.set_aside(path, intent.stamp), root / keys.set_aside(key, intent.stamp)
        try:
            if not part.replaces or os.path.lexists(
                aside
            ):  # else nothing was moved, and what lies there is the earlier one
                moving.move_back(places.collected(path), root / path, part.manifest.files)
            for kept, place in ((aside, root / path), (old, root / key)):
                if os.path.lexists(kept) and not os.path.lexists(place):
                    moving.rename(kept, place)
        except OSError:
            continue


def _current(places: Places, key: str) -> Optional[Manifest]:
    try:
        return records.read(places.workspace, Manifest, key)
    except BadRecord:
        return None  # garbage says nothing; it is set aside like any other


def _ours(places: Places, manifest: Manifest) -> bool:
    return (manifest.job, manifest.task, manifest.attempt) == (places.spec.job, places.task.index, places.attempt)


def _log(places: Places, manifests: tuple[Manifest, ...]) -> None:
    """One line per artifact in the project's experiment log, once also after a repetition."""
    written = places.workspace.read(keys.EXPERIMENT_LOG) or b""
    for manifest in manifests:
        line = codec.dump(replace(manifest, files=(), hardware={}))
        if line not in written:
            torn = b"\n" if written and not written.endswith(b"\n") else b""
            places.workspace.append(keys.EXPERIMENT_LOG, torn + line, sync=True)
            written += torn + line


def _failed(places: Places, error: LaunchError | OSError) -> CommitFailed:
    full = _number(error) in _FULL
    outcome = Outcome.OUT_OF_DISK if full else Outcome.FAILED
    came_back = str(error).replace("\n", "; ")
    return CommitFailed(outcome, "committing the outputs", came_back=came_back, left=_where(places))


def _number(error: BaseException) -> Optional[int]:
    cause = error if isinstance(error, OSError) else error.__cause__
    return cause.errno if isinstance(cause, OSError) else None


def _where(places: Places) -> str:
    folders = [places.tree if places.here else places.data / "outputs"]
    partly = [str(places.workspace.root / path) for path in places.outputs.values() if not places.here]
    moved = [path for path in partly if os.path.lexists(path)]
    text = f"the outputs are in {folders[0]}"
    return f"{text}; in the workspace there is: {', '.join(moved)}" if moved else text
