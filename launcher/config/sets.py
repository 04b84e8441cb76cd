"""`--set KEY=VALUE`: a parameter by its name, or a key of the phase by its dotted path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Optional

from launcher.config.checked import unknown_key
from launcher.config.kinds import fields_at
from launcher.config.meaning import known_params
from launcher.config.nodes import Node, looks_like_a_field
from launcher.config.phases import LoadedPhase, Sets, shaped
from launcher.config.problems import Problems, listed, nearest
from launcher.config.scalars import resolve
from launcher.config.source import read_text
from launcher.errors import Problem, UsageError
from launcher.model.phase import Phase

ELSEWHERE = {"array": "use --array to choose from it", "matrix": "use --array to choose from it"}


def with_sets(loaded: LoadedPhase, sets: Sequence[str]) -> LoadedPhase:
    """The phase as it would be if its file said so. Later words win over earlier ones.

    Raises UsageError for a word without `=`, ConfigError for all other mistakes.
    """
    if not sets:
        return loaded
    problems = Problems()
    written, params, keys = loaded.written, dict(loaded.sets.params), list(loaded.sets.keys)
    known = known_params(loaded.shape)
    for word in sets:
        key, equals, text = word.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"--set {word}: KEY=VALUE is expected", hint="--set days=3, --set resources.time=2h")
        node = _value(word, text, problems)
        name = key.removeprefix("params.")
        if name in known:
            if isinstance(node.value, (dict, list)):
                problems.add(Problem(node.file, None, key, "a parameter is one value", text))
            else:
                params[name] = node.value
                written = _put(written, ("params", name), node)
        elif _is_key(key):
            keys.append(key)
            written = _put(written, tuple(key.split(".")), node)
        else:
            _unknown(loaded, key, name, node, known, problems)
    problems.stop_if_any()
    shape, phase = shaped(written, loaded.name, problems)
    return replace(loaded, phase=phase, written=written, shape=shape, sets=Sets(params, tuple(keys)))


def _is_key(key: str) -> bool:
    first = key.split(".", 1)[0]
    return first in (fields_at(Phase, ()) or ()) and first not in ELSEWHERE and key != "params"


def _value(word: str, text: str, problems: Problems) -> Node:
    """A scalar as in YAML; what begins and ends as a quoted text, a list or a mapping is read as one, and a lone `{field}`
    is the text that it looks like."""
    file, text = f"--set {word}", text.strip()
    if len(text) > 1 and text[0] + text[-1] in ('""', "''", "[]", "{}"):
        own = Problems()
        node = read_text(text, file, own)
        for problem in own.all():
            problems.add(replace(problem, line=None))
        if node is not None and looks_like_a_field(node):
            return Node(text, file, None, text)
        return _unplaced(node) if node is not None else Node(None, file, None, text)
    try:
        return Node(resolve(text), file, None, text)
    except ValueError as error:
        problems.add(Problem(file, None, "", str(error)))
        return Node(None, file, None, text)


def _unplaced(node: Node) -> Node:
    """A command line has no lines."""
    value = node.value
    if isinstance(value, dict):
        value = {key: _unplaced(child) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_unplaced(child) for child in value]
    return Node(value, node.file, None, node.text, node.quoted)


def _put(root: Node, path: tuple[str, ...], new: Node) -> Node:
    first, *rest = path
    child: Optional[Node] = root.child(first)
    if rest:
        if child is not None and isinstance(child.value, str):
            child = Node({"path": child}, child.file, child.line, lines={"path": child.line})
        elif child is None or not isinstance(child.value, dict):
            child = Node({}, new.file, None)
        new = _put(child, tuple(rest), new)
    lines = {**root.lines, first: new.line if not rest else root.lines.get(first)}
    return Node({**root.value, first: new}, root.file, root.line, lines=lines, implied=root.implied)


def _unknown(loaded: LoadedPhase, key: str, name: str, node: Node, known: set[str], problems: Problems) -> None:
    first = key.split(".", 1)[0]
    if first in ELSEWHERE:
        problems.add(Problem(node.file, None, key, f"cannot be set; {ELSEWHERE[first]}"))
    elif "." in key and first != "params":
        root = Node({first: node}, node.file, None, lines={first: None})
        unknown_key(Phase, root, (first,), problems, valid=fields_at(Phase, ()) or ())
    else:
        near = nearest(name, known) or nearest(name, fields_at(Phase, ()) or ())
        message = f"is no parameter of phase {loaded.name}"
        problems.add(Problem(node.file, None, name, message, None, listed(known) or "it has none", near))
