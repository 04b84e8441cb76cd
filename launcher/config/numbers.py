"""Numbers that a type allows and the world does not: no CPU, memory of zero, a negative retry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Optional

from launcher.config.nodes import Loc, Node
from launcher.config.problems import Problems
from launcher.model.units import parse_price, parse_size, parse_time

RESOURCES = {"gpus": 0, "cpus": 1, "nodes": 1, "processes_per_node": 1}
LIMITS = {"gpus": 0, "cpus": 1, "tasks": 1}
AMOUNTS: dict[str, Callable[[object], float]] = {
    "gpu_memory": parse_size,
    "memory": parse_size,
    "disk": parse_size,
    "time": parse_time,
    "size": parse_size,
    "every": parse_time,
    "stall_after": parse_time,
}
LARGEST = 1 << 62  # bytes, seconds or things: beyond it stands a slip of the finger, and 64 bits


def check_phase_numbers(root: Node, problems: Problems) -> None:
    """Of all parts of a phase."""
    for loc, node in _resources(root):
        _at_least(root, loc, node, RESOURCES, problems)
        _positive(root, loc, node, problems)
    for key in ("watch", "setup", "checkpoints"):
        section = root.child(key)
        if section is not None:
            _positive(root, (key,), section, problems)
    retry = root.child("retry")
    if retry is not None and isinstance(retry.value, dict):
        _at_least(root, ("retry",), retry, dict.fromkeys(retry.value, 0), problems)
    checkpoints = root.child("checkpoints")
    if checkpoints is not None:
        _at_least(root, ("checkpoints",), checkpoints, {"keep_last": 1}, problems)
    if _amount(root.child("beat"), parse_time) == 0:
        problems.at(root, ("beat",), "must be more than nothing")


def check_profile_numbers(root: Node, problems: Problems) -> None:
    """Of all parts of a profile."""
    limits, defaults = root.child("limits"), root.child("defaults")
    if limits is not None:
        _at_least(root, ("limits",), limits, LIMITS, problems)
        _positive(root, ("limits",), limits, problems)
        budget = limits.child("budget")
        if budget is not None and isinstance(budget.value, (int, float)) and not 0 < budget.value < math.inf:
            problems.at(root, ("limits", "budget"), "must be more than nothing, in dollars")
    resources = defaults.child("resources") if defaults is not None else None
    if resources is not None:
        _at_least(root, ("defaults", "resources"), resources, RESOURCES, problems)
        _positive(root, ("defaults", "resources"), resources, problems)
    price = _amount(root.child("price"), parse_price)
    if price is not None and price > LARGEST:
        problems.at(root, ("price",), "is too large a number")
    options = root.child("options")
    if options is not None:
        _at_least(root, ("options",), options, {"cpus": 1}, problems)
        _positive(root, ("options",), options, problems)
        _indices(root, ("options", "gpus"), options.items("gpus"), problems)


def _indices(root: Node, loc: Loc, items: list[Node], problems: Problems) -> None:
    seen: set[int] = set()
    for position, node in enumerate(items):
        if isinstance(node.value, int) and node.value < 0:
            problems.at(root, (*loc, position), "an index counts from 0")
        elif isinstance(node.value, int) and node.value in seen:
            problems.at(root, (*loc, position), "is named twice")
        elif isinstance(node.value, int):
            seen.add(node.value)


def _resources(root: Node) -> Iterator[tuple[Loc, Node]]:
    own, smoke = root.child("resources"), root.child("smoke")
    if own is not None:
        yield ("resources",), own
    for index, entry in enumerate(root.items("array")):
        of_entry = entry.child("resources")
        if of_entry is not None:
            yield ("array", index, "resources"), of_entry
    small = smoke.child("resources") if smoke is not None else None
    if small is not None:
        yield ("smoke", "resources"), small


def _at_least(root: Node, loc: Loc, node: Node, least: dict[str, int], problems: Problems) -> None:
    for key, bound in least.items():
        child = node.child(key)
        if child is None or isinstance(child.value, bool) or not isinstance(child.value, int):
            continue
        if child.value < bound:
            problems.at(root, (*loc, key), f"must be at least {bound}")
        elif child.value > LARGEST:
            problems.at(root, (*loc, key), "is too large a number")


def _positive(root: Node, loc: Loc, node: Node, problems: Problems) -> None:
    for key, parse in AMOUNTS.items():
        amount = _amount(node.child(key), parse)
        if amount == 0 and key != "gpu_memory":  # of no GPU at all, zero is right
            problems.at(root, (*loc, key), "must be more than nothing")
        elif amount is not None and amount > LARGEST:
            problems.at(root, (*loc, key), "is too large a number")


def _amount(node: Optional[Node], parse: Callable[[object], Any]) -> Optional[float]:
    """None where there is none, or it does not parse: the check of types says so."""
    if node is None or node.value is None:
        return None
    try:
        return float(parse(node.value))
    except (ValueError, OverflowError):
        return None
