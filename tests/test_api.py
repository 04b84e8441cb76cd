"""The verbs for Python, on real jobs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher import api
from launcher.cli import main as command_line
from tests.projects import project

SLOW = "command: [sleep, '60']\narray: [{n: 0}, {n: 1}]\nparams: {n: 0}\nbeat: 0.5\ngrace: 1\nresources: {cpus: 1}\n"
FAILS = 'command: [sh, -c, "echo attempt; exit 3"]\narray: [{n: 0}, {n: 1}]\nparams: {n: 0}\nbeat: 0.5\n'


@pytest.fixture
def root(odd_path: Path) -> Path:
    return project(odd_path / "project", slow=SLOW, fails=FAILS)


def test_every_verb_that_acts_on_jobs_has_its_function() -> None:
    typed = {"submit", "check", "status", "tail", "wait", "cancel", "retry", "reconcile"}
    assert typed <= {verb.name for verb in command_line.VERBS}, "these are the command line's own names"
    assert typed <= set(api.__all__)


def test_a_job_from_check_to_retry(root: Path) -> None:
    (checked,) = api.check("fails", folder=root)
    assert checked.tasks == (0, 1) and not checked.errors
    assert api.jobs(folder=root) == ()
    job = str(api.submit("fails", folder=root).jobs[0].job)
    assert api.wait(job, timeout=60, folder=root).outcome is api.Outcome.FAILED
    retried = api.retry(job, tasks=[1], folder=root)
    assert [again.task for again in retried.tasks] == [1]
    view = api.wait(job, timeout=60, folder=root)
    assert [task.attempt for task in view.tasks] == [1, 2]
    items = list(api.tail(job, tasks=[1], folder=root))
    assert [item.content for item in items if isinstance(item, api.Line)] == [b"attempt", b"attempt"]
    assert isinstance(items[-1], api.Finished)
    assert [one.job for one in api.jobs(folder=root)] == [job]
    assert api.reconcile(job, folder=root).job == job


def test_results_have_the_mode_that_the_submitters_shell_gives(odd_path: Path) -> None:
    """A lab's results are for its group; the records are their owner's alone."""
    root = project(odd_path / "project")
    before = os.umask(0o027)
    try:
        job = str(api.submit("collect", folder=root).jobs[0].job)
        assert api.wait(job, timeout=60, folder=root).outcome is api.Outcome.SUCCEEDED
    finally:
        os.umask(before)
    made = root / "states" / "data.txt"
    assert (made.stat().st_mode & 0o777, made.parent.stat().st_mode & 0o777) == (0o640, 0o750)
    attempt = root / ".launch" / "store" / "jobs" / job / "tasks" / "0000" / "01"
    ours = [path for path in attempt.iterdir() if path.name != "metrics.jsonl"]  # which the child made
    modes = {path.name: path.stat().st_mode & 0o077 for path in (attempt, *ours, root / ".launch")}
    assert not any(modes.values()), modes


def test_some_tasks_are_cancelled_and_the_others_go_on(root: Path) -> None:
    job = str(api.submit("slow", folder=root).jobs[0].job)
    try:
        api.cancel(job, tasks=[1], folder=root)
        outcomes = {task.index: task.outcome for task in api.status(job, folder=root).tasks}
        assert outcomes == {0: None, 1: api.Outcome.CANCELLED}
    finally:
        api.cancel(job, folder=root)
    assert api.status(job, folder=root).outcome is api.Outcome.CANCELLED
