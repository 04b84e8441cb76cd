"""Is there a program to run? Looked for only where the command runs on this machine and nothing is set up around it."""

from __future__ import annotations

import os
import shutil
from typing import Optional

from launcher.checks.facts import Facts, Objection
from launcher.model import template
from launcher.model.phase import Setup

NAME = "program"
_PYTHONS = ("python", "python3")
_SIGNS = {"&&", "||", "|", ">", ">>", "<", ";", "&", "2>&1", "&>", "2>"}


def check(facts: Facts) -> list[Objection]:
    """At most one objection for each different program or script."""
    if facts.spec.shell or not facts.tasks:
        return []
    found: dict[str, Objection] = {}
    fixed = not any("{" in part for part in facts.spec.command[:2])
    for paths in facts.tasks[:1] if fixed else facts.tasks:
        command = template.command_of(facts.spec, paths.task)
        for objection in (_program(facts, command), _script(facts, command), _shell_signs(command)):
            if objection is not None:
                found[objection.message] = objection
    return list(found.values())


def _program(facts: Facts, command: tuple[str, ...]) -> Optional[Objection]:
    name = command[0] if command else ""
    if not facts.here or not _plain(facts.spec.setup):
        return None
    if name in _PYTHONS:
        chosen = str(facts.spec.place.options.get("python") or "")
        if not chosen or shutil.which(chosen, path=_search(facts)):
            return None
        return Objection(NAME, True, f"the profile's Python does not exist or may not be run: {chosen}")
    if "/" in name:
        return _file(facts, name)
    if shutil.which(name, path=_search(facts)):
        return None
    return Objection(
        NAME, True, f"no program {name!r} on the PATH", "install it, or name the environment that has it under `setup`"
    )


def _file(facts: Facts, name: str) -> Optional[Objection]:
    if os.path.isabs(name):
        if os.access(name, os.X_OK) and not os.path.isdir(name):
            return None
        return Objection(NAME, True, f"{name} does not exist or may not be run")
    mode = _mode(facts, name)
    if mode is None:
        return _not_in_code(name)
    if mode == "644":
        return Objection(NAME, True, f"{name} is not executable", f"chmod +x {name}, or name its interpreter first")
    return None


def _script(facts: Facts, command: tuple[str, ...]) -> Optional[Objection]:
    """`python train.py`: the script that Python is to read."""
    if len(command) < 2 or os.path.basename(command[0]) not in _PYTHONS or not command[1].endswith(".py"):
        return None
    script = command[1]
    if script.startswith("-"):
        return None
    if os.path.isabs(script):
        missing = facts.here and not os.path.exists(script)
        return Objection(NAME, True, f"{script} does not exist") if missing else None
    return _not_in_code(script) if _mode(facts, script) is None else None


def _shell_signs(command: tuple[str, ...]) -> Optional[Objection]:
    """What a shell would act upon, as a word of its own: without one the program reads it as an argument."""
    found = next((word for word in command[1:] if word in _SIGNS), None)
    if found is None:
        return None
    message = f"{found} in the command is given to {command[0]} as an argument: no shell reads it without `shell: true`"
    return Objection(NAME, False, message)


def _mode(facts: Facts, name: str) -> Optional[str]:
    path = os.path.normpath(name)
    if path in facts.files:
        return facts.files[path]
    # A folder that is linked may hold it; what a link leads to is not looked into.
    parts = path.split("/")
    linked = any(facts.files.get("/".join(parts[:n])) == "link" for n in range(1, len(parts)))
    given = any(path == p or path.startswith(f"{p}/") for paths in facts.tasks for p in paths.inputs.values())
    return "link" if linked or given else None


def _not_in_code(name: str) -> Objection:
    return Objection(
        NAME,
        True,
        f"{name} is not among the code that the job would take along",
        "paths are relative to the project's folder; a file that .gitignore or .launchignore names is left behind",
    )


def _plain(setup: Setup) -> bool:
    return not (setup.modules or setup.conda or setup.venv or setup.container or setup.python or setup.requirements)


def _search(facts: Facts) -> Optional[str]:
    return facts.spec.env.get("PATH") or facts.environ.get("PATH")
