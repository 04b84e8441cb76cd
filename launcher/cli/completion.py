"""What the shell may complete: phases, profiles, job ids. Lists folders only, and answers nothing rather than an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

import click

NEWEST = 50


def _quiet(found: Callable[[], Iterator[str]], incomplete: str) -> list[str]:
    try:
        return sorted({name for name in found() if name.startswith(incomplete)})
    except Exception:  # noqa: BLE001 - a word is being typed: there is nobody to tell
        return []


def phases(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The project's phases and the shipped ones."""
    return _quiet(lambda: _yaml_names("jobs"), incomplete)


def profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The project's profiles, the shipped ones, and `local`, which needs no file."""

    def found() -> Iterator[str]:
        yield "local"
        yield from _yaml_names("cluster_profiles")

    return _quiet(found, incomplete)


def jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Job ids of the known stores, newest first, and `last`."""
    try:
        from launcher.operations.status import newest
        from launcher.operations.stores import known

        found = ["last", *(job for _, job in newest(known(Path.cwd())))]
        return [name for name in found if name.startswith(incomplete)][:NEWEST]
    except Exception:  # noqa: BLE001 - as above
        return []


def _yaml_names(folder: str) -> Iterator[str]:
    here = _project(Path.cwd())
    package = Path(__file__).resolve().parent.parent
    for base in (here, package.parent, package / "shipped"):
        if base is None or not (base / folder).is_dir():
            continue
        for name in os.listdir(base / folder):
            stem, dot, end = name.rpartition(".")
            if dot and end in ("yaml", "yml"):
                yield stem


def _project(start: Path) -> Optional[Path]:
    """The nearest folder upward that looks like a project."""
    for folder in (start, *start.parents):
        if any((folder / name).exists() for name in ("launch.yaml", "jobs", ".git")):
            return folder
    return None
