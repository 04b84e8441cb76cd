"""Does what the tasks read exist, or is it made before they start?"""

from __future__ import annotations

import os

from launcher.checks.facts import Facts, Objection, enclosing
from launcher.model.names import show_indices

NAME = "inputs"


def check(facts: Facts) -> list[Objection]:
    """One objection for each input that is missing, with the tasks that read it."""
    readers: dict[tuple[str, str], list[int]] = {}
    for paths in facts.tasks:
        for name, path in paths.inputs.items():
            if not facts.spec.inputs[name].optional:
                readers.setdefault((name, path), []).append(paths.task.index)
    found = []
    for (name, path), tasks in readers.items():
        if os.path.lexists(facts.workspace / path) or any(above in facts.coming for above in enclosing(path)):
            continue
        maker = next((facts.makers[above] for above in enclosing(path) if above in facts.makers), None)
        if maker is not None and maker != facts.spec.phase:
            hint = f"phase {maker} makes it: launch submit {maker} {facts.spec.phase}"
        else:
            hint = f"put it there, or correct `inputs: {name}` of phase {facts.spec.phase}"
        who = "" if len(tasks) == len(facts.tasks) else f", which task {show_indices(tasks)} reads"
        message = f"input {name}{who} does not exist: {facts.workspace / path}"
        found.append(Objection(NAME, True, message, hint))
    return found
