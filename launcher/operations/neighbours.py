"""The other phases of a project: what makes a path, and what comes next."""

from __future__ import annotations

from collections.abc import Collection

from launcher.checks.facts import clean
from launcher.config import phases
from launcher.config.phases import LoadedPhase
from launcher.config.project import Project
from launcher.errors import LaunchError
from launcher.operations import chain


def makers(project: Project) -> dict[str, str]:
    """Path of an output to its phase, for outputs whose path is the same for every task."""
    found = {}
    for phase in readable(project):
        for output in phase.phase.outputs.values():
            if "{" not in output.path:
                found[clean(output.path)] = phase.name
    return found


def following(project: Project, done: Collection[str]) -> tuple[str, ...]:
    """The phases that need one of `done`, without those."""
    return chain.following({phase.name: phase.phase.after for phase in readable(project)}, done)


def readable(project: Project) -> list[LoadedPhase]:
    """Every phase of the project that has no mistakes; the others are not this command's concern."""
    found = []
    for one in phases.available(project):
        try:
            found.append(phases.load(project, one.name))
        except LaunchError:
            continue
    return found
