"""What was written, with where it was written: the tree between a YAML text and the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

Step = Union[str, int]
Loc = tuple[Step, ...]

EXPANDED = 1_000_000
"""Nodes that one file may stand for, aliases expanded; a few lines of aliases can stand for more than any memory."""


@dataclass(slots=True)
class Node:
    """A mapping (`value` is a dict of nodes), a list (of nodes) or a scalar.

    `line` counts from 1; None for what no file holds. `text` is a scalar as it was written. `lines` are those of a
    mapping's keys. `implied` are keys of the model that are not in the written form, and are left out where a key is
    shown: `array[3].size` is `params.size` of entry 3 in the model.
    """

    value: Any
    file: str
    line: Optional[int] = None
    text: Optional[str] = None
    quoted: bool = False
    lines: dict[str, Optional[int]] = field(default_factory=dict)
    implied: frozenset[str] = frozenset()

    def child(self, key: str) -> Optional[Node]:
        """The node under a key; None where this is no mapping or has no such key."""
        found = self.value.get(key) if isinstance(self.value, dict) else None
        return found if isinstance(found, Node) else None

    def entries(self, key: str) -> dict[str, Node]:
        """The mapping under a key; empty where there is none."""
        found = self.child(key)
        return found.value if found is not None and isinstance(found.value, dict) else {}

    def items(self, key: str) -> list[Node]:
        """The list under a key; empty where there is none."""
        found = self.child(key)
        return found.value if found is not None and isinstance(found.value, list) else []

    def words(self, key: str) -> Optional[str]:
        """The text under a key; None where there is none, or another kind of value."""
        found = self.child(key)
        return found.value if found is not None and isinstance(found.value, str) else None

    def with_child(self, key: str, child: Node) -> Node:
        """A copy in which `key` holds `child`; an existing key keeps its line."""
        line = self.lines.get(key, child.line)
        return Node(
            {**self.value, key: child}, self.file, self.line, lines={**self.lines, key: line}, implied=self.implied
        )

    def without(self, *keys: str) -> Node:
        """A copy that lacks some keys."""
        kept = {key: child for key, child in self.value.items() if key not in keys}
        return Node(kept, self.file, self.line, lines=self.lines, implied=self.implied)


class TooLarge(ValueError):
    """Aliases that stand for more than `EXPANDED` nodes."""


def plain(root: Node) -> Any:
    """The data without positions. Raises TooLarge."""
    left = EXPANDED

    def of(node: Node) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise TooLarge
        value = node.value
        if isinstance(value, dict):
            return {key: of(child) for key, child in value.items()}
        if isinstance(value, list):
            return [of(child) for child in value]
        return value

    return of(root)


def show_key(steps: Sequence[Step]) -> str:
    """`array[3].size`."""
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@dataclass(frozen=True)
class Place:
    """Where something is written, the key as a person would write it, and the node where there is one."""

    file: str
    line: Optional[int]
    key: str
    node: Optional[Node]


def locate(root: Node, loc: Sequence[Any]) -> Place:
    """The place of a path of the model. A path that goes on beyond what was written ends at the last known line.

    Steps below a scalar are ignored: pydantic names the members of a union so.
    """
    node: Optional[Node] = root
    file, line, shown = root.file, None if isinstance(root.value, dict) else root.line, list[Step]()
    for step in loc:
        if node is None:
            break
        if isinstance(node.value, dict) and isinstance(step, str):
            if step not in node.implied:
                shown.append(step)
            child: Optional[Node] = node.value.get(step)
            line = node.lines.get(step, line if child is None else child.line)
        elif isinstance(node.value, list) and isinstance(step, int):
            shown.append(step)
            child = node.value[step] if step < len(node.value) else None
            line = child.line if child is not None else line
        else:
            break
        file = child.file if child is not None else file
        node = child
    return Place(file, line, show_key(shown), node)


def describe(node: Optional[Node]) -> Optional[str]:
    """What was found, in a few words: `'abc'`, `12`, `a list`, `nothing`."""
    if node is None:
        return None
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    if node.value is None:
        return "nothing"
    text = node.text if node.text is not None else str(node.value)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return repr(shown) if isinstance(node.value, str) else shown


def looks_like_a_field(node: Node) -> bool:
    """`{name}` without quotes is a mapping of `name` to nothing."""
    value = node.value
    return isinstance(value, dict) and len(value) == 1 and all(child.value is None for child in value.values())
