"""The shape of the model against its types, by pydantic; its errors in our words."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any, Optional, TypeVar, cast

from launcher.config.kinds import SYNONYMS, fields_at, homes
from launcher.config.nodes import Node, TooLarge, locate, looks_like_a_field, plain
from launcher.config.problems import Problems, listed, nearest

T = TypeVar("T")

_WORDS = {
    "missing": "is missing",
    "string_type": "text is expected",
    "bool_type": "true or false is expected",
    "bool_parsing": "true or false is expected",
    "int_type": "a whole number is expected",
    "int_parsing": "a whole number is expected",
    "int_from_float": "a whole number is expected",
    "float_type": "a number is expected",
    "float_parsing": "a number is expected",
    "finite_number": "a finite number is expected",
    "tuple_type": "a list is expected",
    "list_type": "a list is expected",
    "dict_type": "a mapping is expected",
    "mapping_type": "a mapping is expected",
    "dataclass_type": "a mapping is expected",
    "dataclass_exact_type": "a mapping is expected",
    "none_required": "nothing is expected",
}
QUOTES = '; text that begins with { is put in quotes: "{name}"'
_SCALARS = {"bool_type", "int_type", "float_type", "string_type", "none_required", "int_from_float"}
_UNKNOWN_KEY = {"extra_forbidden", "unexpected_keyword_argument"}


@functools.cache
def adapter(kind: Any) -> Any:
    """Pydantic's reading of a dataclass of the model."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def validated(kind: type[T], root: Node, problems: Problems, *, below: Sequence[Any] = ()) -> Optional[T]:
    """The node as a `kind`; None, and problems, where it does not fit. `below`: the path of `root`'s part that is meant."""
    from pydantic import ValidationError

    part = locate(root, below).node if below else root
    try:
        data = plain(part) if part is not None else {}
    except TooLarge:
        problems.at(root, below, "stands, aliases expanded, for more than any file means", found=None)
        return None
    try:
        # As JSON: there the strict reading takes a list for a tuple and a word for an enum, and still no "3" for 3.
        return cast(T, adapter(cast(Any, kind)).validate_json(json.dumps(data), strict=True))
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
    unions = _unions(errors)
    for each in errors:
        _translate(kind, root, tuple(below), each, unions, problems)
    return None


def _unions(errors: Sequence[Any]) -> set[tuple[Any, ...]]:
    """The places that have an error for each of several kinds of scalars."""
    kinds: dict[tuple[Any, ...], set[Any]] = {}
    for each in errors:
        if each["type"] in _SCALARS and each["loc"]:
            kinds.setdefault(each["loc"][:-1], set()).add(each["loc"][-1])
    return {loc for loc, names in kinds.items() if len(names) > 2 and names <= {"bool", "int", "float", "str", "none"}}


def _translate(kind: type, root: Node, below: tuple[Any, ...], each: Any, unions: set[Any], problems: Problems) -> None:
    loc, what = (*below, *each["loc"]), each["type"]
    context = each.get("ctx") or {}
    if what in _UNKNOWN_KEY:
        unknown_key(kind, root, loc, problems, valid=fields_at(kind, each["loc"][:-1]) or ())
    elif what in _SCALARS and each["loc"][:-1] in unions:
        problems.at(root, loc, "one value is expected: text, a number, true, false or null")
    elif what == "missing":
        problems.at(root, loc, _WORDS[what], found=None)
    elif what in ("enum", "literal_error"):
        valid = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
        node = locate(root, loc).node
        near = nearest(str(node.text), valid.split(", ")) if node is not None and node.text else None
        problems.at(root, loc, "is not one of the valid words", valid=valid, near=near)
    elif what == "value_error":
        problems.at(root, loc, str(context.get("error", each["msg"])))
    else:
        message = _WORDS.get(what, each["msg"])
        node = locate(root, loc).node
        if what == "string_type" and node is not None and looks_like_a_field(node):
            message += QUOTES
        problems.at(root, loc, message)


def unknown_key(kind: type, root: Node, loc: Sequence[Any], problems: Problems, *, valid: Sequence[str]) -> None:
    """A key that the model does not have: the valid ones, and the one that was meant."""
    key = str(loc[-1])
    near = _elsewhere(kind, key) if len(loc) == 1 else None
    near = near or nearest(key, valid)
    problems.at(root, loc, "is no key here", found=None, valid=listed(valid, 40), near=near)


def _elsewhere(kind: type, key: str) -> Optional[str]:
    """Where a top-level key is at home, or what other launchers mean by it."""
    nested = homes(kind)
    known = set(nested.values()) | set(fields_at(kind, ()) or ())
    meant = SYNONYMS.get(key.lower())
    return nested.get(key) or (meant if meant in known else None)
