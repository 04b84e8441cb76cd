"""What the model's dataclasses say of a key: its fields, its kind, and where else a name is at home."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, Optional, Union, get_args, get_origin, get_type_hints

SYNONYMS = {
    **dict.fromkeys(("timeout", "time_limit", "walltime", "max_time"), "resources.time"),
    **dict.fromkeys(("cmd", "run", "script", "entrypoint", "exec"), "command"),
    **dict.fromkeys(("mem", "ram"), "resources.memory"),
    **dict.fromkeys(("environment", "envs", "environ"), "env"),
    **dict.fromkeys(("sweep", "grid", "product"), "matrix"),
    **dict.fromkeys(("needs", "depends_on", "dependencies", "depends"), "after"),
    **dict.fromkeys(("args", "arguments", "parameters", "config"), "params"),
    **dict.fromkeys(("retries", "max_retries", "restarts"), "retry.failed"),
    **dict.fromkeys(("image", "docker"), "setup.container"),
}
"""What other launchers call our keys."""


@functools.cache
def hints_of(kind: type) -> dict[str, Any]:
    """The annotations of a dataclass, evaluated."""
    return get_type_hints(kind, include_extras=True)


def plain_kind(hint: Any) -> Optional[type]:
    """The class in `Optional[X]` or `Annotated[X, ...]`; None where the hint is no single class."""
    if get_origin(hint) is Annotated:
        return plain_kind(get_args(hint)[0])
    if get_origin(hint) is Union:
        kinds = [one for one in get_args(hint) if one is not type(None)]
        return plain_kind(kinds[0]) if len(kinds) == 1 else None
    return hint if isinstance(hint, type) else None


def is_required(field: Field[Any]) -> bool:
    """Whether a field has no default."""
    return field.default is MISSING and field.default_factory is MISSING


def fields_at(kind: type, loc: Sequence[Any]) -> Optional[tuple[str, ...]]:
    """The keys that are valid at a path below `kind`; None where any key is."""
    at: Any = kind
    for step in loc:
        inner = plain_kind(at)
        if inner is not None and is_dataclass(inner) and step in hints_of(inner):
            at = hints_of(inner)[step]
        elif get_origin(at) in (dict, tuple):
            at = get_args(at)[1] if get_origin(at) is dict else get_args(at)[0]
        else:
            return None
    inner = plain_kind(at)
    return tuple(f.name for f in fields(inner)) if inner is not None and is_dataclass(inner) else None


@functools.cache
def homes(kind: type) -> dict[str, str]:
    """Names of nested fields, and where each is at home: `keep_last` is `checkpoints.keep_last`."""
    found: dict[str, str] = {}
    for name, hint in hints_of(kind).items():
        inner = plain_kind(hint)
        if inner is not None and is_dataclass(inner):
            for field in fields(inner):
                found.setdefault(field.name, f"{name}.{field.name}")
    return found
