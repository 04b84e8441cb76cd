"""Frozen dataclasses to JSON and back, for records that travel between versions and machines.

A reader ignores keys that it does not know (a peer of a later version wrote them) and answers anything that does
not fit with BadRecord, never with another exception. A class may define `to_json(self)` and `from_json(cls, data)`
where a denser form is worth it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from launcher.errors import BadRecord

T = TypeVar("T")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def encode(value: Any) -> Any:
    """What `json` can write; fields that are None are left out, numbers that are not finite become strings."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: encode(item) for name, item in fields if item is not None}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def dump(value: Any) -> bytes:
    """One line of JSON with a newline at its end."""
    return json.dumps(encode(value), separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode() + b"\n"


def load(cls: type[T], text: bytes, where: str) -> T:
    """Read one record. Raises BadRecord, naming `where`, for bytes that are no JSON or do not fit `cls`."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"{where} is no JSON", came_back=str(error)) from None
    return decode(cls, data, where)


def decode(cls: type[T], data: Any, where: str) -> T:
    """`data` as a `cls`, checked against its annotations. Raises BadRecord."""
    try:
        return cast(T, _decode(cls, data, ""))
    except _Misfit as misfit:
        raise BadRecord(f"{where} is not a {cls.__name__}", came_back=str(misfit)) from None
    except (RecursionError, OverflowError) as error:
        raise BadRecord(f"{where} is not a {cls.__name__}", came_back=str(error)) from None


class _Misfit(Exception):
    def __init__(self, path: str, expected: str, found: Any) -> None:
        super().__init__(
            f"{path or 'the whole'}: expected {expected}, found {type(found).__name__} {str(found)[:60]!r}"
        )


@functools.cache
def _fields(cls: type) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(cls)
    return tuple(
        (f.name, hints[f.name], f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING)
        for f in dataclasses.fields(cls)
    )


def _decode(kind: Any, data: Any, path: str) -> Any:
    if kind is Any or kind is object:
        return data
    origin = get_origin(kind)
    if origin is Annotated:
        return _decode(get_args(kind)[0], data, path)
    if origin is Union:
        return _decode_union(get_args(kind), data, path)
    if origin is Literal:
        if any(data == value and type(data) is type(value) for value in get_args(kind)):
            return data
        raise _Misfit(path, f"one of {get_args(kind)}", data)
    if origin is tuple:
        return _decode_tuple(get_args(kind), data, path)
    if origin in (dict, Mapping):
        if not isinstance(data, dict):
            raise _Misfit(path, "an object", data)
        value_kind = get_args(kind)[1]
        return {key: _decode(value_kind, item, f"{path}.{key}") for key, item in data.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(data)
        except ValueError:
            raise _Misfit(path, f"one of {[m.value for m in kind]}", data) from None
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, data, path)
    return _decode_plain(kind, data, path)


def _decode_plain(kind: Any, data: Any, path: str) -> Any:
    if kind is float:
        if isinstance(data, str) and data in _NOT_FINITE:
            return _NOT_FINITE[data]
        if isinstance(data, (int, float)) and not isinstance(data, bool):
            return float(data)
    elif kind is int:
        if isinstance(data, int) and not isinstance(data, bool):
            return data
    elif kind is type(None):
        if data is None:
            return None
    elif isinstance(data, kind):
        return data
    raise _Misfit(path, getattr(kind, "__name__", str(kind)), data)


def _decode_union(kinds: Sequence[Any], data: Any, path: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    if isinstance(data, str) and str in kinds:
        return data  # where text is possible, "NaN" is text
    misfit: Any = None
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _decode(kind, data, path)
        except _Misfit as found:
            misfit = misfit or found
    raise misfit or _Misfit(path, "null", data)


def _decode_tuple(kinds: Sequence[Any], data: Any, path: str) -> Any:
    if not isinstance(data, list):
        raise _Misfit(path, "a list", data)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_decode(kinds[0], item, f"{path}[{i}]") for i, item in enumerate(data))
    if len(kinds) != len(data):
        raise _Misfit(path, f"{len(kinds)} items", data)
    return tuple(_decode(kind, item, f"{path}[{i}]") for i, (kind, item) in enumerate(zip(kinds, data)))


def _decode_dataclass(cls: Any, data: Any, path: str) -> Any:
    if hasattr(cls, "from_json"):
        try:
            return cls.from_json(data)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError):
            raise _Misfit(path, cls.__name__, data) from None
    if not isinstance(data, dict):
        raise _Misfit(path, f"an object ({cls.__name__})", data)
    values = {}
    for name, kind, required in _fields(cls):
        if name in data:
            values[name] = _decode(kind, data[name], f"{path}.{name}" if path else name)
        elif required:
            raise _Misfit(f"{path}.{name}" if path else name, "a value", None)
    try:
        return cls(**values)
    except ValueError as error:
        raise _Misfit(path, str(error), data) from None
