"""The verbs for Python, on real jobs."""

from __future__ import annotations

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


def test_some_tasks_are_cancelled_and_the_others_go_on(root: Path) -> None:
    job = str(api.submit("slow", folder=root).jobs[0].job)
    try:
        api.cancel(job, tasks=[1], folder=root)
        outcomes = {task.index: task.outcome for task in api.status(job, folder=root).tasks}
        assert outcomes == {0: None, 1: api.Outcome.CANCELLED}
    finally:
        api.cancel(job, folder=root)
    assert api.status(job, folder=root).outcome is api.Outcome.CANCELLED
