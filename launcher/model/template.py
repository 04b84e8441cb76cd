"""`{param}`, `{task.index}` and `{outputs.x}` in a phase's arguments and paths; `{{` and `}}` are literal braces.

A command is split before it is filled, so no value can become two arguments.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Optional

from launcher.model.job import JobSpec, TaskSpec
from launcher.model.phase import Scalar


class UnknownField(ValueError):
    """A `{name}` that nothing fills, or a brace without its partner."""

    def __init__(self, message: str, name: Optional[str] = None) -> None:
        super().__init__(message)
        self.name = name


def fill(text: str, values: Mapping[str, Scalar]) -> str:
    """Raises UnknownField."""
    out: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char in "{}" and text[at : at + 2] == char * 2:
            out.append(char)
            at += 2
        elif char == "{":
            end = text.find("}", at)
            if end < 0:
                raise UnknownField(f"{{ without }} in {text!r}; a literal brace is written {{{{")
            name = text[at + 1 : end].strip()
            if name not in values:
                raise UnknownField(f"nothing fills {{{name}}}", name)
            out.append(as_text(values[name]))
            at = end + 1
        elif char == "}":
            raise UnknownField(f"}} without {{ in {text!r}; a literal brace is written }}}}")
        else:
            out.append(char)
            at += 1
    return "".join(out)


def as_text(value: Scalar) -> str:
    """A parameter as an argument: true and false as in YAML, nothing for null, floats in their shortest form."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def values_of(spec: JobSpec, task: TaskSpec) -> dict[str, Scalar]:
    """Everything that a template of this task may name."""
    values: dict[str, Scalar] = dict(spec.params_of(task))
    values["task.index"] = task.index
    values["job"] = spec.job
    values["phase"] = spec.phase
    for name, output in spec.outputs.items():
        values[f"outputs.{name}"] = fill(output.path, values)
    for name, source in spec.inputs.items():
        values[f"inputs.{name}"] = fill(source.path, values)
    if spec.checkpoints is not None:
        values["checkpoints"] = fill(spec.checkpoints.path, values)
    return values


def command_of(spec: JobSpec, task: TaskSpec) -> tuple[str, ...]:
    """The argument vector of one task; with `shell`, one text in which each value is quoted, so that it stays one word.

    Raises UnknownField.
    """
    values = values_of(spec, task)
    if spec.shell:
        values = {name: shlex.quote(as_text(value)) for name, value in values.items()}
    return tuple(fill(part, values) for part in spec.command)


def env_of(spec: JobSpec, task: TaskSpec) -> dict[str, str]:
    """The environment that the phase and the profile add for one task. Raises UnknownField."""
    values = values_of(spec, task)
    return {name: fill(text, values) for name, text in spec.env.items()}


def paths_of(spec: JobSpec, task: TaskSpec) -> dict[str, str]:
    """Output name to its path, relative to the workspace and to the working tree. Raises UnknownField."""
    values = values_of(spec, task)
    return {name: fill(output.path, values) for name, output in spec.outputs.items()}
