"""Which tasks a job has: the entries of the array or the combinations of the matrix, and those that `--array` picks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from launcher.errors import UsageError
from launcher.model.names import parse_array, show_indices
from launcher.model.phase import ArrayEntry, Matrix, Phase, Scalar

PLAIN = ArrayEntry()


@dataclass(frozen=True)
class Chosen:
    """Index and entry of each task, in order, and how many are to run at once (None: as many as fit)."""

    tasks: tuple[tuple[int, ArrayEntry], ...]
    limit: Optional[int] = None


def choose(phase: Phase, name: str, array: Optional[str]) -> Chosen:
    """`array` is an expression as in `0-5`; without one, all. A phase without an array has as many tasks as it asks for,
    which differ in `{task.index}` alone. Raises UsageError.
    """
    has = entries(phase)
    if array is None:
        return Chosen(tuple(enumerate(has if has is not None else [PLAIN])))
    try:
        expression = parse_array(array)
    except ValueError as error:
        raise UsageError(f"--array {array}", came_back=str(error)) from None
    if has is None:
        return Chosen(tuple((index, PLAIN) for index in expression.indices), expression.limit)
    beyond = [index for index in expression.indices if index >= len(has)]
    if beyond:
        count = f"{len(has)} entries, 0-{len(has) - 1}" if len(has) > 1 else "one entry, 0"
        noun = "index" if len(beyond) == 1 else "indices"
        raise UsageError(
            f"--array {array}: {noun} {show_indices(beyond)} of phase {name}",
            came_back=f"its {'matrix' if phase.matrix is not None else 'array'} has {count}",
        )
    return Chosen(tuple((index, has[index]) for index in expression.indices), expression.limit)


def entries(phase: Phase) -> Optional[Sequence[ArrayEntry]]:
    """All entries; None where the phase has neither array nor matrix."""
    if phase.matrix is not None:
        return combinations(phase.matrix)
    return phase.array or None


def combinations(matrix: Matrix) -> list[ArrayEntry]:
    """The product, first key slowest, less what is excluded."""
    names = list(matrix.params)
    found = []
    for values in itertools.product(*matrix.params.values()):
        params = dict(zip(names, values, strict=True))
        if not any(_matches(params, exclude) for exclude in matrix.exclude):
            found.append(ArrayEntry(params))
    return found


def _matches(params: dict[str, Scalar], exclude: dict[str, Scalar]) -> bool:
    return all(
        params[name] == value and isinstance(params[name], bool) == isinstance(value, bool)
        for name, value in exclude.items()
    )
