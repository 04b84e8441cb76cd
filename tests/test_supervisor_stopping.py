"""Stops, survivors, and the death of the supervisor itself: nobody is left behind and nothing is guessed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.agent.requests import Requests
from launcher.errors import StoreError
from launcher.model import codec
from launcher.model.outcome import Outcome, State
from launcher.model.phase import Checkpoints
from launcher.model.records import Order, StopRequest
from launcher.store import keys, processes, records
from launcher.supervisor import places, stopping
from tests.supervising import ALLOCATION, JOB, REPOSITORY, Stage
from tests.waiting import until

DEAF = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
time.sleep(120)
"""
POLITE = """
import sys, time
from launcher import task
print('up', flush=True)
while not task.stop_requested():
    time.sleep(0.02)
print('saved', flush=True)
sys.exit(task.STOPPED_EXIT_CODE)
"""


@pytest.fixture
def stage(odd_path: Path) -> Stage:
    return Stage(odd_path)


def test_a_polite_child_is_cancelled_without_a_signal(stage: Stage) -> None:
    stage.job(POLITE, grace=20.0)
    stage.start()
    stage.until_log("up")
    stage.stop()
    record = stage.ended()
    assert record.outcome is Outcome.CANCELLED and "stopped as asked" in record.reason, record
    assert record.exit_code == 75 and "saved" in stage.output()


def test_a_deaf_child_is_killed(stage: Stage) -> None:
    stage.job(DEAF, grace=0.3)
    stage.start()
    stage.until_log("up")
    stage.stop()
    until(lambda: (b := stage.heartbeat()) and b.state is State.STOPPING, 10, "a beat that says stopping")
    record = stage.ended()
    assert record.outcome is Outcome.CANCELLED and record.signal == signal.SIGKILL


def test_a_child_that_catches_the_signal_is_asked_by_it_and_its_forks_are_not(stage: Stage) -> None:
    stage.job(
        """
import os, signal, sys, time
asked = []
signal.signal(signal.SIGUSR2, lambda number, frame: asked.append(number))
if os.fork() == 0:
    for _ in range(3000):
        time.sleep(0.01)
        if asked:
            print('fork asked', flush=True)
    sys.exit()
print('up', flush=True)
while not asked:
    time.sleep(0.02)
time.sleep(0.3)
print('parent asked', flush=True)
sys.exit(75)
""",
        grace=15.0,
    )
    stage.start()
    stage.until_log("up")
    stage.stop()
    assert stage.ended().exit_code == 75
    assert "parent asked" in stage.output() and "fork asked" not in stage.output()


def test_sigterm_to_the_supervisor_means_preempted_and_hangups_mean_nothing(stage: Stage) -> None:
    stage.job(POLITE, grace=20.0)
    process = stage.start()
    stage.until_log("up")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    until(lambda: (b := stage.heartbeat()) and b.seq > 6 and b.state is State.RUNNING, 10, "beats after a hangup")
    process.send_signal(signal.SIGTERM)
    assert stage.ended().outcome is Outcome.PREEMPTED


def test_stops_of_other_tasks_and_of_earlier_orders_are_not_heard(stage: Stage) -> None:
    stage.job(POLITE, grace=20.0)
    old = StopRequest(1, time.time() - 100, "researcher@here", "cancelled", None)
    stage.store.create(keys.stop(JOB, old.at, "old"), codec.dump(old))
    stage.store.create(keys.stop(JOB, 1.0, "garbage"), b"{not json")
    stage.store.replace(keys.order(JOB, ALLOCATION), codec.dump(Order(1, ALLOCATION, JOB, (0,), time.time() - 50, "x")))
    stage.start()
    stage.until_log("up")
    stage.stop(tasks=(1, 2))
    before = until(stage.heartbeat, 10, "a beat")
    assert before is not None
    until(lambda: (b := stage.heartbeat()) and b.seq > before.seq + 8, 10, "beats")
    assert "saved" not in stage.output()
    stage.stop(tasks=(0,))
    assert stage.ended().outcome is Outcome.CANCELLED


