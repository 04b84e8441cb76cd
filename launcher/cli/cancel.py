"""`launch cancel JOBID`: what would be lost first, then the question, then the end of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import click

from launcher.cli import options, words
from launcher.cli.escapes import plain
from launcher.cli.grid import Cell, Column, Line, Span, cell, lay_out
from launcher.cli.screen import confirm, interactive, say
from launcher.errors import EXIT_ERROR, EXIT_NOT_FINISHED, DecisionNeeded
from launcher.model.codec import encode
from launcher.model.names import show_tasks
from launcher.model.units import show_time
from launcher.operations.cancel import Cancelled, Loss, Preview, cancel, long_enough, preview
from launcher.operations.stores import resolve

SHOWN = 12
COLUMNS = (
    Column("TASK", right=True),
    Column("RUNNING", right=True),
    Column("PROGRESS", right=True),
    Column("COST", right=True, keep=1),
    Column("LAST CHECKPOINT", flexible=True),
)


@click.command("cancel")
@options.jobid()
@options.tasks()
@options.yes()
@click.option("--wait/--no-wait", default=True, help="Stay until everything has ended (default).")
@options.json()
def command(jobid: str, tasks: Optional[str], yes: bool, wait: bool, as_json: bool) -> None:
    """Stop a job, or some of its tasks. Results that are committed stay; so do checkpoints and logs."""
    found = resolve(jobid, Path.cwd())
    chosen = options.indices(found.task, tasks)
    losses = preview(found.store, found.job, chosen)
    if losses.nothing:
        _report(Cancelled(found.job, losses, False, 0, ()), as_json)
        return
    if not as_json:
        say(preview_lines(losses))
    if not yes:
        _ask(found.job, losses, as_json)
    wait_s = long_enough(found.store, found.job) if wait else None
    if wait and not as_json:
        say([cell("stopping; Ctrl-C leaves it to stop by itself", words.CALM)])
    ended = cancel(found.store, found.job, chosen, wait_s=wait_s)
    _report(ended, as_json)
    if ended.open and wait:
        sys.exit(EXIT_NOT_FINISHED)


def _ask(job: str, losses: Preview, as_json: bool) -> None:
    number = len(losses.running) + len(losses.waiting)
    what = f"{number} task{'s' if number != 1 else ''} of {job}"
    if as_json or not interactive():
        raise DecisionNeeded(f"cancel would stop {what}", left="nothing was stopped", hint=f"launch cancel {job} --yes")
    if not confirm(f"Stop {what}?"):
        say([cell("nothing was stopped")])
        sys.exit(EXIT_ERROR)


def preview_lines(losses: Preview) -> list[Line]:
    """What is lost, task by task, and in sum."""
    lines: list[Line] = []
    if losses.running:
        lines += lay_out(COLUMNS, [_row(loss) for loss in losses.running[:SHOWN]], None)
        if len(losses.running) > SHOWN:
            lines.append(cell(f"  and {len(losses.running) - SHOWN} more that run", words.CALM))
    if losses.waiting:
        lines.append(cell(f"not begun: {show_tasks(losses.waiting)}", words.CALM))
    if losses.ended:
        lines.append(cell(f"ended already, stays: {show_tasks(losses.ended)}", words.CALM))
    seconds = [loss.seconds for loss in losses.running if loss.seconds is not None]
    if seconds:
        total = f"{show_time(sum(seconds))} of running"
        price = f" and {words.cost(losses.cost)}" if losses.cost is not None else ""
        lines.append((Span(f"{total}{price} so far; ", words.STRONG), Span("what is newer than a checkpoint is lost")))
    return lines


def _row(loss: Loss) -> Sequence[Cell]:
    progress = loss.progress
    share = None
    if progress is not None and progress.step is not None and progress.total:
        share = progress.step / progress.total
    return (
        cell(str(loss.task)),
        cell(show_time(loss.seconds)),
        cell(words.percent(share)),
        cell(words.cost(loss.cost)),
        cell(plain(loss.checkpoint)) if loss.checkpoint else cell("none is known: it would begin again", words.CARE),
    )


def _report(done: Cancelled, as_json: bool) -> None:
    if as_json:
        data: dict[str, Any] = {
            "job": done.job,
            "requested": done.requested,
            "running": [loss.task for loss in done.preview.running],
            "waiting": list(done.preview.waiting),
            "ended": list(done.preview.ended),
            "losses": encode(done.preview.running),
            "cost": done.preview.cost,
            "killed_processes": done.killed,
            "open": list(done.open),
        }
        sys.stdout.write(json.dumps(data) + "\n")
        return
    number = f"{done.killed} process{'es' if done.killed > 1 else ''}"
    killed = f"; {number} that nobody watched {'were' if done.killed > 1 else 'was'} ended" if done.killed else ""
    if not done.requested:
        say([cell(f"nothing to stop in {done.job}: all of it has ended{killed}")])
    elif done.open:
        say([cell(f"asked to stop; {show_tasks(done.open)} still open{killed}: launch status {done.job}", words.CARE)])
    else:
        stopped = sorted((*(loss.task for loss in done.preview.running), *done.preview.waiting))
        say([cell(f"stopped {show_tasks(stopped)} of {done.job}{killed}")])
