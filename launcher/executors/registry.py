"""Executors by name: one file of this folder each, imported when it is asked for. A new file is a new executor.

A module offers `Options` (a frozen dataclass: the valid keys of a profile's `options`) and `create(place) -> Executor`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import cast

from launcher.errors import NotFound
from launcher.executors.contract import Executor
from launcher.model.job import Place

_NOT_EXECUTORS = {"__init__", "contract", "registry"}


@functools.cache
def names() -> tuple[str, ...]:
    """All executors, sorted."""
    files = Path(__file__).parent.glob("*.py")
    return tuple(sorted(f.stem for f in files if f.stem not in _NOT_EXECUTORS and not f.stem.startswith("_")))


def create(place: Place) -> Executor:
    """The executor of a resolved place. Raises NotFound."""
    return cast(Executor, _module(place.executor).create(place))


class OptionTypes(Mapping[str, type]):
    """Executor name to its options' dataclass; a module is imported only when its entry is read."""

    def __getitem__(self, name: str) -> type:
        if name not in names():
            raise KeyError(name)
        return cast(type, _module(name).Options)

    def __iter__(self) -> Iterator[str]:
        return iter(names())

    def __len__(self) -> int:
        return len(names())


def _module(name: str) -> ModuleType:
    if name not in names():
        raise NotFound(f"there is no executor {name!r}", came_back=f"executors: {', '.join(names())}")
    return importlib.import_module(f"launcher.executors.{name}")