def test_exit_zero_after_a_stop_is_no_success_unless_the_work_was_complete(stage: Stage) -> None:
    body = "open('out', 'w').write('part')\n" + POLITE.replace("sys.exit(task.STOPPED_EXIT_CODE)", "{}sys.exit(0)")
    stage.job(body.replace("{}", ""), outputs={"out": "out"}, grace=20.0)
    for attempt, outcome in ((1, Outcome.CANCELLED), (2, Outcome.SUCCEEDED)):
        if attempt == 2:
            stage.job(body.replace("{}", "task.progress(5, 5); "), outputs={"out": "out"}, grace=20.0)
            for name in stage.store.names(keys.stops(JOB)):
                stage.store.remove(f"{keys.stops(JOB)}/{name}")
        stage.start(attempt)
        stage.until_log("up", attempt)
        stage.stop()
        record = stage.ended(attempt)
        assert record.outcome is outcome, record
    assert (stage.workspace / "out").read_text() == "part"


ESCAPE = """
import os, sys, time
def daemon(env):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve('/bin/sleep', ['sleep', '600'], env)
        os._exit(0)
daemon(dict(os.environ))
daemon({})
os.spawnv(os.P_NOWAIT, '/bin/sleep', ['sleep', '601'])
time.sleep(0.3)
print('up', flush=True)
"""


@pytest.mark.parametrize("how", ["normal", "stopped"])
def test_nobody_survives_the_child(stage: Stage, how: str, own_environment: str) -> None:
    """Two daemons that left session and tree, one of them without its environment, and a plain background process."""
    stage.job(ESCAPE + ("" if how == "normal" else "time.sleep(60)"), grace=0.3)
    stage.start()
    stage.until_log("up")
    if how == "stopped":
        assert len(_sleepers(stage)) == 3
        stage.stop()
    supervisor = stage.process
    assert supervisor is not None
    record = stage.ended()
    assert record.outcome is (Outcome.SUCCEEDED if how == "normal" else Outcome.CANCELLED), record
    assert _sleepers(stage) == []


def _sleepers(stage: Stage) -> list[int]:
    """Sleeping programs whose log is ours: their descriptors 1 show it, whatever else they have shed."""
    log = str(stage.store.path(keys.of_attempt(JOB, 0, 1, keys.LOG)))
    found = []
    for pid in processes.all_pids():
        try:
            if os.readlink(f"/proc/{pid}/fd/1") == log and os.readlink(f"/proc/{pid}/exe").endswith(
                ("sleep", "coreutils")
            ):
                found.append(pid)
        except OSError:
            continue
    return found


def test_orphans_are_reaped_while_the_child_runs(stage: Stage) -> None:
    stage.job(
        """
import os, time
for _ in range(20):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
print('up', flush=True)
time.sleep(60)
""",
        grace=0.2,
    )
    process = stage.start()
    stage.until_log("up")

    def zombies() -> int:
        return sum(1 for each in processes.tree([process.pid]) if each.ended and each.pid != process.pid)

    until(lambda: zombies() == 0, 10, lambda: f"{zombies()} zombies to go")
    stage.stop()
    stage.ended()


def test_stop_during_setup_never_starts_the_child(stage: Stage) -> None:
    slow = stage.root / "slow-uv"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    (stage.project / "requirements.txt").write_text("numpy\n")
    from launcher.model.phase import Setup

    stage.job("print('ran')", setup=Setup(requirements="requirements.txt"))
    stage.start(env={"LAUNCH_UV": str(slow)})
    until(lambda: (b := stage.heartbeat()) and b.stage == "setup", 15, "the stage setup")
    stage.stop()
    record = stage.ended()
    assert record.outcome is Outcome.CANCELLED and stage.output() == ""
    assert records.read_claim(stage.store, JOB, 0, 1) is None


# --- the supervisor dies, the agent does not -------------------------------------------------------------------------

AGENT = """
import ctypes, json, os, signal, subprocess, sys, time
sys.path[:0] = [sys.argv[1]]
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
argv, kills, told = json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == 'tell'
exited = []
for life in range(50):
    process = subprocess.Popen(argv + (['--adopt'] if life else []), stdin=subprocess.PIPE)
    for line in exited:
        process.stdin.write(line)
        process.stdin.flush()
    print('supervisor', process.pid, flush=True)
    while True:
        pid, status, usage = os.wait4(-1, 0)
        if pid == process.pid:
            break
        exit = {'pid': pid, 'status': status, 'maxrss': usage.ru_maxrss * 1024, 'cpu': 0.5}
        line = json.dumps({'exited': exit}).encode() + b'\\n'
        if told:
            exited.append(line)
            try:
                process.stdin.write(line)
                process.stdin.flush()
            except OSError:
                pass
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        print('done', life, flush=True)
        break
    time.sleep(0.1)
"""


