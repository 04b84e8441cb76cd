"""`launch tail JOBID`: the logs of a job, all tasks in one stream. Ctrl-C detaches and never cancels."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Optional

import click

from launcher.cli import options
from launcher.cli.escapes import neutralise
from launcher.errors import EXIT_CANCELLED, EXIT_FAILED, EXIT_FINE, EXIT_NOT_FINISHED, UsageError
from launcher.model.outcome import Outcome, State
from launcher.model.units import TIME_FORMS, parse_time, show_time
from launcher.model.view import JobView
from launcher.operations.stores import Found, resolve
from launcher.operations.tail import Finished, Item, Line, Note, TailRequest, tail

COLOURS = (
    36,
    33,
    35,
    32,
    34,
    96,
    93,
    95,
    92,
    94,
)  # cyan, yellow, magenta, green, blue, and their bright forms; red means failure
LAST = 20


@click.command("tail")
@options.jobid(default="last")
@click.option("-f/-F", "--follow/--no-follow", default=None, help="Go on until the job ends (default on a terminal).")
@click.option("-n", "--lines", default=None, help=f"How many last lines of each task, or `all` (default {LAST}).")
@click.option("--since", default=None, help="Only what was written in the last 10m, 2h, ... or since 2026-11-20T22:00.")
@click.option("--grep", default=None, help="Only lines that match this regular expression.")
@options.tasks()
@click.option("--only", type=click.Choice(["failed", "running", "succeeded", "pending"]), default=None)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def command(
    jobid: str,
    follow: Optional[bool],
    lines: Optional[str],
    since: Optional[str],
    grep: Optional[str],
    tasks: Optional[str],
    only: Optional[str],
    as_json: bool,
) -> None:
    """Show and follow the logs of a job. The exit code is the job's verdict."""
    found = resolve(jobid, Path.cwd())
    chosen = options.indices(found.task, tasks)
    request = TailRequest(
        tasks=chosen,
        lines=_lines(lines, since),
        since=None if since is None else _moment(since),
        grep=grep,
        only=only,
        follow=sys.stdout.isatty() if follow is None else follow,
    )
    sys.exit(show(found, request, as_json=as_json))


def follow(found: Found) -> int:
    """What `submit --follow` does: everything from the first line on. Returns the exit code."""
    chosen = None if found.task is None else frozenset({found.task})
    return show(found, TailRequest(tasks=chosen))


