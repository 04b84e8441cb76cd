"""The streams as they are: whether they are terminals, how wide, whether colour is wanted; questions to a person."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

import click

from launcher.cli.grid import Line, paint


@dataclass(frozen=True)
class Screen:
    """`width` None: no terminal, so nothing is cut."""

    width: Optional[int]
    height: Optional[int]
    colour: bool


def stdout() -> Screen:
    """What stdout is."""
    if not sys.stdout.isatty():
        return Screen(None, None, False)
    size = shutil.get_terminal_size()
    return Screen(size.columns, size.lines, "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb")


def show(lines: Iterable[Line], screen: Screen) -> None:
    """Print lines on stdout."""
    sys.stdout.write("".join(f"{paint(line, screen.colour)}\n" for line in lines))


def say(lines: Iterable[Line]) -> None:
    """Print lines on stderr."""
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    sys.stderr.write("".join(f"{paint(line, colour)}\n" for line in lines))


def interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str) -> bool:
    """Ask on stderr; anything but a clear yes is no."""
    return click.confirm(question, default=False, err=True)