class Agent:
    """A subreaper that starts supervisors until one ends with 0, and tells them of orphans."""

    def __init__(self, stage: Stage, *, tells: bool = True) -> None:
        stage.store.claim(keys.attempt(JOB, 0, 1))
        run = (
            "import sys; sys.path[:0] = [sys.argv.pop(1)]; from launcher.supervisor.main import main; sys.exit(main())"
        )
        argv = [sys.executable, "-I", "-S", "-c", run, str(REPOSITORY), "--store", str(stage.store.root), "--job", JOB]
        argv += ["--task", "0", "--attempt", "1", "--allocation", ALLOCATION, "--gpus", ""]
        self.stage = stage
        self.told = stage.root / "agent.txt"
        with open(self.told, "wb") as out, open(stage.log, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", AGENT, str(REPOSITORY), json.dumps(argv), "0", "tell" if tells else "silent"],
                stdout=out,
                stderr=errors,
            )

    def supervisors(self) -> list[int]:
        lines = self.told.read_text().splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith("supervisor")]

    def kill_supervisor(self) -> None:
        until(self.supervisors, 10, "a supervisor")
        number = len(self.supervisors())
        os.kill(self.supervisors()[-1], signal.SIGKILL)
        until(lambda: len(self.supervisors()) > number, 10, "another supervisor")

    def record(self) -> Any:
        assert self.process.wait(30) == 0, self.stage.said()
        return records.read_exit(self.stage.store, JOB, 0, 1)


UNTIL_GO = """
import os, sys, time
print('up', flush=True)
while not os.path.exists(os.environ['GO']):
    time.sleep(0.01)
print('going', flush=True)
open('out', 'w').write('made')
sys.exit(int(open(os.environ['GO']).read() or 0))
"""


@pytest.mark.parametrize("code", [0, 5])
def test_a_killed_supervisor_is_replaced_and_the_child_never_notices(
    stage: Stage, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = stage.root / "go"
    monkeypatch.setenv("GO", str(go))
    stage.job(UNTIL_GO, outputs={"out": "out"})
    agent = Agent(stage)
    stage.until_log("up")
    claim = records.read_claim(stage.store, JOB, 0, 1)
    until(lambda: (b := stage.heartbeat()) and b.seq >= 4, 10, "beats")
    before = stage.heartbeat()
    agent.kill_supervisor()
    agent.kill_supervisor()
    until(lambda: (b := stage.heartbeat()) and before and b.seq > before.seq, 10, "beats that go on")
    (stage.root / "go.tmp").write_text(str(code))
    os.rename(stage.root / "go.tmp", go)
    record = agent.record()
    assert record.exit_code == code and record.peak_memory is not None
    assert record.outcome is (Outcome.SUCCEEDED if code == 0 else Outcome.FAILED), record
    assert records.read_claim(stage.store, JOB, 0, 1) == claim
    assert stage.output() == "up\ngoing\n"
    assert (stage.workspace / "out").exists() is (code == 0)


def test_a_status_that_nobody_saw_is_unknown(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GO", str(stage.root / "go"))
    stage.job(UNTIL_GO, outputs={"out": "out"})
    agent = Agent(stage, tells=False)
    stage.until_log("up")
    agent.kill_supervisor()
    until(
        lambda: (b := stage.heartbeat()) and b.supervisor and b.supervisor.pid == agent.supervisors()[-1],
        10,
        "adoption",
    )
    (stage.root / "go").touch()
    record = agent.record()
    assert record.outcome is Outcome.UNKNOWN and record.exit_code is None, record
    assert not (stage.workspace / "out").exists() and record.kept, "what is not known to be complete is not committed"


def test_a_stop_goes_on_after_the_supervisor_is_replaced(stage: Stage) -> None:
    stage.job(DEAF, grace=1.5)
    agent = Agent(stage)
    stage.until_log("up")
    stage.stop()
    until(lambda: stage.store.exists(keys.of_attempt(JOB, 0, 1, keys.STOP)), 10, "the stop file")
    agent.kill_supervisor()
    record = agent.record()
    assert record.outcome is Outcome.CANCELLED and "researcher@here" in record.reason


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7])
def test_killed_at_any_moment_a_short_attempt_still_ends_once(stage: Stage, delay: float) -> None:
    stage.job("print('once', flush=True)\nopen('out', 'w').write('made')", outputs={"out": "out"})
    agent = Agent(stage)
    until(agent.supervisors, 10, "a supervisor")
    time.sleep(delay)
    try:
        os.kill(agent.supervisors()[0], signal.SIGKILL)
    except ProcessLookupError:
        pass
    record = agent.record()
    assert record.outcome is Outcome.SUCCEEDED, (record, stage.said())
    assert stage.output() == "once\n"
    assert (stage.workspace / "out").read_text() == "made"
    assert stage.manifests() is not None


