"""Arguments and options that several verbs share, each with its completion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from launcher.cli import completion

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def jobid(**settings: Any) -> Callable[[Decorated], Decorated]:
    """The argument JOBID: our id, a prefix of it, the scheduler's id, a phase's name, or `last`."""
    return click.argument("jobid", shell_complete=completion.jobs, **settings)


def phase(name: str = "phase", **settings: Any) -> Callable[[Decorated], Decorated]:
    """The argument PHASE: the name of a file in `jobs/`."""
    return click.argument(name, shell_complete=completion.phases, **settings)


def profile(**settings: Any) -> Callable[[Decorated], Decorated]:
    """`--profile`: where to run."""
    text = settings.pop("help", "Where to run: a file in cluster_profiles/, or local.")
    return click.option("--profile", metavar="NAME", help=text, shell_complete=completion.profiles, **settings)


def json(**settings: Any) -> Callable[[Decorated], Decorated]:
    """`--json`, as the parameter `as_json`: JSON alone on stdout, errors too."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.", **settings)


def yes(help: str = "Do not ask.") -> Callable[[Decorated], Decorated]:
    """`-y`, `--yes`."""
    return click.option("-y", "--yes", is_flag=True, help=help)
