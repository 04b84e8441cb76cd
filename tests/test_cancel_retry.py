"""Cancel, retry and reconcile on real jobs: in order, after a kill of the agent, after a reboot, twice at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.errors import NotFound, Refused
from launcher.executors import registry
from launcher.executors.local import LocalExecutor, Options
from launcher.model import codec
from launcher.model.outcome import Outcome, State
from launcher.model.phase import Checkpoints, Resources
from launcher.model.records import SCHEMA, AgentView, Event, Order, StopRequest
from launcher.operations import reconcile as reconciling
from launcher.operations.cancel import cancel, long_enough, preview
from launcher.operations.gather import gather
from launcher.operations.reconcile import reconcile
from launcher.operations.retry import retry
from launcher.operations.signature import who
from launcher.store import keys, records
from tests.local_jobs import DEADLINE_S, Job, gone, job, of_job, sh
from tests.waiting import until

REPOSITORY = Path(__file__).parent.parent


def kill(one: Job, *pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        until(lambda p=pid: gone(p), DEADLINE_S, f"the end of {pid}")  # type: ignore[misc]


def outcomes(one: Job) -> dict[int, Outcome | None]:
    return {task.index: task.outcome for task in gather(one.store, one.name).tasks}


# --- cancel -------------------------------------------------------------------------------------------------------------------


def test_cancel_says_first_what_would_be_lost_and_leaves_no_process(tmp_path: Path) -> None:
    rules = Checkpoints(path="states", pattern="step_*.json")
    text = "mkdir -p states; echo {} >states/step_1.json; sleep 60 & sleep 60"
    one = job(tmp_path, sh(text), tasks=2, options=Options(cpus=1), checkpoints=rules)
    one.submit()
    one.claim()
    until(
        lambda: preview(one.store, one.name).running and preview(one.store, one.name).running[0].seconds, 20, one.story
    )
    found = preview(one.store, one.name)
    assert ([loss.task for loss in found.running], found.waiting, found.ended) == ([0], (1,), ())
    assert preview(one.store, one.name, {1}).running == ()
    done = cancel(one.store, one.name, wait_s=long_enough(one.store, one.name))
    assert (done.requested, done.open) == (True, ()), one.story()
    assert outcomes(one) == {0: Outcome.CANCELLED, 1: Outcome.CANCELLED}
    assert not of_job(one.name)
    again = cancel(one.store, one.name)
    assert (again.requested, again.preview.nothing) == (False, True)
    (only,) = one.store.names(keys.stops(one.name))
    assert records.read(one.store, StopRequest, f"{keys.stops(one.name)}/{only}") is not None


def test_cancel_of_a_job_or_task_that_is_not_there(tmp_path: Path) -> None:
    one = job(tmp_path, sh("true"))
    with pytest.raises(NotFound, match="no task 5"):
        cancel(one.store, one.name, {5})
    with pytest.raises(NotFound, match="job nobody-2222 is not in"):
        preview(one.store, "nobody-2222")


def test_cancel_ends_what_agent_and_supervisor_left_when_both_were_killed(tmp_path: Path) -> None:
    one = job(tmp_path, sh("trap '' TERM; setsid sleep 60 & sleep 60"))
    one.submit()
    claim = one.claim()
    kill(one, one.agent(), claim.supervisor.pid)
    assert not gone(claim.child.pid)
    done = cancel(one.store, one.name)
    assert done.killed >= 2
    assert done.open == ()
    assert not of_job(one.name)


def test_cancel_of_a_job_whose_agent_was_killed_leaves_the_rest_to_the_supervisor(tmp_path: Path) -> None:
    one = job(tmp_path, sh("sleep 60"), tasks=2, options=Options(cpus=1))
    one.submit()
    one.claim()
    kill(one, one.agent())
    done = cancel(one.store, one.name, wait_s=20)
    assert done.open == (), one.story()
    assert one.exit().outcome is Outcome.CANCELLED
    until(lambda: not of_job(one.name), DEADLINE_S, lambda: f"the end of {of_job(one.name)}")


def test_an_agent_that_hangs_is_ended_after_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "create", lambda place: LocalExecutor(Options(), patience=0.5))
    one = job(tmp_path, sh("trap '' TERM; sleep 60"))
    one.submit()
    claim = one.claim()
    agent = one.agent()
    for pid in (agent, claim.supervisor.pid):
        os.kill(pid, signal.SIGSTOP)
    done = cancel(one.store, one.name, wait_s=1.0)
    assert done.requested
    until(lambda: not of_job(one.name), DEADLINE_S, lambda: f"the end of {of_job(one.name)}")


# --- retry --------------------------------------------------------------------------------------------------------------------


def test_retry_runs_what_failed_again_and_refuses_what_succeeded(tmp_path: Path) -> None:
    one = job(tmp_path, sh('test "$LAUNCH_TASK" = 0 || test "$LAUNCH_ATTEMPT" = 2'), tasks=3)
    one.submit()
    assert one.outcomes() == {0: Outcome.SUCCEEDED, 1: Outcome.FAILED, 2: Outcome.FAILED}
    with pytest.raises(Refused, match="task 0 succeeded"):
        retry(one.store, one.name, {0, 1})
    done = retry(one.store, one.name)
    assert [(again.task, again.attempt, again.outcome) for again in done.tasks] == [
        (1, 1, Outcome.FAILED),
        (2, 1, Outcome.FAILED),
    ]
    assert list(done.native_ids) == ["a1"]
    assert one.outcomes("a1") == {1: Outcome.SUCCEEDED, 2: Outcome.SUCCEEDED}
    with pytest.raises(Refused, match="all of its tasks succeeded"):
        retry(one.store, one.name)
    with pytest.raises(NotFound):
        retry(one.store, one.name, {9})
    kinds = [event.kind for event in records.read_events(one.store, one.name)]
    assert kinds == ["allocated", "retried", "allocated"]


def test_retry_of_a_cancelled_task_is_not_stopped_by_the_old_request(tmp_path: Path) -> None:
    one = job(tmp_path, sh('test "$LAUNCH_ATTEMPT" = 2 || exec sleep 60'))
    one.submit()
    one.claim()
    with pytest.raises(Refused, match="task 0 has not ended"):
        retry(one.store, one.name)
    with pytest.raises(Refused, match="task 0 has not ended"):
        retry(one.store, one.name, {0})
    cancel(one.store, one.name, wait_s=20)
    retry(one.store, one.name)
    assert one.outcomes("a1") == {0: Outcome.SUCCEEDED}


def test_retry_waits_for_the_proof_that_the_child_is_gone(tmp_path: Path) -> None:
    one = job(tmp_path, sh('test "$LAUNCH_ATTEMPT" = 2 || exec sleep 60'))
    one.submit()
    claim = one.claim()
    kill(one, one.agent(), claim.supervisor.pid)
    with pytest.raises(Refused) as raised:
        retry(one.store, one.name, {0})
    assert f"{claim.child.pid}" in str(raised.value) or "has not ended" in str(raised.value)
    assert records.allocations(one.store, one.name) == ["a0"]
    kill(one, claim.child.pid)
    retry(one.store, one.name)
    assert one.outcomes("a1") == {0: Outcome.SUCCEEDED}


def test_two_retries_at_once_start_one_attempt(tmp_path: Path) -> None:
    one = job(tmp_path, sh('test "$LAUNCH_ATTEMPT" != 1'))
    one.submit()
    one.ended()
    text = (
        "import sys; from pathlib import Path; from launcher.operations.retry import retry;"
        "from launcher.store.folder import FolderStore; retry(FolderStore(Path(sys.argv[1])), sys.argv[2])"
    )
    command = [sys.executable, "-c", text, str(one.store.root), one.name]
    both = [subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=30)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], errors
    assert one.outcomes("a1") == {0: Outcome.SUCCEEDED}
    assert records.attempts(one.store, one.name, 0) == [1, 2]


# --- reconcile ----------------------------------------------------------------------------------------------------------------


def test_after_a_kill_of_everything_reconcile_shows_what_was_lost_and_retry_runs_it(tmp_path: Path) -> None:
    text = 'test "$LAUNCH_TASK" = 0 || test "$LAUNCH_ATTEMPT" != 1 || test "$LAUNCH_TASK" = 2 || exec sleep 60'
    one = job(tmp_path, sh(text), tasks=3, options=Options(cpus=1))
    one.submit()
    claim = one.claim(1)
    kill(one, one.agent(), claim.supervisor.pid, claim.child.pid)
    until(lambda: not of_job(one.name), DEADLINE_S, "the end of all")
    found = reconcile(one.store, one.name)
    (lost,) = found.lost
    assert lost.new and "has ended" in lost.evidence
    assert [(task.task, task.attempt, task.what) for task in lost.tasks] == [
        (0, 1, reconciling.FINISHED),
        (1, 1, reconciling.ATTEMPT_LOST),
        (2, 0, reconciling.NEVER_STARTED),
    ]
    assert found.leftovers == () and found.unclear == ()
    again = reconcile(one.store, one.name)
    assert again == replace(found, lost=(replace(lost, new=False),)), "the same the second time, and nothing new"
    assert [e.kind for e in records.read_events(one.store, one.name)].count("reconciled") == 1
    assert outcomes(one) == {0: Outcome.SUCCEEDED, 1: Outcome.NODE_LOST, 2: Outcome.NODE_LOST}
    retry(one.store, one.name)
    assert one.outcomes("a1") == {1: Outcome.SUCCEEDED, 2: Outcome.SUCCEEDED}
    assert outcomes(one) == dict.fromkeys(range(3), Outcome.SUCCEEDED)


def test_reconcile_shows_what_still_runs_and_ends_nothing(tmp_path: Path) -> None:
    one = job(tmp_path, sh("exec sleep 60"), tasks=2, options=Options(cpus=2))
    one.submit()
    first, second = one.claim(0), one.claim(1)
    kill(one, one.agent(), second.supervisor.pid)
    found = reconcile(one.store, one.name)
    assert [task.what for task in found.lost[0].tasks] == [reconciling.GOES_ON] * 2
    by_task = {left.task: left for left in found.leftovers}
    assert by_task[0].supervisor == first.supervisor
    assert by_task[1].supervisor is None
    assert [process.pid for process in by_task[1].processes] == [second.child.pid]
    assert not gone(first.child.pid) and not gone(second.child.pid)
    cancel(one.store, one.name, wait_s=20)
    assert not of_job(one.name)
    assert reconcile(one.store, one.name).leftovers == ()


def test_a_reboot_is_told_by_the_boot_id(tmp_path: Path) -> None:
    """The native id and the view of an agent of an earlier boot, with pids that may be anybody's now."""
    one = job(tmp_path, sh("true"), resources=(Resources(),))
    one.store.create(keys.order(one.name, "a0"), codec.dump(Order(SCHEMA, "a0", one.name, (0,), time.time(), who())))
    here = os.uname().nodename
    data = {"native_ids": {"a0": f"{here}/{os.getpid()}@17.00000000"}}
    one.store.create(keys.event(one.name, 1.0, "x"), codec.dump(Event(SCHEMA, "allocated", 1.0, "me", data)))
    (lost,) = reconcile(one.store, one.name).lost
    assert lost.evidence == f"{here} was rebooted since"
    assert [task.what for task in lost.tasks] == [reconciling.NEVER_STARTED]
    retry(one.store, one.name)
    assert one.outcomes("a1") == {0: Outcome.SUCCEEDED}