def test_without_its_agent_the_supervisor_finishes(stage: Stage) -> None:
    stage.job("import time; print('up', flush=True); time.sleep(1); print('end')")
    process = stage.start()
    stage.until_log("up")
    assert process.stdin is not None
    process.stdin.close()
    assert stage.ended().outcome is Outcome.SUCCEEDED


def test_a_later_attempt_resumes_from_the_newest_checkpoint(stage: Stage) -> None:
    script = """
import os, sys, time
from launcher import task
found = task.resume_from()
print('resume', found and open(found).read())
if found is None:
    for step in (1, 2):
        path = f'ckpt/step-{step}.json'
        open(path + '.tmp', 'w').write(str(step))
        os.rename(path + '.tmp', path)
        task.checkpoint_saved(path, step=step)
        time.sleep(0.5)
    os.kill(os.getpid(), 9)
"""
    stage.job(script, checkpoints=Checkpoints("ckpt", "step-*.json"))
    record = stage.run()
    assert record.outcome is Outcome.FAILED and record.checkpoint is not None
    assert record.checkpoint == str(stage.data() / "checkpoints" / "ckpt" / "step-2.json")
    assert Path(record.checkpoint).read_text() == "2" and not (stage.data() / "work").exists()
    stage.run(2)
    assert stage.output(2) == "resume 2\n"
    claim = records.read_claim(stage.store, JOB, 0, 2)
    assert claim is not None and claim.resumed_from == record.checkpoint


def test_a_job_of_the_same_id_in_another_store_is_left_alone(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Stage(tmp_path / "other")
    other.job(POLITE, grace=20.0)
    other.start()
    other.until_log("up")
    stage.job("print('done')")
    assert stage.run().outcome is Outcome.SUCCEEDED
    assert other.heartbeat() is not None and "saved" not in other.output()
    other.stop()
    record = other.ended()
    assert record.outcome is Outcome.CANCELLED and record.exit_code == 75, record


def test_a_stop_by_a_machine_whose_clock_is_behind_is_heard(stage: Stage) -> None:
    """Orders and requests come from any machine that reaches the store: what is old is told by name, not by the time."""
    stage.job(POLITE, grace=20.0)
    stage.stop("cancelled")
    (earlier,) = stage.store.names(keys.stops(JOB))
    ahead = Order(1, ALLOCATION, JOB, (0,), time.time() + 3600, "x", (earlier,))
    stage.store.replace(keys.order(JOB, ALLOCATION), codec.dump(ahead))
    agents = Requests(stage.store, JOB, ahead)
    assert agents.new() == []
    stage.start()
    stage.until_log("up")
    before = until(stage.heartbeat, 10, "a beat")
    assert before is not None
    until(lambda: (b := stage.heartbeat()) and b.seq > before.seq + 8, 10, "beats")
    assert "saved" not in stage.output(), "the request of an earlier attempt"
    stage.stop("cancelled")
    assert stage.ended().outcome is Outcome.CANCELLED
    assert [request.reason for request in agents.new()] == ["cancelled"]


def test_an_order_that_cannot_be_read_now_makes_no_old_request_new(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = stage.job(POLITE)
    stage.stop("cancelled")
    order = Order(1, ALLOCATION, JOB, (0,), time.time() + 1, "x")
    stage.store.replace(keys.order(JOB, ALLOCATION), codec.dump(order))
    requests = stopping.Requests(places.of(stage.store.root, spec, spec.tasks[0], 1, ALLOCATION))
    real = Path.read_bytes

    def stale(path: Path) -> bytes:
        if path.name.endswith(".order.json"):
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(StoreError):
        requests.poll()
    monkeypatch.undo()
    assert requests.poll() is None