def show(found: Found, request: TailRequest, *, as_json: bool = False) -> int:
    """Print the stream; the exit code is the verdict on the tasks that were asked for."""
    screen = _Screen(found, request, as_json)
    try:
        for item in tail(found.store, found.job, request):
            screen.show(item)
            if isinstance(item, Finished):
                return screen.verdict(item.job)
    except KeyboardInterrupt:
        screen.flush()
        screen.say(f"detached; the job goes on. Look again: launch tail {found.job}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_NOT_FINISHED


class _Screen:
    """Lines to stdout, notes to stderr. On a terminal, escapes other than colour are shown as text and a progress bar is
    its newest state; into a pipe every byte goes as it is."""

    def __init__(self, found: Found, request: TailRequest, as_json: bool) -> None:
        self.found = found
        self.request = request
        self.as_json = as_json
        self.terminal = sys.stdout.isatty()
        self.colour = self.terminal and "NO_COLOR" not in os.environ
        self.single = request.tasks is not None and len(request.tasks) == 1
        self.out = sys.stdout.buffer
        self.open_line: Optional[int] = None  # the task whose unfinished line stands at the end of the screen
        self.width = len(str(max(request.tasks))) if request.tasks else 1

    def show(self, item: Item) -> None:
        if isinstance(item, Line):
            self._line(item)
        elif isinstance(item, Note):
            where = "" if item.task is None else f"{self._name(item.task)}: "
            self.flush()
            self.say(f"{where}{item.text}")
        self.flush()

    def flush(self) -> None:
        self.out.flush()

    def say(self, text: str) -> None:
        if self.open_line is not None and self.terminal:
            self._write(b"\n")
            self.open_line = None
            self.flush()
        grey = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        shown = neutralise(text) if sys.stderr.isatty() else text
        sys.stderr.write(f"\x1b[2m{shown}\x1b[0m\n" if grey else f"{shown}\n")
        sys.stderr.flush()

    def _name(self, task: int) -> str:
        return f"{self.found.job}:{task}"

    def _write(self, content: bytes) -> None:
        self.out.write(content)

    def _line(self, line: Line) -> None:
        if self.as_json:
            if not line.bar:
                text = line.content.decode("utf-8", "replace")
                record: dict[str, Any] = {"task": line.task, "attempt": line.attempt, "line": text}
                if not line.ended:
                    record["unfinished"] = True
                self._write(json.dumps(record).encode() + b"\n")
            return
        if not self.terminal:
            self._plain(line)
            return
        text = neutralise(visible(line.content).decode("utf-8", "replace"))
        if self.open_line == line.task and not line.bar:
            self._write(text.encode() + (b"\n" if line.ended else b""))
        else:
            start = b"" if self.open_line is None else b"\n"
            self._write(start + (self._prefix(line) + text).encode() + (b"\n" if line.ended or line.bar else b""))
        self.open_line = None if line.ended or line.bar else line.task

    def _plain(self, line: Line) -> None:
        """Into a pipe: one task is its log byte for byte; several are whole lines behind a prefix."""
        if line.bar:
            return
        newline = b"\n" if line.ended else b""
        if self.single:
            self._write(line.content + newline)
            return
        start = b""
        if self.open_line is not None and self.open_line != line.task:
            start = b"\n"
        prefix = b"" if self.open_line == line.task else self._prefix(line).encode()
        self._write(start + prefix + line.content + newline)
        self.open_line = None if line.ended else line.task

    def _prefix(self, line: Line) -> str:
        if self.single:
            return ""
        again = f".{line.attempt}" if line.attempt > 1 else ""
        self.width = max(self.width, len(f"{line.task}{again}"))
        name = f"[{line.task}{again}]".ljust(self.width + 2)
        if not self.colour:
            return f"{name} "
        return f"\x1b[{COLOURS[line.task % len(COLOURS)]}m{name}\x1b[0m "

    def verdict(self, job: JobView) -> int:
        wanted = [t for t in job.tasks if self.request.tasks is None or t.index in self.request.tasks]
        self.flush()
        if any(t.state is not State.ENDED for t in wanted):
            return EXIT_NOT_FINISHED
        counts: dict[str, int] = {}
        for task in wanted:
            word = task.outcome.value if task.outcome is not None else "unknown"
            counts[word] = counts.get(word, 0) + 1
        ended = [t.ended_at for t in wanted if t.ended_at is not None]
        took = f" after {show_time(max(ended) - job.submitted_at)}" if ended else ""
        if not self.as_json:
            self.say(f"{job.job}: " + ", ".join(f"{n} {word}" for word, n in counts.items()) + took)
        outcomes = {t.outcome for t in wanted}
        if outcomes == {Outcome.SUCCEEDED}:
            return EXIT_FINE
        return EXIT_CANCELLED if outcomes <= {Outcome.SUCCEEDED, Outcome.CANCELLED} else EXIT_FAILED


def visible(content: bytes) -> bytes:
    """What a terminal would leave on the line after its carriage returns: the last part that is not empty."""
    parts = [part for part in content.split(b"\r") if part]
    return parts[-1] if parts else b""


def _lines(text: Optional[str], since: Optional[str]) -> Optional[int]:
    if text is None:
        return LAST if since is None else None
    if text == "all":
        return None
    if not text.isdecimal():
        raise UsageError(f"--lines {text!r} is no number", hint="valid: a number such as 100, or all")
    return int(text)


def _moment(text: str) -> float:
    """Seconds since 1970 from an age (`10m`) or a moment in ISO 8601 (local time where it names no zone)."""
    from datetime import datetime

    try:
        return time.time() - parse_time(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise UsageError(f"--since {text!r} is no time", hint=f"valid: {TIME_FORMS}, or 2026-11-20T22:00") from None
