"""A phase from its file: found by name, read, checked as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from launcher.config import project as projects
from launcher.config.checked import validated
from launcher.config.meaning import check_meaning
from launcher.config.nodes import Node
from launcher.config.problems import Problems
from launcher.config.project import JOBS, Named, Project
from launcher.config.source import read_file
from launcher.config.written import phase_shape
from launcher.errors import NotFound, Problem
from launcher.model.names import NAME
from launcher.model.phase import Phase, Scalar


@dataclass(frozen=True)
class Sets:
    """What `--set` has said: it wins over the file, the array, smoke parameters and the profile's defaults.

    `params` by name; `keys` are dotted keys of the phase, `resources.time`.
    """

    params: dict[str, Scalar] = field(default_factory=dict)
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadedPhase:
    """A phase that holds no mistake of its own. `file` is absolute, `shown` its name in messages; `written` is the tree as
    it was written, `shape` the same in the shape of the model, both with positions."""

    phase: Phase
    name: str
    file: Path
    shipped: bool
    project: Project
    shown: str
    written: Node
    shape: Node
    sets: Sets = field(default_factory=Sets)


def available(project: Project) -> list[Named]:
    """The phases of a project, and the shipped ones that it does not replace."""
    return projects.available(project, JOBS)


def load(project: Project, name: str) -> LoadedPhase:
    """A phase by its name, or by the path of its file.

    Raises NotFound where there is none, and ConfigError with all mistakes of the file.
    """
    named = projects.look_up(project, JOBS, name, "phase")
    shown = project.shown(named.file)
    problems = Problems()
    if NAME.fullmatch(named.name) is None:
        message = "a phase's file is named with letters, digits, _ . - and first a letter: jobs are named after it"
        problems.add(Problem(shown, None, "", message, repr(named.name)))
    try:
        written = read_file(named.file, shown, problems)
    except FileNotFoundError:
        raise NotFound(f"reading {shown}", came_back="it has just been removed") from None
    if written is None:
        problems.stop()
    shape, phase = shaped(written, named.name, problems)
    return LoadedPhase(phase, named.name, named.file, named.where == "shipped", project, shown, written, shape)


def shaped(written: Node, name: str, problems: Problems) -> tuple[Node, Phase]:
    """The shape and the phase that a tree stands for. Raises ConfigError with all mistakes."""
    shape = phase_shape(written, problems)
    phase = validated(Phase, shape, problems)
    check_meaning(shape, problems)
    for index, upstream in enumerate(shape.items("after")):
        if upstream.value == name:
            problems.at(shape, ("after", index), "a phase cannot come after itself")
    if phase is None or problems:
        problems.stop()
    return shape, phase
