"""`launch reconcile [JOBID]`: find what is gone without a word, and say what was lost and what can be done."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Optional

import click

from launcher.cli import options, words
from launcher.cli.escapes import plain
from launcher.cli.grid import Line, Span, cell
from launcher.cli.screen import say, show, stdout
from launcher.errors import LaunchError
from launcher.model.codec import encode
from launcher.model.names import show_tasks
from launcher.operations.reconcile import FINISHED, GOES_ON, LostAllocation, Reconciled, reconcile
from launcher.operations.status import newest
from launcher.operations.stores import known, resolve


@click.command("reconcile")
@options.jobid(required=False)
@options.json()
def command(jobid: Optional[str], as_json: bool) -> None:
    """Find allocations that are gone without a word and note that they are. Nothing that runs is ended."""
    if jobid is not None:
        found = resolve(jobid, Path.cwd())
        results = [reconcile(found.store, found.job)]
        failures: list[str] = []
    else:
        results, failures = _all()
    if as_json:
        data = {"jobs": [encode(one) for one in results], "problems": failures}
        sys.stdout.write(json.dumps(data) + "\n")
        return
    lines = [line for one in results for line in result_lines(one)]
    if lines:
        show(lines, stdout())
    elif not failures:
        say([cell(f"nothing is lost in {len(results)} job{'s' if len(results) != 1 else ''}", words.CALM)])
    say([(Span("? ", words.CARE), Span(plain(words_of))) for words_of in failures])


def _all() -> tuple[list[Reconciled], list[str]]:
    """Every known job; one that cannot be read keeps no other from being looked at."""
    results: list[Reconciled] = []
    failures: list[str] = []
    for store, job in newest(known(Path.cwd())):
        try:
            results.append(reconcile(store, job))
        except LaunchError as error:
            failures.append(f"{job}: {error}")
    return results, failures


def result_lines(found: Reconciled) -> list[Line]:
    """What is to be said of one job; nothing where all is well, or was said at an earlier time."""
    lines: list[Line] = []
    for allocation, native in found.adopted:
        lines.append(cell(f"  allocation {allocation} is {plain(native)}: its id had been lost", words.GOOD))
    for lost in found.lost:
        if lost.new:
            lines += _lost(lost)
    for left in found.leftovers:
        pids = ", ".join(str(process.pid) for process in left.processes)
        if left.supervisor is not None:
            lines.append(
                cell(f"  task {left.task} goes on with its supervisor, process {left.supervisor.pid}", words.CARE)
            )
        else:
            text = f"  task {left.task}: process {pids} goes on unwatched; to end it: launch cancel {found.job}:{left.task}"
            lines.append(cell(text, words.CARE))
    for unclear in found.unclear:
        lines.append(cell(f"  ? allocation {unclear.allocation}: {plain(unclear.why)}", words.CARE))
    settled = (GOES_ON, FINISHED)
    again = any(t.what not in settled for lost in found.lost if lost.new for t in lost.tasks)
    if again:
        lines.append(cell(f"  hint: launch retry {found.job} --failed", words.CALM))
    return [cell(found.job, words.STRONG), *lines] if lines else []


def _lost(lost: LostAllocation) -> list[Line]:
    native = f" ({plain(lost.native_id)})" if lost.native_id else ""
    lines: list[Line] = [
        (Span(f"  ✘ allocation {lost.allocation}{native} is lost", words.BAD), Span(f": {plain(lost.evidence)}"))
    ]
    by_words: dict[str, list[int]] = {}
    for task in lost.tasks:
        resumable = f"; it can go on from {plain(task.checkpoint)}" if task.checkpoint else ""
        by_words.setdefault(f"{task.what}{resumable}", []).append(task.task)
    for said, tasks in by_words.items():
        name = show_tasks(tasks)
        lines.append(cell(f"    {name}: {said}"))
    return lines
