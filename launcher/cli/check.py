"""`launch check PHASE`: everything that a submit would look at, and nothing submitted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Optional

import click

from launcher.cli import options
from launcher.cli.escapes import neutralise
from launcher.errors import EXIT_DECISION, EXIT_ERROR, EXIT_FINE
from launcher.model.names import show_tasks


@click.command("check")
@options.phase("phases", nargs=-1, required=True)
@options.profile()
@click.option("--array", metavar="INDICES", help="Which tasks: 0-5, 0-10:2, 1,4,7.")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Override a parameter; may be repeated.")
@click.option("--smoke", is_flag=True, help="With the phase's small parameters.")
@options.json()
def command(
    phases: tuple[str, ...],
    profile: Optional[str],
    array: Optional[str],
    sets: tuple[str, ...],
    smoke: bool,
    as_json: bool,
) -> None:
    """Say what would stop a submit of these phases, and submit nothing.

    Exit code 0: nothing would; 1: an error; 4: earlier results are in the way, and a submit would ask.
    """
    from launcher.operations import check
    from launcher.operations.request import SubmitRequest

    request = SubmitRequest(phases=phases, folder=Path.cwd(), profile=profile, array=array, sets=sets, smoke=smoke)
    found = check.check(request)
    if as_json:
        click.echo(json.dumps({"phases": [_json(one) for one in found]}))
    for one in found if not as_json else ():
        state = "cannot be submitted" if one.errors else "would ask first" if one.undecided else "ready"
        click.echo(f"{one.phase} on {one.profile}: {state}, {show_tasks(one.tasks)} to run")
        for objection in one.objections:
            click.echo(neutralise(f"  {'error' if objection.fatal else 'warning'}: {objection.message}"))
            if objection.hint:
                click.echo(neutralise(f"    hint: {objection.hint}"))
        for line in one.results:
            click.echo(neutralise(f"  {line}"))
    errors = any(one.errors for one in found)
    sys.exit(EXIT_ERROR if errors else EXIT_DECISION if any(one.undecided for one in found) else EXIT_FINE)


def _json(one: Any) -> dict[str, Any]:
    from launcher.model.codec import encode

    found: dict[str, Any] = encode(one)
    return found
