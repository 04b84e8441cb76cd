"""What a phase means beyond its types. Each check reads the tree and passes over what is of the wrong kind, so that all
mistakes of a file are found at once, whichever others it has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Optional

from launcher.config.artifacts import check_artifacts, check_path
from launcher.config.fields import check_fields
from launcher.config.nodes import Loc, Node, plain
from launcher.config.numbers import check_phase_numbers
from launcher.config.problems import Problems, listed, nearest
from launcher.model.names import MAX_TASKS, NAME
from launcher.model.redaction import redact
from launcher.model.rules import parse_rule

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PARAM = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
RESERVED = {"resources", "exclude", "job", "phase", "checkpoints"}
LAUNCHERS = {"torchrun", "accelerate", "deepspeed", "srun", "mpirun"}
ENVIRONMENTS = ("requirements", "conda", "venv", "container")


def check_meaning(root: Node, problems: Problems) -> None:
    """Everything that holds of a phase alone; what depends on the profile and the choice of tasks is in `resolve`."""
    for check in (
        _names,
        _variables,
        _params,
        _array_or_matrix,
        _matrix,
        _command,
        _distributed,
        _setup,
        check_artifacts,
        _rules,
        _smoke,
        check_fields,
        check_phase_numbers,
    ):
        check(root, problems)


def _names(root: Node, problems: Problems) -> None:
    for kind in ("inputs", "outputs"):
        for name in root.entries(kind):
            if NAME.fullmatch(name) is None:
                problems.at(root, (kind, name), "is no name: letters, digits, _ . - and first a letter", found=None)
    seen: set[str] = set()
    for index, node in enumerate(root.items("after")):
        if not isinstance(node.value, str):
            continue
        if NAME.fullmatch(node.value) is None:
            problems.at(root, ("after", index), "a phase's name is expected")
        elif node.value in seen:
            problems.at(root, ("after", index), "is named twice")
        seen.add(node.value)


def _variables(root: Node, problems: Problems) -> None:
    env = root.entries("env")
    listing = [(("secrets", i), n.value) for i, n in enumerate(root.items("secrets")) if isinstance(n.value, str)]
    check_variables(root, ("env",), env, problems)
    for name, node in env.items():
        if isinstance(node.value, str) and redact(node.value) != node.value:
            message = (
                "looks like a credential, which the records would hold: set it in the shell and name it in secrets"
            )
            problems.at(root, ("env", name), message, found=None)
    seen: set[str] = set()
    for loc, name in listing:
        bad = _variable_mistake(name)
        if bad is not None:
            problems.at(root, loc, bad)
        elif name in env:
            problems.at(root, loc, "is a secret and stands in env too, where anybody can read it")
        elif name in seen:
            problems.at(root, loc, "is named twice")
        seen.add(name)


def check_variables(root: Node, loc: Loc, names: Iterable[str], problems: Problems) -> None:
    """Names of environment variables at `loc`."""
    for name in names:
        bad = _variable_mistake(name)
        if bad is not None:
            problems.at(root, (*loc, name), bad, found=None)


def _variable_mistake(name: str) -> Optional[str]:
    if VARIABLE.fullmatch(name) is None:
        return "is no environment variable's name: letters, digits and _"
    return "begins with LAUNCH_, which is launch's own" if name.startswith("LAUNCH_") else None


def _params(root: Node, problems: Problems) -> None:
    places: list[tuple[Loc, dict[str, Node]]] = [(("params",), root.entries("params"))]
    places += [(("array", i, "params"), e.entries("params")) for i, e in enumerate(root.items("array"))]
    matrix = root.child("matrix")
    if matrix is not None:
        places.append((("matrix", "params"), matrix.entries("params")))
    good: set[str] = set()
    for loc, params in places:
        for name, node in params.items():
            if name not in good:
                if PARAM.fullmatch(name) is None:
                    problems.at(root, (*loc, name), "is no parameter's name: letters, digits, _ and -", found=None)
                elif name in RESERVED:
                    problems.at(root, (*loc, name), "is a name that launch gives a meaning of its own", found=None)
                else:
                    good.add(name)
            values = node.value if isinstance(node.value, list) else [node]
            for value in values:
                if isinstance(value.value, float) and not math.isfinite(value.value):
                    problems.at(root, (*loc, name), "is no finite number; put it in quotes if it is text")


def _array_or_matrix(root: Node, problems: Problems) -> None:
    array, matrix = root.child("array"), root.child("matrix")
    if array is not None and matrix is not None:
        problems.at(root, ("matrix",), "a phase has an array or a matrix, not both", found=None)
    if array is None or not isinstance(array.value, list):
        return
    if not array.value:
        problems.at(root, ("array",), "has no entries; without the key a phase is one task", found=None)
    entries = [entry.entries("params") for entry in array.value]
    counts: dict[str, int] = {}
    for entry in entries:
        for name in entry:
            counts[name] = counts.get(name, 0) + 1
    params = set(root.entries("params"))
    usual = params | {name for name, count in counts.items() if count == len(entries)}
    rare = {name for name, count in counts.items() if count < len(entries)} - params
    for index, entry in enumerate(entries if rare else []):
        for name in rare.intersection(entry):
            near = nearest(name, usual)
            message = "is given by some entries only, and has no default in params"
            problems.at(root, ("array", index, "params", name), message, found=None, near=near)


def _matrix(root: Node, problems: Problems) -> None:
    matrix = root.child("matrix")
    if matrix is None or not isinstance(matrix.value, dict):
        return
    lists = {name: node.value for name, node in matrix.entries("params").items() if isinstance(node.value, list)}
    if not matrix.entries("params"):
        problems.at(root, ("matrix",), "has no parameters", found=None)
    for name, values in lists.items():
        if not values:
            problems.at(root, ("matrix", "params", name), "has no values, so there is no task", found=None)
    total = math.prod(len(values) for values in lists.values())
    if total > MAX_TASKS:
        problems.at(root, ("matrix",), f"makes {total} tasks, more than {MAX_TASKS}", found=None)
    for index, entry in enumerate(matrix.items("exclude")):
        if isinstance(entry.value, dict) and not entry.value:
            problems.at(root, ("matrix", "exclude", index), "matches every combination", found=None)
        for name, node in entry.value.items() if isinstance(entry.value, dict) else ():
            loc = ("matrix", "exclude", index, name)
            if name not in matrix.entries("params"):
                near = nearest(name, lists)
                problems.at(root, loc, "is no parameter of the matrix", found=None, valid=listed(lists), near=near)
            elif name in lists and not any(_same(node.value, value.value) for value in lists[name]):
                valid = ", ".join(str(plain(value)) for value in lists[name][:24])
                problems.at(root, loc, "is none of the values, so nothing is excluded", valid=valid)


def _same(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _command(root: Node, problems: Problems) -> None:
    command = root.child("command")
    if command is None or not isinstance(command.value, list):
        return
    first = command.value[0].value if command.value else ""
    if isinstance(first, str) and not first.strip():
        problems.at(root, ("command",), "is empty; a program and its arguments are expected", found=None)


def _distributed(root: Node, problems: Problems) -> None:
    kind = root.words("distributed")
    if kind not in ("torchrun", "accelerate"):
        return
    shell = root.child("shell")
    command = root.items("command")
    program = command[0].value if command else None
    if shell is not None and shell.value is True:
        problems.at(root, ("distributed",), "needs a command that is no shell text")
    elif isinstance(program, str):
        name = PurePosixPath(program).name
        if name in LAUNCHERS:
            message = f"`distributed: {kind}` starts the processes; the command is python and a script, without {name}"
            problems.at(root, ("command",), message, found=repr(program))
        elif not name.startswith(("python", "{")) and not name.endswith(".py"):
            message = f"`distributed: {kind}` starts Python; the command is python and a script, or a module with -m"
            problems.at(root, ("command",), message, found=repr(program))


def _setup(root: Node, problems: Problems) -> None:
    setup = root.entries("setup")
    given = [name for name in ENVIRONMENTS if name in setup]
    for name in given[1:]:
        message = f"one environment at most: {given[0]} is given too"
        problems.at(root, ("setup", name), message)
    if "requirements" not in setup:
        for name in ("python", "index"):
            if name in setup:
                problems.at(root, ("setup", name), "says how to install requirements, and there are none")
    check_path(root, ("setup", "requirements"), setup.get("requirements"), problems)


def _rules(root: Node, problems: Problems) -> None:
    watch = root.child("watch")
    for index, node in enumerate(watch.items("rules") if watch is not None else []):
        if isinstance(node.value, str):
            try:
                parse_rule(node.value)
            except ValueError as error:
                problems.at(root, ("watch", "rules", index), str(error))


def _smoke(root: Node, problems: Problems) -> None:
    smoke = root.child("smoke")
    if smoke is None:
        return
    known = known_params(root)
    for name in smoke.entries("params"):
        if name not in known:
            near = nearest(name, known)
            message = "is no parameter of this phase"
            problems.at(root, ("smoke", "params", name), message, found=None, valid=listed(known), near=near)


def known_params(root: Node) -> set[str]:
    """The parameters that a phase has: in `params`, in entries of its array, in its matrix."""
    matrix = root.child("matrix")
    known = set(root.entries("params")) | set(matrix.entries("params") if matrix is not None else ())
    for entry in root.items("array"):
        known.update(entry.entries("params"))
    return known
