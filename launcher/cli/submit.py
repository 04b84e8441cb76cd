"""`launch submit PHASE [PHASE...]`: start a phase, or a chain of phases."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from launcher.cli import options
from launcher.cli.escapes import neutralise
from launcher.errors import EXIT_DECISION, EXIT_ERROR, EXIT_FINE, LaunchError, UsageError
from launcher.model.names import show_tasks

if TYPE_CHECKING:
    from launcher.operations.plan import Plan, PlannedJob
    from launcher.operations.protect import Answer, Decision
    from launcher.operations.submit import Submitted, SubmittedJob


@click.command("submit")
@options.phase("phases", nargs=-1, required=True)
@options.profile()
@click.option("--array", metavar="INDICES", help="Which tasks: 0-5, 0-10:2, 1,4,7; 0-99%8 runs 8 at once.")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Override a parameter; may be repeated.")
@click.option("--pack", type=int, metavar="N", help="Tasks that share one allocation.")
@click.option("--name", metavar="TEXT", help="What to call the job in tables (default: the phase).")
@click.option("--budget", type=float, metavar="DOLLARS", help="Stop the job when it has cost this much.")
@click.option("--smoke", is_flag=True, help="A first try with the phase's small parameters.")
@click.option("--reuse", is_flag=True, help="Keep earlier results: run only tasks that have none.")
@click.option("--rerun", is_flag=True, help="Make results again; the old ones are set aside, never deleted.")
@click.option("--dry-run", is_flag=True, help="Print everything that would be sent, and send nothing.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="With --dry-run: write the exact text to a file.")
@click.option("-f", "--follow", is_flag=True, help="Show the logs until the job ends; exit with its verdict.")
@options.yes("Do not ask before spending. Never means to make results again: that is --rerun.")
@options.json()
def command(
    phases: tuple[str, ...],
    profile: Optional[str],
    array: Optional[str],
    sets: tuple[str, ...],
    pack: Optional[int],
    name: Optional[str],
    budget: Optional[float],
    smoke: bool,
    reuse: bool,
    rerun: bool,
    dry_run: bool,
    output: Optional[Path],
    follow: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Start a phase, or a chain of phases, each as one job.

    The code is taken along as it is now. Results that exist already are reused where nothing changed; where something
    did, you are asked.
    """
    if output is not None and not dry_run:
        raise UsageError("-o writes what --dry-run prints", hint="add --dry-run")
    if follow and (dry_run or as_json):
        raise UsageError(f"--follow does not go with {'--dry-run' if dry_run else '--json'}")
    from launcher.operations.request import SubmitRequest

    request = SubmitRequest(
        phases=phases,
        folder=Path.cwd(),
        profile=profile,
        array=array,
        sets=sets,
        pack=pack,
        name=name,
        budget=budget,
        smoke=smoke,
        yes=yes,
        reuse=reuse,
        rerun=rerun,
    )
    if dry_run:
        from launcher.operations.plan import plan

        sys.exit(_show_plan(plan(request), output, as_json))
    from launcher.operations.submit import submit

    asking = None if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()) else _ask
    done = submit(request, asking)
    if as_json:
        click.echo(json.dumps(_json(done)))
        return
    for job in done.jobs:
        _show(job)
    _show_following(done)
    if follow:
        sys.exit(_follow(done))


def _ask(phase: str, undecided: tuple[Decision, ...]) -> Answer:
    """A or B, on the terminal. No answer is no decision."""
    from launcher.operations import explain

    for line in explain.decisions(phase, undecided, time.time()):
        _say(line)
    _say("  A  keep what exists")
    _say("  B  make it again; the old is set aside under a dated name")
    letter = click.prompt("A or B", type=click.Choice(["A", "B"], case_sensitive=False), err=True, show_choices=False)
    return "reuse" if letter.upper() == "A" else "rerun"


