"""The agent with real supervisors and real children: its queue, retries, stops, upstream jobs, and deaths around it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from launcher.executors.local import Options
from launcher.model import codec
from launcher.model.outcome import Outcome, State
from launcher.model.phase import Resources, Retry
from launcher.model.records import SCHEMA, StopRequest
from launcher.store import keys, processes, records
from tests.local_jobs import DEADLINE_S, Job, gone, job, of_job, sh
from tests.waiting import until


def stop(one: Job, tasks: tuple[int, ...] | None = None) -> None:
    now = time.time()
    request = StopRequest(SCHEMA, now, "me", "cancelled", tasks)
    one.store.create(keys.stop(one.name, now, f"{tasks}"), codec.dump(request))


def test_an_array_runs_in_a_place_with_an_odd_name_and_the_agent_releases(odd_path: Path) -> None:
    one = job(odd_path, sh('echo "task $LAUNCH_TASK"; test "$LAUNCH_TASK" != 1'), tasks=3)
    one.submit()
    assert one.outcomes() == {0: Outcome.SUCCEEDED, 1: Outcome.FAILED, 2: Outcome.SUCCEEDED}, one.story()
    assert [one.log(task) for task in range(3)] == [f"task {task}\n" for task in range(3)]
    assert one.released().lost is None
    last = one.view()
    assert (last.state, last.queue, last.running, last.ended) == (State.ENDED, "", (), 3)
    assert one.agent_log() == "", "the agent's log holds only what goes wrong with itself"
    until(lambda: not of_job(one.name), 5, lambda: f"the end of {of_job(one.name)}")


def test_the_limit_is_kept_and_the_order_too(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    text = f'echo "+$LAUNCH_TASK" >>{trace}; sleep 0.3; echo "-$LAUNCH_TASK" >>{trace}'
    one = job(tmp_path, sh(text), tasks=5, limit=2)
    one.submit()
    assert set(one.outcomes().values()) == {Outcome.SUCCEEDED}
    at_once, most, order = 0, 0, []
    for line in trace.read_text().split():
        at_once += 1 if line[0] == "+" else -1
        most = max(most, at_once)
        order += [int(line[1:])] if line[0] == "+" else []
    assert most == 2
    assert order[-1] == 4 and sorted(order) == list(range(5))


def test_gpus_are_divided_and_two_jobs_share_the_machine(tmp_path: Path) -> None:
    options = Options(gpus=(0, 1), cpus=4)
    text = f'echo "$LAUNCH_JOB $LAUNCH_TASK $CUDA_VISIBLE_DEVICES $(date +%s.%N)" >>{tmp_path}/trace; sleep 0.4'
    resources = (Resources(gpus=1),)
    first = job(tmp_path, sh(text), tasks=3, options=options, resources=resources)
    second = job(tmp_path, sh(text), tasks=2, options=options, resources=resources)
    first.submit()
    first.view()  # its agent is there: a ticket counts from then on
    second.submit()
    assert set(first.outcomes().values()) | set(second.outcomes().values()) == {Outcome.SUCCEEDED}
    rows = [line.split() for line in (tmp_path / "trace").read_text().splitlines()]
    assert {row[2] for row in rows} == {"0", "1"}
    assert [row[0] for row in rows] == [first.name] * 3 + [second.name] * 2, "first in, first out"


def test_a_packed_share_runs_its_tasks_side_by_side_on_its_gpus(tmp_path: Path) -> None:
    text = 'echo "$CUDA_VISIBLE_DEVICES"; sleep 0.2'
    resources = (Resources(gpus=2),)
    one = job(tmp_path, sh(text), tasks=2, pack=2, resources=resources, options=Options(gpus=(0, 1), cpus=2))
    one.submit()
    assert set(one.outcomes().values()) == {Outcome.SUCCEEDED}
    assert [one.log(0).strip(), one.log(1).strip()] == ["0", "1"]


def test_what_can_never_fit_is_said_and_the_rest_runs(tmp_path: Path) -> None:
    one = job(tmp_path, sh("true"), tasks=1, resources=(Resources(gpus=3),), options=Options(gpus=(0,), cpus=1))
    one.submit()
    (line,) = one.ended().values()
    assert (line.outcome, line.attempt) == (Outcome.START_FAILED, 0)
    assert line.reason == "3 GPUs are asked for, this machine offers 1"


def test_what_waits_says_for_what(tmp_path: Path) -> None:
    one = job(tmp_path, sh("sleep 30"), tasks=2, options=Options(cpus=1))
    one.submit()
    until(lambda: one.view().waiting_for, DEADLINE_S, one.story)
    view = one.view()
    assert view.waiting_for == f"1 cpu (taken by {one.name})"
    assert (view.queue, [running.task for running in view.running]) == ("1", [0])
    stop(one)
    assert one.outcomes() == {0: Outcome.CANCELLED, 1: Outcome.CANCELLED}


def test_a_task_is_tried_again_with_a_new_attempt_and_has_one_line(tmp_path: Path) -> None:
    one = job(tmp_path, sh('test "$LAUNCH_ATTEMPT" = 2'), retry=Retry(failed=3))
    one.submit()
    (line,) = one.ended().values()
    assert (line.attempt, line.outcome) == (2, Outcome.SUCCEEDED)
    assert one.exit(0, 1).outcome is Outcome.FAILED


def test_a_stop_of_one_task_leaves_the_others(tmp_path: Path) -> None:
    one = job(tmp_path, sh('test "$LAUNCH_TASK" = 1 || sleep 60'), tasks=3, options=Options(cpus=1))
    one.submit()
    one.claim(0)
    stop(one, (0, 2))
    assert one.outcomes() == {0: Outcome.CANCELLED, 1: Outcome.SUCCEEDED, 2: Outcome.CANCELLED}
    assert one.ended()[2].attempt == 0


def test_told_to_end_the_agent_stops_everything_in_order(tmp_path: Path) -> None:
    one = job(tmp_path, sh("sleep 60"), tasks=2, options=Options(cpus=1))
    one.submit()
    child = one.claim().child.pid
    os.kill(one.agent(), signal.SIGTERM)
    assert one.outcomes() == {0: Outcome.PREEMPTED, 1: Outcome.CANCELLED}
    assert gone(child)


def test_a_supervisor_that_is_killed_is_started_again_and_the_exit_code_is_not_lost(tmp_path: Path) -> None:
    one = job(tmp_path, sh(f"while ! test -e {tmp_path}/go; do sleep 0.05; done; exit 7"))
    one.submit()
    for _ in range(2):
        running = one.claim()
        kill_supervisor(one)
        until(lambda: supervisor_of(one), DEADLINE_S, "another supervisor")
        assert one.claim() == running
    (tmp_path / "go").touch()
    assert one.outcomes() == {0: Outcome.FAILED}
    assert one.exit().exit_code == 7
    assert one.agent_log().count("starting it again") == 2


def test_a_child_that_ends_while_it_has_no_supervisor_leaves_its_exit_code(tmp_path: Path) -> None:
    """The supervisor is killed, and the child ends before the next one is there."""
    one = job(tmp_path, sh("while ! test -e go; do sleep 0.02; done; exit 9"))
    one.submit()
    child = one.claim().child
    for _ in range(3):  # the back-off after the third death is long enough to act in
        kill_supervisor(one)
    (tmp_path / "code" / "go").touch()
    until(lambda: gone(child.pid), DEADLINE_S, "the end of the child")
    assert one.outcomes() == {0: Outcome.FAILED}
    assert one.exit().exit_code == 9


def supervisor_of(one: Job) -> int | None:
    from launcher.store.leftovers import supervisors

    found = supervisors(one.store.root, one.name)
    return next((process.pid for process in found.values()), None)


def kill_supervisor(one: Job) -> None:
    """Kill the one that is there, or comes next, and wait for its end."""
    watcher = until(lambda: supervisor_of(one), DEADLINE_S, "a supervisor")
    assert watcher is not None
    os.kill(watcher, signal.SIGKILL)
    until(lambda: supervisor_of(one) != watcher, DEADLINE_S, "its end")


def test_a_supervisor_that_dies_again_and_again_is_given_up_and_its_child_ended(tmp_path: Path) -> None:
    one = job(tmp_path, sh("trap '' TERM; sleep 60 & sleep 60; sleep 60"))
    one.submit()
    child = one.claim().child

    def kill_supervisors() -> bool:
        watcher = supervisor_of(one)
        if watcher is not None:
            os.kill(watcher, signal.SIGKILL)
        return records.read_released(one.store, one.name, "a0") is not None

    until(kill_supervisors, DEADLINE_S, one.story)
    (line,) = one.ended().values()
    assert line.outcome is Outcome.UNKNOWN
    assert line.reason == "its supervisor ended 6 times without a verdict, at last by signal 9"
    assert gone(child.pid)
    until(lambda: not of_job(one.name), 5, lambda: f"the end of {of_job(one.name)}")


def test_a_killed_agent_leaves_attempts_that_finish_and_shares_that_are_taken_until_then(tmp_path: Path) -> None:
    options = Options(gpus=(0,), cpus=4)
    resources = (Resources(gpus=1),)
    one = job(tmp_path, sh(f"while ! test -e {tmp_path}/go; do sleep 0.05; done"), options=options, resources=resources)
    one.submit()
    one.claim()
    agent = one.agent()
    other = job(tmp_path, sh("echo here"), options=options, resources=resources)
    os.kill(agent, signal.SIGKILL)
    other.submit()
    until(lambda: other.view().waiting_for, DEADLINE_S, other.story)
    assert other.view().waiting_for == f"1 GPU and 1 cpu (taken by {one.name})"
    (tmp_path / "go").touch()
    assert one.exit().outcome is Outcome.SUCCEEDED
    assert other.outcomes() == {0: Outcome.SUCCEEDED}


def test_upstream_jobs_are_waited_for(tmp_path: Path) -> None:
    never = f"never-{uuid.uuid4().hex}"
    first = job(tmp_path, sh(f"while ! test -e {tmp_path}/go; do sleep 0.05; done"))
    second = job(tmp_path, sh("echo after"), after=(first.name, never))
    second.submit()
    until(lambda: second.view().waiting_for, DEADLINE_S, second.story)
    assert second.view().waiting_for == f"job {first.name}, which was not submitted yet"
    first.submit()
    until(
        lambda: second.view().waiting_for == f"job {first.name}: 0 of 1 tasks have succeeded", DEADLINE_S, second.story
    )
    (tmp_path / "go").touch()
    wanted = f"job {never}, of which this store knows nothing"
    until(lambda: second.view().waiting_for == wanted, DEADLINE_S, second.story)
    third = job(tmp_path, sh("true"), name=never)
    third.submit()
    assert second.outcomes() == {0: Outcome.SUCCEEDED}


def test_what_waits_for_a_job_that_failed_is_not_started_and_says_so(tmp_path: Path) -> None:
    first = job(tmp_path, sh('test "$LAUNCH_TASK" = 0'), tasks=2)
    second = job(tmp_path, sh("echo after"), tasks=2, after=(first.name,))
    second.submit()
    first.submit()
    lines = second.ended()
    assert {line.outcome for line in lines.values()} == {Outcome.START_FAILED}
    assert lines[0].reason == f"upstream {first.name} failed: task 1 failed (1 of 2 did not succeed)"
    assert records.tasks_with_attempts(second.store, second.name) == []


def test_a_second_allocation_starts_nothing_that_ended_since(tmp_path: Path) -> None:
    """An agent is started twice for one allocation, and a task of a retry has succeeded already."""
    one = job(tmp_path, sh("echo once"), tasks=2)
    one.submit()
    assert set(one.outcomes().values()) == {Outcome.SUCCEEDED}
    one.submit((1,))
    assert one.ended("a1") == {}
    assert records.attempts(one.store, one.name, 1) == [1]


def test_a_full_store_costs_no_task_its_end(tmp_path: Path) -> None:
    """The agents' folder refuses for a while: the lines come later, each once."""
    one = job(tmp_path, sh(f"while ! test -e {tmp_path}/go; do sleep 0.05; done"))
    one.submit()
    one.claim()
    segment = one.store.path(keys.ended_segment(one.name, "a0"))
    segment.mkdir()  # appending to a folder fails, as a full disk would make it
    (tmp_path / "go").touch()
    until(lambda: "tried again" in one.agent_log(), DEADLINE_S, one.story)
    assert records.read_released(one.store, one.name, "a0") is None
    segment.rmdir()
    assert one.outcomes() == {0: Outcome.SUCCEEDED}
    assert "takes records again" in one.agent_log()


def test_an_agent_takes_little(tmp_path: Path) -> None:
    """Its memory while a task runs, and how often it wakes when nothing happens (context switches that it chose)."""
    one = job(tmp_path, sh("sleep 60"), beat=10.0)
    one.submit()
    one.claim()
    agent = one.agent()

    def switches() -> int:
        lines = Path(f"/proc/{agent}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))

    before, begun = switches(), time.monotonic()
    until(lambda: time.monotonic() - begun > 3, 10, "three seconds")
    wakeups = (switches() - before) / (time.monotonic() - begun)
    stat = processes.stat(agent)
    assert stat is not None
    assert wakeups < 2.5
    assert stat.rss * os.sysconf("SC_PAGE_SIZE") < 18e6
    stop(one)
    one.released()


@pytest.mark.parametrize(
    "arguments", [[], ["--store", "/nowhere"], ["--store", "/nowhere", "--job", "x", "--allocation", "y"]]
)
def test_an_agent_that_cannot_begin_says_why_in_one_line(arguments: list[str]) -> None:
    command = [sys.executable, "-c", "import sys; from launcher.agent.main import main; sys.exit(main())", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, timeout=20)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
