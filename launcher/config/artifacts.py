"""Inputs, outputs and checkpoints of a phase: paths inside the workspace, no two of one place, quality that can be told."""

from __future__ import annotations

import math
from typing import Optional

from launcher.config.nodes import Loc, Node
from launcher.config.paths import clash, mistake, tidy
from launcher.config.problems import Problems


def check_artifacts(root: Node, problems: Problems) -> None:
    """All of it, as it is written; `filled` looks again when the fields are filled."""
    for check in (_paths, _clashes, _checkpoints, _quality):
        check(root, problems)


def _paths(root: Node, problems: Problems) -> None:
    for name, entry in root.entries("inputs").items():
        check_path(root, ("inputs", name, "path"), entry.child("path"), problems, absolute=True)
    for name, entry in root.entries("outputs").items():
        check_path(root, ("outputs", name, "path"), entry.child("path"), problems)
    checkpoints = root.child("checkpoints")
    if checkpoints is not None:
        check_path(root, ("checkpoints", "path"), checkpoints.child("path"), problems)
        marker = checkpoints.words("marker")
        if marker is not None and ("/" in marker or marker in ("", ".", "..")):
            problems.at(root, ("checkpoints", "marker"), "a file's name is expected, or the end of one")


def check_path(root: Node, loc: Loc, node: Optional[Node], problems: Problems, *, absolute: bool = False) -> None:
    """One path, where it is text."""
    if node is not None and isinstance(node.value, str):
        bad = mistake(node.value, absolute=absolute)
        if bad is not None:
            problems.at(root, loc, bad)


def _clashes(root: Node, problems: Problems) -> None:
    """Paths are compared as they are written; filled in, `resolve` compares them again, over all tasks."""
    taken: list[tuple[str, str]] = []
    named: list[tuple[Loc, str, Optional[str]]] = [
        (("outputs", name, "path"), f"outputs.{name}", entry.words("path"))
        for name, entry in root.entries("outputs").items()
    ]
    checkpoints = root.child("checkpoints")
    if checkpoints is not None:
        named.append((("checkpoints", "path"), "checkpoints", checkpoints.words("path")))
    for name, entry in root.entries("inputs").items():
        path = entry.words("path")
        if path is not None:
            taken.append((tidy(path), f"inputs.{name}, which is read-only"))
    for loc, called, path in named:
        if path is None or mistake(path) is not None:
            continue
        for other, owner in taken:
            word = clash(tidy(path), other)
            if word is not None:
                problems.at(root, loc, f"{word} {owner}")
                break
        taken.append((tidy(path), called))


def _checkpoints(root: Node, problems: Problems) -> None:
    checkpoints = root.child("checkpoints")
    pattern = checkpoints.words("pattern") if checkpoints is not None else None
    if pattern is not None and (not pattern or "/" in pattern):
        problems.at(root, ("checkpoints", "pattern"), "a pattern for names in the folder is expected, such as step-*")


def _quality(root: Node, problems: Problems) -> None:
    for name, entry in root.entries("outputs").items():
        good, poor = entry.child("good"), entry.child("poor")
        for key, node in (("good", good), ("poor", poor)):
            if node is not None and entry.child("metric") is None:
                problems.at(root, ("outputs", name, key), "needs a metric that it is a value of")
            if node is not None and isinstance(node.value, float) and not math.isfinite(node.value):
                problems.at(root, ("outputs", name, key), "a finite number is expected")
        if good is not None and poor is not None and isinstance(good.value, (int, float)) and good.value == poor.value:
            problems.at(root, ("outputs", name, "poor"), "equals good, so it cannot be told which way is better")
