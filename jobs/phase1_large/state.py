"""Where a run stands, saved after each step and loaded again: folders `step-0003`, complete or not there at all.

A checkpoint holds the state, a copy of the answers so far, and `complete` with the checksums of both. It is made under
another name, written through to the disk and renamed: a process that dies half-way leaves nothing that looks like one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from store_world import World

SCHEMA = 1
MARKER = "complete"
STATE = "state.json"
ANSWERS = "answers.jsonl"
_PARTIAL = ".partial-"


class BadCheckpoint(ValueError):
    """A checkpoint that is incomplete, damaged, or of another experiment."""


@dataclass(frozen=True)
class Tally:
    """How the decisions came about. `problems` counts why answers were no tool call."""

    decisions: int = 0
    parsed: int = 0
    problems: Mapping[str, int] = field(default_factory=dict)
    new_tokens: int = 0
    prompts_shortened: int = 0

    @property
    def parse_rate(self) -> float:
        return self.parsed / self.decisions if self.decisions else 0.0


@dataclass(frozen=True)
class RunState:
    """Everything that the next step depends on. `setting` is what makes two runs comparable: model, weights, seed, …"""

    setting: Mapping[str, Any]
    world: World
    done: int = 0
    history: tuple[str, ...] = ()
    tally: Tally = field(default_factory=Tally)

    def to_json(self) -> dict[str, Any]:
        plain = {"done": self.done, "history": list(self.history), "tally": asdict(self.tally)}
        return {"schema": SCHEMA, "setting": dict(self.setting), "world": self.world.to_json(), **plain}


def save(folder: Path, state: RunState, answers: Path) -> Path:
    """Save the checkpoint of `state.done` steps in `folder`. Raises OSError; nothing half-made stays then."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{state.done:04d}"
    partial = folder / f"{_PARTIAL}{target.name}-{os.getpid()}"
    old = folder / f"{_PARTIAL}{target.name}-{os.getpid()}-old"
    try:
        partial.mkdir()
        contents = {STATE: json.dumps(state.to_json(), indent=1).encode(), ANSWERS: answers.read_bytes()}
        for name, content in contents.items():
            write_through(partial / name, content)
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        write_through(partial / MARKER, json.dumps({"schema": SCHEMA, "sha256": sums}).encode())
        sync_folder(partial)
        if target.exists():
            target.rename(old)
        partial.rename(target)
        sync_folder(folder)
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
    return target


def load(folder: Path) -> tuple[RunState, bytes]:
    """The state in a checkpoint and the answers up to it. Raises BadCheckpoint; the message is for people."""
    try:
        sums = json.loads((folder / MARKER).read_bytes())["sha256"]
        contents = {name: (folder / name).read_bytes() for name in (STATE, ANSWERS)}
        for name, content in contents.items():
            if hashlib.sha256(content).hexdigest() != sums[name]:
                raise BadCheckpoint(f"{folder}: {name} is damaged, its checksum is not the one in {MARKER}")
        state = _state_from(json.loads(contents[STATE]))
    except FileNotFoundError as error:
        raise BadCheckpoint(f"{folder} is not complete: {Path(error.filename).name} is missing") from None
    except BadCheckpoint:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(f"{folder} cannot be read: {type(error).__name__}: {error}") from None
    if contents[ANSWERS].count(b"\n") != state.done:
        raise BadCheckpoint(f"{folder} holds {state.done} steps and another number of answers")
    return state, contents[ANSWERS]


def check_setting(state: RunState, setting: Mapping[str, Any]) -> None:
    """Raises BadCheckpoint where a run of `setting` cannot go on from `state`."""
    differences = [
        f"{key} was {state.setting.get(key)!r} and is now {setting.get(key)!r}"
        for key in sorted({*state.setting, *setting})
        if state.setting.get(key) != setting.get(key)
    ]
    if differences:
        raise BadCheckpoint(f"it is of another experiment: {'; '.join(differences)}")


def _state_from(data: Any) -> RunState:
    if data["schema"] != SCHEMA:
        raise ValueError(f"schema {data['schema']!r}, this code reads {SCHEMA}")
    return RunState(
        setting=data["setting"],
        world=World.from_json(data["world"]),
        done=data["done"],
        history=tuple(data["history"]),
        tally=Tally(**data["tally"]),
    )


def sweep(folder: Path) -> None:
    """Remove what a run that died here left half-made."""
    for leftover in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def place(path: Path, content: bytes) -> None:
    """Make `path` hold exactly `content`, at once or not at all. A link is kept: what it points to is replaced."""
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        write_through(temporary, content)
        os.replace(temporary, target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON line; it is on the disk when this returns. Raises OSError."""
    line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    with open(path, "ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def write_through(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