def _show(job: SubmittedJob) -> None:
    """The job's id alone is data; what there is to know about it goes to stderr."""

    for warning in job.warnings:
        _say(f"warning: {warning}")
    if job.reused:
        reused = sorted({decision.reason for decision in job.reused})
        _say(f"{job.phase}: reused {show_tasks([one.task for one in job.reused])}: {'; '.join(reused)}")
    if job.job is None:
        _say(f"{job.phase}: nothing to run, so nothing was submitted")
        return
    click.echo(job.job)
    _say(f"  tasks    {show_tasks(job.tasks)} ({len(job.tasks)})")
    _say(f"  where    {job.profile} ({job.executor}), {job.store}")
    if job.after:
        _say(f"  after    {', '.join(job.after)}")
    if job.smoke:
        _say(f"  smoke    {show_tasks(job.smoke)} with the phase's small parameters{_why_small(job)}")
    _say(f"  log      launch tail {job.job}")


def _why_small(job: SubmittedJob) -> str:
    reasons = list(dict.fromkeys(job.reduced.values()))
    return f", because here each {reasons[0]}" if len(reasons) == 1 else ", for lack of GPUs here" if reasons else ""


def _show_following(done: Submitted) -> None:
    if done.following:
        _say(f"next: launch submit {' '.join(done.following)}")


def _follow(done: Submitted) -> int:
    """The logs of each job in turn; the first verdict that is not fine is the command's."""
    from launcher.cli.tail import follow
    from launcher.operations.stores import Found
    from launcher.store.folder import FolderStore

    codes = [follow(Found(FolderStore(job.store), job.job)) for job in done.jobs if job.job is not None]
    return next((code for code in codes if code != EXIT_FINE), EXIT_FINE)


def _show_plan(planned: Plan, output: Optional[Path], as_json: bool) -> int:
    """Everything, as it would be sent; the exit code is the one that the submit would have."""
    text = "".join(job.submission.text.rstrip("\n") + "\n" for job in planned.jobs if job.submission is not None)
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise LaunchError(f"writing {output}", came_back=error.strerror or str(error)) from None
    if as_json:
        click.echo(json.dumps({"dry_run": True, "jobs": [_planned_json(job) for job in planned.jobs]}))
    else:
        for job in planned.jobs:
            _show_planned(job)
        if output is None:
            click.echo(neutralise(text), nl=False)
        else:
            _say(f"the exact text is in {output}")
        _say("nothing was submitted")
    if any(objection.fatal for job in planned.jobs for objection in job.objections):
        return EXIT_ERROR
    return EXIT_DECISION if any(job.undecided for job in planned.jobs) else EXIT_FINE


def _show_planned(job: PlannedJob) -> None:
    from launcher.operations import explain

    spec = job.spec
    if job.submission is None:
        _say(f"{spec.phase}: every task is reused")
    else:
        _say(
            f"{spec.phase}: {show_tasks([t.index for t in spec.tasks])} on {spec.place.profile} ({spec.place.executor})"
        )
        _say(f"  code     {spec.code.kind} {spec.code.hash[:12]}, {len(job.code.entries)} files")
        if spec.after:
            _say(f"  after    {', '.join(spec.after)}")
        if spec.smoke:
            _say(f"  smoke    {show_tasks(spec.smoke)}")
    now = time.time()
    for line in explain.decisions(spec.phase, [d for d in job.decisions if d.existing], now):
        _say(line)
    for objection in job.objections:
        _say(f"{'error' if objection.fatal else 'warning'}: {objection.message}")
        if objection.hint:
            _say(f"hint: {objection.hint}")


def _planned_json(job: PlannedJob) -> dict[str, Any]:
    from launcher.model.codec import encode

    return {
        "spec": encode(job.spec),
        "packing": encode(job.packing),
        "text": job.submission.text if job.submission is not None else None,
        "files": len(job.code.entries),
        "decisions": [encode(decision) for decision in job.decisions],
        "objections": [encode(objection) for objection in job.objections],
    }


def _json(done: Submitted) -> dict[str, Any]:
    from launcher.model.codec import encode

    jobs = []
    for job in done.jobs:
        found = {**encode(job), "job": job.job, "store": str(job.store)}
        found["reused"] = [encode(decision) for decision in job.reused]
        jobs.append(found)
    return {"jobs": jobs, "following": list(done.following)}


def _say(text: str) -> None:
    click.echo(neutralise(text), err=True)
