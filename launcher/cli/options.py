"""Arguments and options that several verbs share, each with its completion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional, TypeVar

import click

from launcher.cli import completion
from launcher.errors import UsageError

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


def tasks(text: str = "Only these tasks: 0-5, 1,4,7.") -> Callable[[Decorated], Decorated]:
    """`--tasks`: an array expression; see `indices`."""
    return click.option("--tasks", metavar="INDICES", default=None, help=text)


def indices(task: Optional[int], text: Optional[str]) -> Optional[frozenset[int]]:
    """The tasks that are meant by a JOBID's own task and by `--tasks`; None: all. Raises UsageError."""
    if text is None:
        return None if task is None else frozenset({task})
    if task is not None:
        raise UsageError(f"the JOBID names task {task}, and --tasks {text} names others", hint="give one of the two")
    from launcher.model.names import parse_array

    try:
        return frozenset(parse_array(text).indices)
    except ValueError as error:
        raise UsageError(f"--tasks {text!r}", came_back=str(error)) from None
