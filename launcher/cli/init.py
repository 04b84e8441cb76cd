"""`launch init [FOLDER]`: a first phase and a first profile that run as they are."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from launcher.cli import options
from launcher.cli.escapes import neutralise


@click.command("init")
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@options.json()
def command(folder: Path, as_json: bool) -> None:
    """Write jobs/hello.yaml, jobs/hello.py and cluster_profiles/workstation.yaml, which run as they are.

    What exists is never overwritten.
    """
    from launcher.operations.init import init

    started = init(folder)
    if as_json:
        said = {"folder": str(started.folder), "written": started.written, "left_alone": started.left_alone}
        click.echo(json.dumps(said))
        return
    for name in started.written:
        click.echo(f"wrote {name}")
    for name in started.left_alone:
        click.echo(f"left alone {name}: it is there already")
    where = "" if started.folder == Path.cwd() else f"cd {neutralise(shlex.quote(str(started.folder)))} && "
    click.echo(f"next: {where}launch submit hello --follow", err=True)
