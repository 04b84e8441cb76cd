"""`launch profiles`: list them, show one with the origin of each value, print the JSON Schemas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, Optional

import click

from launcher.cli import completion, options
from launcher.cli.escapes import neutralise


@click.group("profiles", short_help="Show profiles, and where their values come from.")
def command() -> None:
    """Profiles say where to run: files in cluster_profiles/, and `local`, which needs none."""


@command.command("list")
@options.json()
def list_(as_json: bool) -> None:
    """All profiles that a submit here could name; * marks the one that it takes without --profile."""
    from launcher.operations import profiles

    found = profiles.listing(Path.cwd())
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found]))
        return
    rows = [("", "PROFILE", "EXECUTOR", "FILE", "")]
    for one in found:
        words = one.description if one.problem is None else f"cannot be used: {one.problem}"
        file = one.file or one.where
        if one.where == "shipped":
            file = "comes with launch"
        rows.append(("*" if one.chosen else "", one.name, one.executor or "?", file, words))
    _table(rows)


@command.command("show")
@click.argument("name", required=False, shell_complete=completion.profiles)
@click.option("--store", metavar="FOLDER", help="As if submitted with this store.")
@click.option("--workspace", metavar="FOLDER", help="As if submitted with this workspace.")
@options.json()
def show(name: Optional[str], store: Optional[str], workspace: Optional[str], as_json: bool) -> None:
    """Every value of a profile, and where it came from: flag, LAUNCH_* variable, file and line, or default."""
    from launcher.operations import profiles

    shown = profiles.show(Path.cwd(), name, {"store": store, "workspace": workspace})
    if as_json:
        values = {one.key: {"value": one.value, "origin": one.origin} for one in shown.values}
        click.echo(json.dumps({"profile": shown.name, "file": shown.file, "values": values}))
        return
    _table([("KEY", "VALUE", "FROM"), *((one.key, one.shown, one.origin) for one in shown.values)])


@command.command("schema")
@click.argument("kind", type=click.Choice(["phase", "profile"]))
@click.option("--json", "as_json", is_flag=True, hidden=True, help="It is JSON in any case.")
def schema(kind: Literal["phase", "profile"], as_json: bool) -> None:
    """The JSON Schema of a phase's or a profile's file, for editors."""
    from launcher.operations import profiles

    click.echo(json.dumps(profiles.schema_of(kind), indent=2, ensure_ascii=False))


def _table(rows: Sequence[Sequence[str]]) -> None:
    clean = [[neutralise(cell).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in clean) for column in range(len(clean[0]) - 1)]
    for row in clean:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())
