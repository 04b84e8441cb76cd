"""Aligned columns for a terminal or a pipe. Pure: cells in, lines out.

On a terminal the columns that matter least go first when it is narrow, and one column takes what room is left. In a
pipe nothing is dropped or cut.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

GAP = 2


class Span(NamedTuple):
    """Text and its SGR codes."""

    text: str
    style: str = ""


Line = tuple[Span, ...]
Cell = tuple[Span, ...]
"""Parts of one cell, side by side."""


def cell(text: str, style: str = "") -> Cell:
    """A cell of one part."""
    return (Span(text, style),) if text else ()


@dataclass(frozen=True)
class Column:
    """`keep`: columns with the lowest go first, 0 never goes; `flexible`: takes the room that is left, and is cut to it."""

    title: str
    right: bool = False
    keep: int = 0
    flexible: bool = False
    least: int = 16  # of a flexible one: others are dropped before it gets narrower


def width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, room: int) -> str:
    """The text, or its beginning and `…` where it is wider than `room`."""
    if width(text) <= room:
        return text
    used, kept = 0, []
    for char in text:
        used += width(char)
        if used > room - 1:
            break
        kept.append(char)
    return "".join(kept) + "…" if room > 0 else ""


def lay_out(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], room: Optional[int]) -> list[Line]:
    """A line of titles and one per row. Columns in which no cell has anything are left out; `room` None: a pipe."""
    used = [i for i, column in enumerate(columns) if column.keep == 0 or any(row[i] for row in rows)]
    widths = {i: max(width(columns[i].title), *(_width(row[i]) for row in rows), 0) for i in used}
    if room is not None:
        used = _dropped(columns, used, widths, room)
        flexible = [i for i in used if columns[i].flexible]
        for i in flexible:
            others = sum(widths[j] + GAP for j in used if j != i)
            widths[i] = max(min(widths[i], room - others), min(columns[i].least, 8))
    titles = [cell(column.title, "2") for column in columns]
    return [_line(columns, used, widths, row, room is not None) for row in (titles, *rows)]


def _width(one: Cell) -> int:
    return sum(width(span.text) for span in one)


def _dropped(columns: Sequence[Column], used: list[int], widths: dict[int, int], room: int) -> list[int]:
    kept = list(used)
    while True:
        wanted = sum((min(widths[i], columns[i].least) if columns[i].flexible else widths[i]) + GAP for i in kept) - GAP
        droppable = [i for i in kept if columns[i].keep > 0]
        if wanted <= room or not droppable:
            return kept
        kept.remove(min(droppable, key=lambda i: columns[i].keep))


def _line(
    columns: Sequence[Column], used: Sequence[int], widths: dict[int, int], row: Sequence[Cell], narrow: bool
) -> Line:
    spans: list[Span] = []
    for place, i in enumerate(used):
        parts = _cut_cell(row[i], widths[i]) if narrow else row[i]
        padding = " " * max(0, widths[i] - _width(parts))
        last = place == len(used) - 1
        if columns[i].right:
            spans += [Span(padding), *parts]
        else:
            spans += [*parts, Span("" if last else padding)]
        if not last:
            spans.append(Span(" " * GAP))
    return tuple(span for span in spans if span.text)


def _cut_cell(one: Cell, room: int) -> Cell:
    if _width(one) <= room:
        return one
    parts = []
    for span in one:
        text = cut(span.text, room)
        parts.append(Span(text, span.style))
        room -= width(text)
        if room <= 0 or text != span.text:
            break
    return tuple(parts)


def paint(line: Line, colour: bool) -> str:
    """One line of text."""
    if not colour:
        return "".join(span.text for span in line).rstrip()
    return "".join(f"\x1b[{span.style}m{span.text}\x1b[0m" if span.style else span.text for span in line).rstrip()
