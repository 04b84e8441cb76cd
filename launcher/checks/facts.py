"""What a check may look at, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from launcher.executors.contract import Inventory
from launcher.model import template
from launcher.model.job import JobSpec, TaskSpec


@dataclass(frozen=True)
class Objection:
    """What a check found. `fatal`: the job would fail or do harm, so it is not submitted."""

    check: str
    fatal: bool
    message: str
    hint: Optional[str] = None


@dataclass(frozen=True)
class TaskPaths:
    """One task with its templates filled; paths are relative to the workspace."""

    task: TaskSpec
    outputs: dict[str, str]
    inputs: dict[str, str]


@dataclass(frozen=True)
class Facts:
    """A job before it is submitted, and the world around it.

    `files`: the code's paths with their modes (`644`, `755`, `link`). `busy`: a path that a task of a living job is going
    to commit, and that task. `coming`: paths that are made before this job starts. `makers`: a path and the phase whose
    output it is. `here`: the command runs on this machine, so its programs can be looked for.
    """

    spec: JobSpec
    tasks: tuple[TaskPaths, ...]
    inventory: Inventory = field(default_factory=Inventory)
    files: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    busy: Mapping[str, str] = field(default_factory=dict)
    coming: frozenset[str] = frozenset()
    makers: Mapping[str, str] = field(default_factory=dict)
    here: bool = True

    @property
    def workspace(self) -> Path:
        return Path(self.spec.place.workspace)


def fill(spec: JobSpec) -> tuple[TaskPaths, ...]:
    """Every task's paths, each template filled once. Raises template.UnknownField."""
    found = []
    for task in spec.tasks:
        values = template.values_of(spec, task)
        outputs = {name: clean(str(values[f"outputs.{name}"])) for name in spec.outputs}
        inputs = {name: clean(str(values[f"inputs.{name}"])) for name in spec.inputs}
        found.append(TaskPaths(task, outputs, inputs))
    return tuple(found)


def clean(path: str) -> str:
    """A relative path without `.`, doubled or closing slashes, so that one place has one name. `..` is config's to refuse."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def enclosing(path: str) -> list[str]:
    """The path and every folder above it, nearest first."""
    found = []
    while path and path != "/":
        found.append(path)
        path = path.rpartition("/")[0]
    return found