def test_what_cannot_be_asked_changes_nothing(tmp_path: Path) -> None:
    """An allocation of another host: nothing is known of it from here, whatever its age."""
    one = job(tmp_path, sh("true"))
    order = Order(SCHEMA, "a0", one.name, (0,), 1.0, "me@another-host")
    one.store.create(keys.order(one.name, "a0"), codec.dump(order))
    data = {"native_ids": {"a0": "another-host/17@17.0a0b0c0d"}}
    one.store.create(keys.event(one.name, 1.0, "x"), codec.dump(Event(SCHEMA, "allocated", 1.0, "me", data)))
    found = reconcile(one.store, one.name)
    assert found.lost == () and [unclear.allocation for unclear in found.unclear] == ["a0"]
    assert records.read_released(one.store, one.name, "a0") is None
    with pytest.raises(Refused):
        retry(one.store, one.name)


def test_a_submit_that_died_before_it_noted_the_id_is_adopted(tmp_path: Path) -> None:
    one = job(tmp_path, sh("sleep 60"))
    granted = one.submit()
    one.claim()
    (event,) = one.store.names(keys.events(one.name))
    one.store.remove(f"{keys.events(one.name)}/{event}")
    assert reconcile(one.store, one.name).adopted == (("a0", granted.native_id),)
    assert reconcile(one.store, one.name).adopted == ()
    cancel(one.store, one.name, wait_s=20)


