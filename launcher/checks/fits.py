"""Does every task fit the place? A task that asks for more than there is would wait for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Optional

from launcher.checks.facts import Facts, Objection
from launcher.executors.contract import Inventory
from launcher.model.job import JobSpec
from launcher.model.names import show_indices
from launcher.model.phase import Resources
from launcher.model.units import show_size

NAME = "fits"


class Lack(NamedTuple):
    """One thing of which there is too little. `what` as in `resources`; `have` None: nothing of the kind."""

    what: str
    need: int
    have: int

    def __str__(self) -> str:
        if self.what in ("memory", "gpu_memory"):
            kind = "memory" if self.what == "memory" else "memory per GPU"
            return f"needs {show_size(self.need)} of {kind}, there is {show_size(self.have)}"
        kind = {"gpus": "GPU", "cpus": "CPU", "nodes": "node"}[self.what]
        return f"needs {self.need} {kind}{'' if self.need == 1 else 's'}, there {'is' if self.have == 1 else 'are'} {self.have}"


def lacks(resources: Resources, inventory: Inventory) -> tuple[Lack, ...]:
    """What a node does not have. What is not known of the node refuses nothing."""
    asked: tuple[tuple[str, Optional[int], Optional[int]], ...] = (
        ("gpus", resources.gpus, inventory.gpus),
        ("gpu_memory", resources.gpu_memory if resources.gpus else None, inventory.gpu_memory),
        ("cpus", resources.cpus, inventory.cpus),
        ("memory", resources.memory, inventory.memory),
        ("nodes", resources.nodes, inventory.nodes),
    )
    found = [
        Lack(what, need, have) for what, need, have in asked if need is not None and have is not None and need > have
    ]
    if found and found[0].what == "gpus" and inventory.gpus == 0:
        found = [lack for lack in found if lack.what != "gpu_memory"]  # no GPU has no memory either
    return tuple(found)


def lacking(spec: JobSpec, inventory: Inventory) -> Mapping[int, tuple[Lack, ...]]:
    """Task index to what the place lacks for it; tasks that fit are not in it."""
    by_group = [lacks(resources, inventory) for resources in spec.resources]
    return {task.index: by_group[task.group] for task in spec.tasks if by_group[task.group]}


def without_gpus(spec: JobSpec, inventory: Inventory) -> tuple[int, ...]:
    """The tasks for which the place lacks GPUs: those that may become smoke tasks where their phase says so."""
    lacking_all = lacking(spec, inventory)
    return tuple(i for i, lack in lacking_all.items() if any(one.what in ("gpus", "gpu_memory") for one in lack))


def check(facts: Facts) -> list[Objection]:
    """One objection for each set of tasks that lack the same."""
    alike: dict[tuple[Lack, ...], list[int]] = {}
    for index, lack in lacking(facts.spec, facts.inventory).items():
        alike.setdefault(lack, []).append(index)
    found = []
    for lack, indices in alike.items():
        who = f"task {indices[0]}" if len(indices) == 1 else f"each of tasks {show_indices(indices)}"
        found.append(
            Objection(
                NAME,
                True,
                f"{who} {'; '.join(map(str, lack))} on {facts.spec.place.profile}",
                "choose other tasks with --array, another place with --profile, or small parameters with --smoke",
            )
        )
    return found
