"""`launch status [JOBID]`: the project's jobs, newest first, or one job with its tasks."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import click

from launcher.cli import options
from launcher.cli.grid import Line
from launcher.cli.screen import Screen, show, stdout
from launcher.errors import UsageError
from launcher.model.outcome import State
from launcher.model.view import JobView

NEWEST = 20
EVERY = 1.0  # seconds between two looks of --watch


@click.command("status")
@options.jobid(required=False)
@click.option("-w", "--watch", is_flag=True, help="Look again and again, until the job has ended.")
@click.option("-a", "--all", "everything", is_flag=True, help="Every job of every project; with a JOBID every task.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=1), default=None, help=f"So many jobs or tasks (default {NEWEST} jobs)."
)
@options.json()
def command(jobid: Optional[str], watch: bool, everything: bool, lines: Optional[int], as_json: bool) -> None:
    """Show where jobs stand. JOBID is an id, the beginning of one, a phase's name, or last."""
    if watch and (as_json or not sys.stdout.isatty()):
        raise UsageError(
            "--watch draws on a terminal", hint="launch wait JOBID, or launch status --json again and again"
        )
    look = _one(jobid, everything, lines) if jobid is not None else _several(everything, lines)
    if watch:
        _watch(look)
        return
    page = look(stdout())
    if as_json:
        sys.stdout.write(json.dumps(page.data(), ensure_ascii=True) + "\n")
    else:
        screen = stdout()
        show(page.lines(screen), screen)


class Page:
    """What one look found: as data and as lines; `over` where nothing more will happen."""

    def __init__(self, data: Callable[[], Any], lines: Callable[[Screen], list[Line]], over: bool) -> None:
        self.data = data
        self.lines = lines
        self.over = over


def _one(jobid: str, everything: bool, limit: Optional[int]) -> Callable[[Screen], Page]:
    from launcher.operations.status import status
    from launcher.operations.stores import resolve

    found = resolve(jobid, Path.cwd())

    def look(_: Screen) -> Page:
        from launcher.cli.as_json import job_json
        from launcher.cli.render_job import job_lines

        job = status(found.store, found.job)
        if found.task is not None:
            job = only(job, found.task)

        def lines(screen: Screen) -> list[Line]:
            return job_lines(job, time.time(), screen.width, everything=everything, rows=limit)

        return Page(lambda: job_json(job), lines, job.state is State.ENDED)

    return look


def only(job: JobView, task: int) -> JobView:
    """The job as if it had this task alone."""
    from launcher.model.fold import job_outcome, job_state

    tasks = tuple(one for one in job.tasks if one.index == task)
    state = job_state(tasks)
    return replace(job, tasks=tasks, state=state, outcome=job_outcome(tasks) if state is State.ENDED else None)


def _several(everything: bool, limit: Optional[int]) -> Callable[[Screen], Page]:
    def look(_: Screen) -> Page:
        from launcher.cli.as_json import job_json
        from launcher.cli.render_jobs import jobs_lines
        from launcher.operations.status import overview

        found = overview(Path.cwd(), None if everything else limit or NEWEST, everywhere=everything)

        def lines(screen: Screen) -> list[Line]:
            return jobs_lines(found, time.time(), screen.width)

        return Page(
            lambda: {
                "jobs": [job_json(job) for job in found.jobs],
                "older": found.older,
                "elsewhere": found.elsewhere,
            },
            lines,
            all(job.state is State.ENDED for job in found.jobs),
        )

    return look


def _watch(look: Callable[[Screen], Page]) -> None:
    """Redraw in place; what is left on the screen is the last look."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from launcher.cli.grid import paint

    console = Console()
    page = look(stdout())
    with Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop") as live:
        while not page.over:
            screen = stdout()
            lines = page.lines(screen)[: max((screen.height or 24) - 1, 1)]
            live.update(
                Text.from_ansi("\n".join(paint(line, screen.colour) for line in lines), no_wrap=True), refresh=True
            )
            time.sleep(EVERY)
            page = look(screen)
    screen = stdout()
    show(page.lines(screen), screen)