def test_a_submit_that_died_before_it_started_anything(tmp_path: Path) -> None:
    """A young order may be a submit in progress; an old one of this host, with no process to its name, is lost."""
    one = job(tmp_path, sh("true"))
    order = Order(SCHEMA, "a0", one.name, (0,), time.time(), who())
    one.store.create(keys.order(one.name, "a0"), codec.dump(order))
    found = reconcile(one.store, one.name)
    assert found.lost == () and len(found.unclear) == 1
    aged = replace(order, at=time.time() - 2 * reconciling.SETTLED_S)
    one.store.replace(keys.order(one.name, "a0"), codec.dump(aged))
    (lost,) = reconcile(one.store, one.name).lost
    assert "never started" in lost.evidence
    retry(one.store, one.name)
    assert one.outcomes("a1") == {0: Outcome.SUCCEEDED}


def test_an_agent_that_releases_at_this_moment_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the writing: what the agent wrote stays."""
    one = job(tmp_path, sh("true"))
    one.submit()
    one.ended()
    written = records.read_released(one.store, one.name, "a0")
    view = gather(one.store, one.name)
    lost = replace(view.allocations[0], lost="its agent is dead", state=State.ENDED)
    monkeypatch.setattr(reconciling, "gather", lambda *_: replace(view, allocations=(lost,)))
    monkeypatch.setattr(reconciling, "_open", lambda *_: {"a0"})
    assert reconcile(one.store, one.name).lost == ()
    assert records.read_released(one.store, one.name, "a0") == written
    assert isinstance(records.read(one.store, AgentView, keys.agent_view(one.name, "a0")), AgentView)
