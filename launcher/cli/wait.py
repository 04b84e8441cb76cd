"""`launch wait JOBID`: until the job has ended; the exit code is its verdict."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Optional

import click

from launcher.cli import options
from launcher.errors import UsageError
from launcher.model.units import parse_time


@click.command("wait")
@options.jobid()
@click.option(
    "--timeout", metavar="TIME", default=None, help="Give up waiting after 90s, 30m, 2h, ... with exit code 101."
)
@options.json()
def command(jobid: str, timeout: Optional[str], as_json: bool) -> None:
    """Wait for the end of a job: 0 succeeded, 100 failed, 101 not finished in time, 103 cancelled."""
    from launcher.operations.stores import resolve
    from launcher.operations.wait import chosen, verdict, wait

    found = resolve(jobid, Path.cwd())
    view = wait(found.store, found.job, task=found.task, timeout=None if timeout is None else _seconds(timeout))
    if as_json:
        from launcher.cli.as_json import job_json

        sys.stdout.write(json.dumps(job_json(view)) + "\n")
    else:
        from launcher.cli.render_job import head
        from launcher.cli.screen import say

        say(head(view, time.time(), None))
    sys.exit(verdict(chosen(view, found.task)))


def _seconds(text: str) -> float:
    try:
        return parse_time(text)
    except ValueError as error:
        raise UsageError(f"--timeout {text!r}", came_back=str(error)) from None
