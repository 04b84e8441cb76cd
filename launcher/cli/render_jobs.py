"""Jobs as a table: one line each, and under it what its watchdogs say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from launcher.cli import words
from launcher.cli.escapes import plain
from launcher.cli.grid import Cell, Column, Line, Span, cell, cut, lay_out
from launcher.model.outcome import State
from launcher.model.units import show_time
from launcher.model.view import JobView
from launcher.operations.status import Overview

JOBS = (
    Column("JOB"),
    Column("PHASE", keep=1),
    Column("NAME", keep=7),
    Column("WHERE", keep=2),
    Column("STATE"),
    Column("TASKS", keep=6),
    Column("PROGRESS", keep=8),
    Column("LEFT", right=True, keep=4),
    Column("AGE", right=True, keep=5),
    Column("COST", right=True, keep=9),
    Column("FINDINGS", keep=3, flexible=True, least=20),
)


def jobs_lines(found: Overview, now: float, room: Optional[int]) -> list[Line]:
    """A table, or one line that says that there is none."""
    if not found.jobs:
        return [cell(_fitted("no job was submitted from here yet; the first one: launch init", room), words.CALM)]
    lines = lay_out(JOBS, [_row(job, now, room) for job in found.jobs], room)
    more = [f"{found.older} older"] if found.older else []
    more += [f"{found.elsewhere} of other projects"] if found.elsewhere else []
    if more:
        lines.append(cell(_fitted(f"and {', '.join(more)}; all of them: launch status --all", room), words.CALM))
    return lines


def _fitted(text: str, room: Optional[int]) -> str:
    return text if room is None else cut(text, room)


def _row(job: JobView, now: float, room: Optional[int]) -> Sequence[Cell]:
    look = words.of_job(job)
    share = words.job_fraction(job) if job.state is not State.ENDED else None
    progress: list[Span] = []
    if share is not None:
        done, rest = words.bar(share, 8) if room is not None else ("", "")
        text = f" {int(share * 100):3d}%" if room is not None else f"{int(share * 100)}%"
        progress = [one for one in (Span(done, words.BUSY), Span(rest, words.CALM), Span(text)) if one.text]
    seconds = words.left(job) if job.state is not State.ENDED else None
    return (
        cell(plain(job.job), "" if job.state is State.ENDED else words.STRONG),
        cell(plain(job.phase) if not job.job.startswith(f"{job.phase}-") else "", words.CALM),
        cell(plain(job.name) if job.name != job.phase else ""),
        cell(plain(job.profile)),
        (Span(f"{look.sign} {look.word}", look.style), *_mark(job)),
        _counts(job),
        tuple(progress),
        cell(show_time(seconds) if seconds is not None else ""),
        cell(show_time(words.ago(job.submitted_at, now)), words.CALM),
        cell(words.cost(job.cost)),
        _findings(job),
    )


def _counts(job: JobView) -> Cell:
    if len(job.tasks) < 2:
        return ()
    spans: list[Span] = []
    for place, (number, look) in enumerate(words.counts(job)):
        spans += [Span(" ")] if place else []
        spans.append(Span(f"{look.sign}{number}", look.style))
    return tuple(spans)


def _mark(job: JobView) -> Cell:
    """A sign beside the state, which stays where the table is too narrow for the words."""
    if job.problems:
        return (Span(" ?", words.CARE),)
    mark = words.worst(tuple(one for task in job.tasks if task.state is not State.ENDED for one in task.findings))
    return () if mark is None or mark.word == "notice" else (Span(f" {mark.sign}", mark.style),)


def _findings(job: JobView) -> Cell:
    """The gravest of what the watchdogs say; records that cannot be read go before."""
    if job.problems:
        return cell(plain(job.problems[0]), words.CARE)
    found = [one for task in job.tasks if task.state is not State.ENDED for one in task.findings]
    for level in ("act", "warning"):
        for one in found:
            if one.level == level:
                look = words.LEVELS[level]
                return (Span(f"{look.sign} ", look.style), Span(plain(one.message)))
    return ()
