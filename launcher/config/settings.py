"""What a person or a project sets once: flag, then LAUNCH_*, then the project's launch.yaml, then the user's config.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Optional

from launcher.config.checked import validated
from launcher.config.nodes import Node, locate
from launcher.config.problems import Problems
from launcher.config.scalars import resolve
from launcher.config.source import read_file
from launcher.model.phase import STRICT
from launcher.model.units import Time


@dataclass(frozen=True)
class Written:
    """The keys of launch.yaml and config.yaml. `budget` is dollars for one job; folders may begin with ~."""

    __pydantic_config__ = STRICT
    profile: Optional[str] = None
    store: Optional[str] = None
    workspace: Optional[str] = None
    beat: Optional[Time] = None
    budget: Optional[float] = None


@dataclass(frozen=True)
class Setting:
    """A value, the layer that it is from, in words where exactly, and the folder that a relative path is meant from."""

    value: Any
    layer: str
    origin: str
    folder: Path


Settings = dict[str, Setting]
"""By name; a name that nobody set is absent."""


def gather(
    root: Path, here: Path, home: Path, flags: Mapping[str, Optional[str]], environ: Mapping[str, str]
) -> Settings:
    """The settings that hold in a project. `home` is the folder of the user's own configuration.

    Raises ConfigError with the mistakes of all layers.
    """
    problems = Problems()
    found: Settings = {}
    names = [field.name for field in fields(Written)]
    layers = [
        (_of_words({n: f for n in names if (f := flags.get(n)) is not None}, "--{}"), "flag", here),
        (
            _of_words({n: e for n in names if (e := environ.get(f"LAUNCH_{n.upper()}"))}, "LAUNCH_{}"),
            "environment",
            here,
        ),
        (_of_file(root / "launch.yaml", "launch.yaml", problems), "project", root),
        (_of_file(home / "config.yaml", str(home / "config.yaml"), problems), "user", home),
    ]
    for node, layer, folder in layers:
        if node is None or node.value == {}:
            continue  # nothing was said, so nothing is checked: the check costs more time than all else
        values = validated(Written, node, problems)
        _meaning(node, problems)
        for name in node.value if values is not None else ():
            place = locate(node, (name,))
            origin = place.file if place.line is None else f"{place.file}:{place.line}"
            value = getattr(values, name)
            if value is not None:
                found.setdefault(name, Setting(value, layer, origin, folder))
    problems.stop_if_any()
    return found


def _of_words(words: Mapping[str, str], shown: str) -> Node:
    """Flags and variables are scalars as in YAML; a folder and a profile's name are text whatever they look like."""
    children: dict[str, Node] = {}
    for name, text in words.items():
        file = shown.format(name.upper() if shown.startswith("LAUNCH") else name)
        try:
            value = resolve(text) if name in ("beat", "budget") else text
        except ValueError:
            value = text
        children[name] = Node(value, file, None, text)
    return Node(children, "the command line")


def _of_file(path: Path, shown: str, problems: Problems) -> Optional[Node]:
    """None where there is no such file, or it says nothing."""
    before = Problems()
    try:
        node = read_file(path, shown, before)
    except FileNotFoundError:
        return None
    empty = [problem for problem in before.all() if problem.message.startswith("is empty")]
    for problem in before.all():
        if problem not in empty:  # a file that is all comments is a good beginning
            problems.add(problem)
    return node


def _meaning(node: Node, problems: Problems) -> None:
    for name in ("profile", "store", "workspace"):
        if node.words(name) == "":
            problems.at(node, (name,), "is empty")
    for name in ("beat", "budget"):
        child = node.child(name)
        if child is not None and child.value == 0:
            problems.at(node, (name,), "must be more than nothing")
    budget = node.child("budget")
    if budget is not None and isinstance(budget.value, (int, float)) and not 0 < budget.value < float("inf"):
        problems.at(node, ("budget",), "must be more than nothing, in dollars")
