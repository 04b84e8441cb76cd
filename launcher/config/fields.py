"""The `{fields}` of a phase's command, environment and paths: each must be filled, for every task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from launcher.config.nodes import Loc, Node
from launcher.config.problems import Problems, listed, nearest
from launcher.model.phase import Scalar
from launcher.model.template import UnknownField, fill

ALWAYS = ("task.index", "job", "phase")


def params_everywhere(root: Node) -> tuple[set[str], dict[str, int]]:
    """The parameters that every task has, and those that some entries of the array lack, with the first that does."""
    known = set(root.entries("params"))
    known |= set((root.child("matrix") or root).entries("params")) if root.child("matrix") is not None else set()
    entries = [entry.entries("params") for entry in root.items("array")]
    if not entries:
        return known, {}
    counts: dict[str, int] = {}
    for entry in entries:
        for name in entry:
            counts[name] = counts.get(name, 0) + 1
    lacking = {name for name, count in counts.items() if count < len(entries)} - known
    known |= {name for name, count in counts.items() if count == len(entries)}
    first = {name: next(index for index, entry in enumerate(entries) if name not in entry) for name in lacking}
    return known, first


def check_fields(root: Node, problems: Problems) -> None:
    """An unknown `{field}`, or a brace without its partner, wherever a phase may have them."""
    everywhere, lacking = params_everywhere(root)
    values: dict[str, Scalar] = dict.fromkeys([*everywhere, *ALWAYS], "")
    for loc, node, gives in _templates(root):
        try:
            fill(node.value, values)
        except UnknownField as error:
            _unknown(root, loc, error, values, lacking, problems)
        if gives is not None:
            values[gives] = ""


def _templates(root: Node) -> Iterator[tuple[Loc, Node, str | None]]:
    """In the order in which `model.template.values_of` fills them; the third is the field that each of them gives."""
    for kind in ("outputs", "inputs"):
        for name, entry in root.entries(kind).items():
            path = entry.child("path")
            if path is not None and isinstance(path.value, str):
                yield (kind, name, "path"), path, f"{kind}.{name}"
    checkpoints = root.child("checkpoints")
    path = checkpoints.child("path") if checkpoints is not None else None
    if path is not None and isinstance(path.value, str):
        yield ("checkpoints", "path"), path, "checkpoints"
    for index, part in enumerate(root.items("command")):
        if isinstance(part.value, str):
            yield ("command", index), part, None
    for name, text in root.entries("env").items():
        if isinstance(text.value, str):
            yield ("env", name), text, None


def _unknown(
    root: Node,
    loc: Loc,
    error: UnknownField,
    values: Mapping[str, Scalar],
    lacking: Mapping[str, int],
    problems: Problems,
) -> None:
    if error.name is None:
        problems.at(root, loc, str(error), found=None)
    elif error.name in lacking:
        entry = lacking[error.name]
        problems.at(root, loc, f"array[{entry}] gives no {error.name}, which {{{error.name}}} needs", found=None)
    else:
        message = f"{error}; a literal brace is written {{{{"
        problems.at(root, loc, message, valid=listed(values), near=nearest(error.name, values))
