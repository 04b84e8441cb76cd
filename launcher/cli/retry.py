"""`launch retry JOBID`: new attempts of tasks that ended, each from its last checkpoint."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Optional

import click

from launcher.cli import options, words
from launcher.cli.escapes import plain
from launcher.cli.grid import Cell, Column, cell, lay_out
from launcher.cli.screen import say, show, stdout
from launcher.errors import UsageError
from launcher.model.outcome import Outcome, State
from launcher.operations.retry import Again, retry
from launcher.operations.stores import resolve

COLUMNS = (Column("TASK", right=True), Column("ATTEMPT", right=True), Column("ENDED"), Column("FROM", flexible=True))
SHOWN = 20


@click.command("retry")
@options.jobid()
@options.tasks("These tasks: 0-5, 1,4,7.")
@click.option("--failed", is_flag=True, help="All tasks that ended and did not succeed (the default).")
@options.json()
def command(jobid: str, tasks: Optional[str], failed: bool, as_json: bool) -> None:
    """Run tasks again, with the code and parameters of their job, from their last checkpoint."""
    found = resolve(jobid, Path.cwd())
    chosen = options.indices(found.task, tasks)
    if failed and chosen is not None:
        raise UsageError("--failed names all tasks that did not succeed", hint="leave it out to retry the named tasks")
    done = retry(found.store, found.job, chosen)
    if as_json:
        data = {
            "job": done.job,
            "tasks": [
                {
                    "task": one.task,
                    "last_attempt": one.attempt,
                    "outcome": one.outcome.value if one.outcome is not None else None,
                    "checkpoint": one.checkpoint,
                }
                for one in done.tasks
            ],
            "native_ids": done.native_ids,
        }
        sys.stdout.write(json.dumps(data) + "\n")
        return
    screen = stdout()
    show(lay_out(COLUMNS, [_row(one) for one in done.tasks[:SHOWN]], screen.width), screen)
    if len(done.tasks) > SHOWN:
        say([cell(f"  and {len(done.tasks) - SHOWN} more", words.CALM)])
    say([(), cell(f"launch tail {done.job}    launch status {done.job}", words.CALM)])


def _row(one: Again) -> tuple[Cell, ...]:
    ended = words.of_state(State.ENDED, one.outcome)
    return (
        cell(str(one.task)),
        cell(str(one.attempt + 1)),
        cell(f"{ended.sign} {ended.word}", ended.style),
        _from(one),
    )


def _from(one: Again) -> Cell:
    """The node decides, by what lies there when the attempt begins. Of one that nobody saw end, more may lie there."""
    if one.attempt == 0:
        return cell("the beginning", words.CALM)
    if one.checkpoint is None:
        return cell("its newest checkpoint, if there is one", words.CALM)
    unseen = one.outcome in (Outcome.NODE_LOST, Outcome.UNKNOWN)
    return cell(plain(one.checkpoint) + (", or a newer one" if unseen else ""))
