"""One job as lines: how it stands, its tasks (grouped when they are many), what the watchdogs say, what cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from launcher.cli import words
from launcher.cli.escapes import plain
from launcher.cli.grid import Cell, Column, Line, Span, cell, cut, lay_out, width
from launcher.model.names import show_indices, show_tasks
from launcher.model.outcome import Outcome, State
from launcher.model.records import Finding
from launcher.model.units import show_time
from launcher.model.view import JobView, TaskView

MANY = 40  # tasks; from here on they are grouped
INTERESTING = 12  # tasks of a large job that are shown one by one
FINDINGS = 8
TASKS = (
    Column("TASK", right=True),
    Column("STATE"),
    Column("TRY", right=True, keep=2),
    Column("PROGRESS", keep=9),
    Column("TIME", right=True, keep=5),
    Column("LEFT", right=True, keep=8),
    Column("GPU", right=True, keep=6),
    Column("DISK", right=True, keep=4),
    Column("COST", right=True, keep=3),
    Column("LAST LINE", keep=1000, flexible=True, least=24),
)
GROUPS = (Column("STATE"), Column("TASKS", right=True), Column("WHICH", flexible=True))


def job_lines(
    job: JobView, now: float, room: Optional[int], *, everything: bool = False, rows: Optional[int] = None
) -> list[Line]:
    """`room`: columns, None for a pipe; `rows`: at most so many tasks."""
    lines = [*head(job, now, room), ()]
    many = not everything and len(job.tasks) > MANY
    shown = interesting(job)[:INTERESTING] if many else list(job.tasks)
    if many:
        lines += [*lay_out(GROUPS, _groups(job), room), ()]
    if rows is not None:
        shown = shown[: max(rows, 1)]
    if shown:
        lines += lay_out(TASKS, [_task(task, room) for task in shown], room)
        hidden = len(job.tasks if not many else interesting(job)) - len(shown)
        if hidden > 0:
            more = "more of these" if many else "more"
            text = f"  and {hidden} {more}; all of them: launch status {job.job} --all"
            lines.append(cell(_fitted(text, room, 0), words.CALM))
    lines += findings(job, room)
    lines += folders(job, room)
    lines += problems(job, room)
    return lines if room is None else [*lines, (), cell(cut(next_steps(job), room), words.CALM)]


def next_steps(job: JobView) -> str:
    """The commands that a person would look for now."""
    if job.state is not State.ENDED:
        return f"launch tail {job.job}    launch cancel {job.job}"
    if job.outcome is Outcome.SUCCEEDED:
        return f"launch tail {job.job}"
    return f"launch tail {job.job} --only failed    launch retry {job.job} --failed"


def head(job: JobView, now: float, room: Optional[int]) -> list[Line]:
    """Which job, where, and how it stands as a whole."""
    age = show_time(words.ago(job.submitted_at, now))
    smoke = f", smoke: {show_tasks(job.smoke)} with small parameters" if job.smoke else ""
    phase = "" if job.job.startswith(f"{job.phase}-") else f"{plain(job.phase)} "
    phase = phase if job.name in ("", job.phase) else f"“{plain(job.name)}” {phase}"
    title: Line = (
        Span(plain(job.job), words.STRONG),
        Span(f"  {phase}on {plain(job.profile)}, submitted {age} ago{smoke}", words.CALM),
    )
    look = words.of_job(job)
    state: list[Span] = [Span(f"{look.sign} {look.word}", f"{words.STRONG};{look.style}")]
    if len(job.tasks) > 1:
        state.append(Span("   "))
        for place, (number, one) in enumerate(words.counts(job)):
            state += [Span(" · ", words.CALM)] if place else []
            state.append(Span(f"{number:,} {one.word}", one.style))
    figures = _figures(job, room)
    if room is not None and sum(width(span.text) for span in (*state, *figures)) > room:
        return [title, tuple(state), figures[1:]]
    return [title, (*state, *figures)]


def _figures(job: JobView, room: Optional[int]) -> Line:
    """How far the job as a whole is, how long it will take, what it has cost; each after a gap."""
    found: list[Span] = []
    share = words.job_fraction(job)
    if share is not None and job.state is not State.ENDED:
        found += [Span("   "), *_bar(share, 20, room is not None)]
    seconds = words.left(job)
    if seconds is not None and job.state is not State.ENDED:
        found += [Span("   "), Span(f"{show_time(seconds)} left")]
    if job.cost is not None:
        found += [Span("   "), Span(words.cost(job.cost), words.STRONG)]
    return tuple(found)


def _bar(share: Optional[float], length: int, drawn: bool) -> Cell:
    if share is None:
        return ()
    figure = f"{int(share * 100):3d}%" if drawn else f"{int(share * 100)}%"
    if not drawn:
        return cell(figure)
    done, rest = words.bar(share, length)
    style = words.GOOD if share >= 1 else words.BUSY
    return tuple(span for span in (Span(done, style), Span(rest, words.CALM), Span(f" {figure}")) if span.text)


def interesting(job: JobView) -> list[TaskView]:
    """Of a large job: what failed, is silent, has findings or runs, in this order."""

    def order(task: TaskView) -> Optional[int]:
        if task.state is State.ENDED:
            return None if task.outcome in (Outcome.SUCCEEDED, Outcome.CANCELLED) else 0
        if task.silent is not None and task.state in words.HEARD:
            return 1
        if words.worst(task.findings) not in (None, words.LEVELS["notice"]):
            return 2
        return 3 if task.state not in (State.PENDING, State.SUBMITTED) else None

    ranked = [(place, task) for task in job.tasks if (place := order(task)) is not None]
    return [task for _, task in sorted(ranked, key=lambda one: (one[0], one[1].index))]


def _groups(job: JobView) -> list[Sequence[Cell]]:
    members: dict[str, list[int]] = {}
    looks: dict[str, words.Look] = {}
    for task in job.tasks:
        look = words.of_task(task)
        word = "silent" if look.word.startswith("silent") else look.word
        members.setdefault(word, []).append(task.index)
        looks.setdefault(word, look._replace(word=word))
    return [
        (cell(f"{looks[word].sign} {word}", looks[word].style), cell(f"{len(found):,}"), cell(show_indices(found)))
        for word, found in sorted(members.items(), key=lambda one: words.rank(looks[one[0]]))
    ]


def _task(task: TaskView, room: Optional[int]) -> Sequence[Cell]:
    look = words.of_task(task)
    mark = words.worst(task.findings)
    state = [Span(f"{look.sign} {look.word}", look.style)]
    if mark is not None and mark.word != "notice" and task.outcome is not Outcome.SUCCEEDED:
        state.append(Span(f" {mark.sign}", mark.style))
    stage = plain(task.progress.stage) if task.progress is not None and task.progress.stage else ""
    if task.state is State.ENDED:
        stage = ""
    share = words.fraction(task) if task.outcome is not Outcome.SUCCEEDED else None
    bar = list(_bar(share, 14 if room is None or room >= 120 else 8, room is not None))
    if stage and (room is None or room >= 100 or not bar):
        bar.append(Span(f" {cut(stage, 14)}" if bar else cut(stage, 14), words.CALM))
    seconds = task.progress.left if task.progress is not None and task.state is State.RUNNING else None
    elapsed = words.elapsed(task)
    return (
        cell(str(task.index)),
        tuple(state),
        cell(str(task.attempt) if task.attempt > 1 else ""),
        tuple(bar),
        cell(show_time(elapsed) if elapsed is not None else "", words.CALM),
        cell(show_time(seconds) if seconds is not None else ""),
        cell(words.gpus(task.gpus)),
        cell(words.percent(task.disk_used) if task.disk_used is not None else "", _disk_style(task.disk_used)),
        cell(words.cost(task.cost)),
        _last(task),
    )


def _disk_style(used: Optional[float]) -> str:
    return "" if used is None or used < 0.8 else words.CARE if used < 0.9 else words.BAD


def _last(task: TaskView) -> Cell:
    """Why it waits or how it ended; otherwise the last line of its log."""
    line = plain(task.last_line or "")
    why = plain(task.why or "")
    if task.silent is not None and task.state not in words.HEARD:
        why = f"its agent is silent since {show_time(task.silent)}{'; ' if why else ''}{why}"
    if task.outcome is Outcome.SUCCEEDED:
        return cell(line, words.CALM)
    if task.outcome is Outcome.FAILED and line and line not in why:
        return cell(f"{why}; {line}" if why else line)  # `exit code 1` alone answers no question
    if why and (task.state is not State.RUNNING or not line):
        return cell(why, "" if task.state is State.ENDED else words.CALM)
    return cell(f"{why}; {line}" if why else line)


def findings(job: JobView, room: Optional[int]) -> list[Line]:
    """What the watchdogs say now, the same words of several tasks once."""
    found: dict[tuple[str, str, str], tuple[Finding, list[int]]] = {}
    for task in job.tasks:
        for one in task.findings:
            found.setdefault((one.level, one.code, one.message), (one, []))[1].append(task.index)
    order = ("act", "warning", "notice")
    ranked = sorted(found.values(), key=lambda one: order.index(one[0].level) if one[0].level in order else 1)
    lines: list[Line] = [()] if ranked else []
    for one, tasks in ranked[:FINDINGS]:
        look = words.LEVELS.get(one.level, words.LEVELS["warning"])
        where = show_tasks(tasks)
        text = f"{plain(one.message)}"
        begin = f"{look.sign} {where}  "
        lines.append((Span(begin, look.style), Span(_fitted(text, room, width(begin)))))
        if one.hint:
            hint = f"{' ' * width(begin)}hint: {plain(one.hint)}"
            lines.append(cell(_fitted(hint, room, 0), words.CALM))
    if len(ranked) > FINDINGS:
        lines.append(
            cell(f"  and {len(ranked) - FINDINGS} more; all of them: launch status {job.job} --json", words.CALM)
        )
    return lines


def folders(job: JobView, room: Optional[int]) -> list[Line]:
    """Where evidence lies, and work that was not committed, but for what a finding names already. Never cut: they are there
    to be copied."""
    found: list[str] = []
    for task in job.tasks:
        said = " ".join(one.message for one in task.findings)
        if task.evidence is not None:
            found.append(f"task {task.index}  evidence: {plain(task.evidence)}")
        if task.outcome is not Outcome.SUCCEEDED:
            found += [f"task {task.index}  kept: {plain(folder)}" for folder in task.kept if folder not in said]
    lines: list[Line] = [()] if found else []
    lines += [cell(text) for text in found[:FINDINGS]]
    if len(found) > FINDINGS:
        more = f"  and {len(found) - FINDINGS} more folders; all of them: launch status {job.job} --json"
        lines.append(cell(_fitted(more, room, 0), words.CALM))
    return lines


def problems(job: JobView, room: Optional[int]) -> list[Line]:
    """Records that could not be read."""
    if not job.problems:
        return []
    begin = "? "
    return [(), *((Span(begin, words.CARE), Span(_fitted(plain(p), room, 2))) for p in job.problems)]


def _fitted(text: str, room: Optional[int], used: int) -> str:
    return text if room is None else cut(text, max(room - used, 8))
