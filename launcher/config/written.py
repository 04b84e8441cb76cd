"""From the forms that people write to the shape of the model, positions kept. What is of the wrong kind stays as it is:
the check against the model's types names it.
"""

from __future__ import annotations

import shlex
from dataclasses import fields, is_dataclass
from typing import Any, Optional

from launcher.config.checked import QUOTES
from launcher.config.kinds import hints_of, is_required, plain_kind
from launcher.config.nodes import Node, looks_like_a_field
from launcher.config.problems import Problems
from launcher.model.phase import Phase
from launcher.model.profile import Profile

ONE_OR_MORE = (("after",), ("secrets",), ("setup", "modules"), ("watch", "rules"), ("watch", "paths"))
"""Lists of texts where one text will do."""
TEXTS = (("setup", "python"), ("description",))
"""Where an unquoted number is text, as it was written: `python: 3.10` is not 3.1."""


def phase_shape(root: Node, problems: Problems) -> Node:
    """A phase as it was written, in the shape of `model.phase.Phase`. May be applied to its own result."""
    root = _drop_nothings(root, Phase)
    for path in ONE_OR_MORE:
        root = _changed(root, path, _as_list)
    for path in TEXTS:
        root = _changed(root, path, _as_text)
    root = _command(root, problems)
    root = _changed(root, ("env",), _texts)
    root = _changed(root, ("checkpoints",), _as_path)
    for key in ("inputs", "outputs"):
        for name in root.entries(key):
            root = _changed(root, (key, name), _as_path)
    root = _changed(root, ("array",), _array)
    return _changed(root, ("matrix",), _matrix)


def profile_shape(root: Node) -> Node:
    """A profile as it was written, in the shape of `model.profile.Profile`."""
    root = _drop_nothings(root, Profile)
    return _changed(root, ("defaults", "env"), _texts)


def _changed(root: Node, path: tuple[str, ...], change: Any) -> Node:
    first, *rest = path
    child = root.child(first)
    if child is None:
        return root
    new = _changed(child, tuple(rest), change) if rest else change(child)
    return root if new is child else root.with_child(first, new)


def _as_list(node: Node) -> Node:
    return Node([node], node.file, node.line) if isinstance(node.value, str) else node


def _as_text(node: Node) -> Node:
    if isinstance(node.value, (bool, int, float)) and node.text is not None:
        return Node(node.text, node.file, node.line, node.text)
    return node


def _texts(node: Node) -> Node:
    if not isinstance(node.value, dict):
        return node
    texts = {key: _as_text(child) for key, child in node.value.items()}
    return Node(texts, node.file, node.line, lines=node.lines)


def _as_path(node: Node) -> Node:
    if not isinstance(node.value, str):
        return node
    return Node({"path": node}, node.file, node.line, lines={"path": node.line}, implied=frozenset({"path"}))


def _array(node: Node) -> Node:
    """`{model: a, resources: {...}}` is an entry's params and its resources."""
    if not isinstance(node.value, list):
        return node
    return Node([_entry(entry) for entry in node.value], node.file, node.line)


def _entry(node: Node) -> Node:
    if not isinstance(node.value, dict) or node.implied:
        return node
    shape = {"params": node.without("resources")}
    lines = {"params": node.line}
    resources = node.value.get("resources")
    if resources is not None and resources.value is not None:
        shape["resources"], lines["resources"] = resources, node.lines.get("resources")
    return Node(shape, node.file, node.line, lines=lines, implied=frozenset({"params"}))


def _matrix(node: Node) -> Node:
    """`{a: [..], b: [..], exclude: [..]}` is the lists and the combinations to leave out."""
    if not isinstance(node.value, dict) or node.implied:
        return node
    shape = {"params": node.without("exclude")}
    lines = {"params": node.line}
    exclude = node.value.get("exclude")
    if exclude is not None and exclude.value is not None:
        shape["exclude"], lines["exclude"] = exclude, node.lines.get("exclude")
    return Node(shape, node.file, node.line, lines=lines, implied=frozenset({"params"}))


def _command(root: Node, problems: Problems) -> Node:
    """A text is split once, as a POSIX shell would split words, and never given to a shell; with `shell` it stays one."""
    command = root.child("command")
    if command is None:
        return root
    shell = root.child("shell")
    is_shell = shell is not None and shell.value is True
    if isinstance(command.value, list):
        if is_shell:
            problems.at(root, ("command",), "with `shell: true` the command is one text")
        parts = [_part(root, index, part, problems) for index, part in enumerate(command.value)]
    elif isinstance(command.value, str):
        parts = [command] if is_shell else _words(root, command, problems)
    else:
        hint = QUOTES if looks_like_a_field(command) else ""
        problems.at(root, ("command",), f"a text or a list of texts is expected{hint}")
        parts = []
    return root.with_child("command", Node(parts, command.file, command.line, command.text))


def _part(root: Node, index: int, part: Node, problems: Problems) -> Node:
    text = _as_text(part)
    if isinstance(text.value, str):
        return text
    hint = QUOTES if looks_like_a_field(part) else ""
    problems.at(root, ("command", index), f"text is expected{hint}")
    return Node("", part.file, part.line, "")


def _words(root: Node, command: Node, problems: Problems) -> list[Node]:
    try:
        words = shlex.split(command.value)
    except ValueError as error:
        problems.at(root, ("command",), f"cannot be split into words: {str(error).lower()}")
        return []
    return [Node(word, command.file, command.line, word) for word in words]


def _drop_nothings(root: Node, kind: type) -> Node:
    """Without the keys that have no value, which say nothing, in every part of the model that has named fields.

    So a section of a file may be all comments. A key that must be given is left, and refused for its kind.
    """
    if not isinstance(root.value, dict):
        return root
    kept: dict[str, Node] = {}
    required = {f.name for f in fields(kind) if is_required(f)}
    hints = hints_of(kind)
    for key, child in root.value.items():
        if child.value is None and key in hints and key not in required:
            continue
        kept[key] = _inside(child, hints[key]) if key in hints else child
    return Node(kept, root.file, root.line, lines=root.lines, implied=root.implied)


def _inside(node: Node, hint: Any) -> Node:
    kind: Optional[type] = plain_kind(hint)
    return _drop_nothings(node, kind) if kind is not None and is_dataclass(kind) else node
