"""Templates filled for the tasks of a job: no unknown field, no path that leaves the workspace, no path of two owners."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from launcher.config.nodes import Loc
from launcher.config.paths import mistake
from launcher.config.phases import LoadedPhase
from launcher.config.problems import Problems
from launcher.config.profiles import LoadedProfile
from launcher.model.job import JobSpec, TaskSpec
from launcher.model.phase import Scalar
from launcher.model.template import UnknownField, command_of, env_of, values_of

Owned = list[tuple[tuple[str, ...], int, str]]
"""Parts of a path, the task and the output that it belongs to."""


def check_filled(spec: JobSpec, loaded: LoadedPhase, profile: LoadedProfile, problems: Problems) -> None:
    """Commands and environments once for every set of parameter names, since only names can be unknown; paths for every
    task, since a value can lead a path anywhere."""
    kinds: set[frozenset[str]] = set()
    owned: Owned = []
    for task in spec.tasks:
        names = frozenset(task.params)
        if names not in kinds:
            kinds.add(names)
            if not _fills(spec, task, loaded, profile, problems):
                return
        owned += _paths(task, values_of(spec, task), loaded, problems)
    _clashes(spec, owned, loaded, problems)


def _fills(spec: JobSpec, task: TaskSpec, loaded: LoadedPhase, profile: LoadedProfile, problems: Problems) -> bool:
    steps: list[tuple[Any, Loc, Callable[[JobSpec, TaskSpec], object]]] = [
        (loaded.shape, ("outputs",), values_of),
        (loaded.shape, ("command",), command_of),
    ]
    own = set(loaded.phase.env)
    steps.append((profile.shape if set(spec.env) - own else loaded.shape, ("env",), env_of))
    for root, loc, fill in steps:
        try:
            fill(spec, task)
        except UnknownField as error:
            path = ("defaults", "env") if root is profile.shape else loc
            problems.at(root, path, f"task {task.index}: {error}", found=None)
            return False
    return True


def _paths(task: TaskSpec, values: dict[str, Scalar], loaded: LoadedPhase, problems: Problems) -> Owned:
    phase, found = loaded.phase, Owned()
    named: list[tuple[Loc, str, bool]] = [
        (("outputs", name, "path"), f"outputs.{name}", False) for name in phase.outputs
    ]
    named += [(("inputs", name, "path"), f"inputs.{name}", True) for name in phase.inputs]
    if phase.checkpoints is not None:
        named.append((("checkpoints", "path"), "checkpoints", False))
    mine: Owned = []
    for loc, field, is_input in named:
        path = str(values[field])
        bad = mistake(path, absolute=is_input) or _part_mistake(path)
        if bad is not None:
            problems.at(loaded.shape, loc, f"for task {task.index} is {path!r}: {bad}")
            continue
        parts = tuple(part for part in path.split("/") if part)
        if not is_input:
            mine.append((parts, task.index, field))
        if field != "checkpoints" and not is_input:
            found.append((parts, task.index, field))
    if len(mine) > len(found):
        _checkpoints_apart(mine, loaded, problems)
    return found


def _part_mistake(path: str) -> str | None:
    """A parameter that is empty, or holds a slash too many, makes another path than the one that was written."""
    if "//" in path or "/./" in f"/{path}/" or path.endswith("/"):
        return "a parameter leaves a part of the path empty"
    return None


def _checkpoints_apart(mine: Owned, loaded: LoadedPhase, problems: Problems) -> None:
    path, index, _ = mine[-1]
    for other, _, field in mine[:-1]:
        if path[: len(other)] == other or other[: len(path)] == path:
            problems.at(loaded.shape, ("checkpoints", "path"), f"for task {index} meets the path of {field}")


def _clashes(spec: JobSpec, owned: Owned, loaded: LoadedPhase, problems: Problems) -> None:
    """Sorted by parts, a path that holds others stands right before the first of them."""
    owned.sort(key=lambda each: each[0])
    for (path, task, field), (next_path, next_task, next_field) in itertools.pairwise(owned):
        if next_path[: len(path)] != path:
            continue
        shown = "/".join(next_path)
        if task == next_task:
            message = f"for task {task} meets the path of {field}: {shown}"
        elif path == next_path:
            message = (
                f"tasks {task} and {next_task} would commit one path, {shown}; give it {{task.index}} or a parameter"
            )
        else:
            message = f"of task {next_task} would lie inside what task {task} commits as {field}: {shown}"
        _, _, name = next_field.partition(".")
        problems.at(loaded.shape, ("outputs", name, "path"), message)
