"""What a profile allows, against what the tasks of a job ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Optional

from launcher.config.nodes import Loc, locate
from launcher.config.phases import LoadedPhase
from launcher.config.problems import Problems
from launcher.config.profiles import LoadedProfile
from launcher.errors import Problem
from launcher.model.job import JobSpec
from launcher.model.names import show_indices
from launcher.model.phase import Resources
from launcher.model.units import show_size, show_time

ASKED: dict[str, tuple[Callable[[Resources], float], Callable[[float], str]]] = {
    "gpus": (lambda r: r.gpus * r.nodes, "{:.0f}".format),
    "cpus": (lambda r: r.cpus * r.nodes, "{:.0f}".format),
    "memory": (lambda r: (r.memory or 0) * r.nodes, show_size),
    "time": (lambda r: r.time or 0.0, show_time),
}
"""Of all nodes of a task together."""


def within_time(resources: Resources, profile: LoadedProfile) -> Resources:
    """A task that asks for no time gets what the profile allows, if it says so."""
    most = profile.profile.limits.time
    return replace(resources, time=most) if resources.time is None and most is not None else resources


def check_limits(spec: JobSpec, loaded: LoadedPhase, profile: LoadedProfile, problems: Problems) -> None:
    """Each group of tasks with equal resources against each limit."""
    limits = profile.profile.limits
    if limits.tasks is not None and len(spec.tasks) > limits.tasks:
        place = _place(profile, "tasks")
        message = (
            f"allows {limits.tasks} tasks to a job of profile {profile.name}, phase {spec.phase} has {len(spec.tasks)}"
        )
        problems.add(Problem(*place, message))
    for group, resources in enumerate(spec.resources):
        for key, (asked, show) in ASKED.items():
            most = getattr(limits, key)
            if most is None or asked(resources) <= most:
                continue
            indices = [task.index for task in spec.tasks if task.group == group]
            file, line, _ = _place(profile, key)
            where = file if line is None else f"{file}:{line}"
            message = f"tasks {show_indices(indices)} ask for {show(asked(resources))}, over the limit of {where}"
            problems.at(loaded.shape, _loc(loaded, indices[0], key), message, valid=f"at most {show(most)}")


def check_budget(
    loaded: LoadedPhase, profile: LoadedProfile, budget: Optional[float], problems: Problems
) -> Optional[float]:
    """Dollars for the job: what was asked, else the setting, else the profile's limit, which nothing may exceed."""
    setting, most = loaded.project.settings.get("budget"), profile.profile.limits.budget
    origin = "--budget"
    if budget is not None and profile.profile.price is None:
        message = f"needs a price, and the profile {profile.name} has none: nobody would know what the job has cost"
        problems.add(Problem(origin, None, "", message, f"{budget:g}", "a profile that says `price: DOLLARS/h`"))
    if budget is None and setting is not None:
        budget, origin = float(setting.value), setting.origin
    if budget is None:
        return most
    if most is not None and budget > most:
        file, line, _ = _place(profile, "budget")
        valid = f"at most {most:g} dollars ({file if line is None else f'{file}:{line}'})"
        problems.add(Problem(origin, None, "budget", "is over the limit of the profile", f"{budget:g}", valid))
    return budget


def _place(profile: LoadedProfile, key: str) -> tuple[str, Optional[int], str]:
    place = locate(profile.shape, ("limits", key))
    return place.file, place.line, place.key


def _loc(loaded: LoadedPhase, index: int, key: str) -> Loc:
    """Where a task's request is written: by `--set`, in its entry, in the phase."""
    entries = loaded.shape.items("array")
    entry = entries[index].child("resources") if index < len(entries) else None
    if f"resources.{key}" not in loaded.sets.keys and entry is not None and entry.child(key) is not None:
        return ("array", index, "resources", key)
    return ("resources", key)
