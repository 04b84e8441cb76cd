"""One submit: what it stores and sends, in which order, and what is left when it dies between any two steps."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.config.project import find
from launcher.errors import ConfigError, LaunchError, Refused, StoreError, SubmitError, UsageError
from launcher.executors import local
from launcher.executors.contract import Granted, Submission
from launcher.model.outcome import Outcome, State
from launcher.operations import chain, plan, stores
from launcher.operations import submit as submitting
from launcher.operations.cancel import cancel
from launcher.operations.gather import gather
from launcher.operations.reconcile import reconcile
from launcher.operations.submit import submit
from launcher.operations.wait import wait
from launcher.store import keys, records
from launcher.store.folder import FolderStore
from tests.projects import project, request, store_of
from tests.waiting import until

QUICK = 'command: [python, make.py, "{outputs.o}"]\nbeat: 0.5\ngrace: 1\noutputs: {o: "o/{task.index}"}\n'
INTERRUPT = "\x03"
ENDLESS = "command: [sleep, '600']\nbeat: 0.5\ngrace: 0.5\n"


def _end(root: Path, job: str) -> None:
    view = wait(store_of(root), job, timeout=60)
    assert view.outcome is Outcome.SUCCEEDED, view


def test_what_lies_in_the_store_after_a_submit(odd_path: Path) -> None:
    root = project(odd_path / "p", quick=QUICK)
    (root / "cluster_profiles").mkdir()
    (root / "cluster_profiles" / "paid.yaml").write_text("executor: local\nprice: 1/h\n")
    (job,) = submit(request(root, "quick", name="first try", budget=3.0, profile="paid")).jobs
    store = store_of(root)
    assert job.job is not None and job.tasks == (0,) and job.store == store.root
    spec = records.read_spec(store, job.job)
    assert spec is not None and (spec.name, spec.budget, spec.code.kind) == ("first try", 3.0, "snapshot")
    assert store.exists(keys.kit(spec.kit)) and store.exists(keys.snapshot(spec.code.hash))
    index = json.loads(store.read(keys.snapshot_index(spec.code.hash)) or b"")
    assert set(index["files"]) == {"make.py", "jobs/quick.yaml", "cluster_profiles/paid.yaml"}
    assert [event.kind for event in records.read_events(store, job.job)][:2] == ["submitting", "allocated"]
    assert stores.native_ids(store, job.job) == dict(job.native_ids)
    assert b"launch-boot" in (store.read(keys.submission(job.job)) or b"")
    for folder in (root / ".launch", store.root, store.path(keys.job(job.job))):
        assert folder.stat().st_mode & 0o077 == 0, folder
    _end(root, job.job)


def test_git_does_not_see_what_launch_keeps(tmp_path: Path) -> None:
    root = project(tmp_path / "p", quick=QUICK)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (job,) = submit(request(root, "quick")).jobs
    status = subprocess.run(["git", "-C", str(root), "status", "--short", "-uall"], capture_output=True, text=True)
    assert ".launch" not in status.stdout
    _end(root, str(job.job))


def test_the_code_is_as_it_was_when_it_was_submitted(tmp_path: Path) -> None:
    root = project(tmp_path / "p", quick=QUICK)
    (root / "jobs" / "quick.yaml").write_text(QUICK)
    (job,) = submit(request(root, "quick")).jobs
    (root / "make.py").write_text("raise SystemExit('changed after the submit')")
    _end(root, str(job.job))


def test_a_chain_waits_and_hands_on(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    first, second = submit(request(root, "train", "collect")).jobs
    assert (first.phase, second.phase) == ("collect", "train")
    assert second.after == (first.job,)
    _end(root, str(second.job))
    assert "0.9" in (root / "models" / "1" / "model.txt").read_text()


def test_a_chain_whose_first_phase_fails_says_so(tmp_path: Path) -> None:
    root = project(
        tmp_path / "p", bad="command: 'false'\nbeat: 0.5\n", good="command: 'true'\nafter: [bad]\nbeat: 0.5\n"
    )
    bad, good = submit(request(root, "bad", "good")).jobs
    view = wait(store_of(root), str(good.job), timeout=60)
    assert view.outcome is not Outcome.SUCCEEDED and str(bad.job) in str(view.tasks[0].why)
    with pytest.raises(Refused) as refused:
        submit(request(root, "good"))
    assert refused.value.hint == "launch submit bad good" and str(bad.job) in str(refused.value)


def test_a_phase_joins_an_upstream_that_still_runs(tmp_path: Path) -> None:
    root = project(tmp_path / "p", slow=ENDLESS, then="command: 'true'\nafter: [slow]\nbeat: 0.5\n")
    (slow,) = submit(request(root, "slow")).jobs
    (then,) = submit(request(root, "then")).jobs
    assert then.after == (slow.job,)
    cancel(store_of(root), str(slow.job))
    assert wait(store_of(root), str(then.job), timeout=60).outcome is not Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        ({"a": ["b"], "b": [], "c": ["a"]}, ("b", "a", "c")),
        ({"a": [], "b": []}, ("a", "b")),
        ({"b": [], "a": []}, ("b", "a")),
        ({"a": ["outside"]}, ("a",)),
        ({"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": []}, ("a", "b", "c", "d")),
    ],
)
def test_the_order_of_a_chain(after: dict[str, list[str]], wanted: tuple[str, ...]) -> None:
    assert chain.order(after) == wanted


def test_cycles_unknown_names_and_repetitions_are_errors(tmp_path: Path) -> None:
    root = project(
        tmp_path / "p",
        a="command: 'true'\nafter: [c]\n", b="command: 'true'\nafter: [a]\n", c="command: 'true'\nafter: [b]\n",
        d="command: 'true'\nafter: [aa]\n",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="a -> c -> b -> a"):
        submit(request(root, "a", "b", "c"))
    with pytest.raises(ConfigError, match="did you mean a"):
        submit(request(root, "d"))
    with pytest.raises(UsageError, match="twice"):
        submit(request(root, "a", f"{root}/jobs/../jobs/a.yaml"))
    with pytest.raises(UsageError):
        submit(request(root))
    assert not (root / ".launch").exists()


@pytest.mark.parametrize(
    "said", [{"pack": 0}, {"budget": 0.0}, {"budget": float("nan")}, {"name": "\x1b[2J"}, {"name": " "}]
)
def test_a_request_that_makes_no_sense(tmp_path: Path, said: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        request(tmp_path, "a", **said)


def test_a_task_without_gpus_becomes_a_smoke_task_where_its_phase_says_so(tmp_path: Path) -> None:
    text = QUICK + "params: {size: 70}\nresources: {gpus: 8000}\nsmoke: {params: {size: 1}, without_gpus: %s}\n"
    root = project(tmp_path / "p", yes=text % "true", no=text % "false")
    (planned,) = plan.plan(request(root, "yes")).jobs
    assert planned.spec.smoke == (0,) and "needs 8000 GPUs" in planned.reduced[0]
    assert planned.spec.params_of(planned.spec.tasks[0])["size"] == 1 and not planned.objections
    with pytest.raises(Refused, match="task 0 needs 8000 GPUs, there are 0 on local"):
        submit(request(root, "no"))
    (asked,) = plan.plan(request(root, "no", smoke=True)).jobs
    assert asked.spec.smoke == (0,) and asked.reduced == {}


def test_two_jobs_never_write_one_path(tmp_path: Path) -> None:
    root = project(tmp_path / "p", slow=ENDLESS + "outputs: {o: {path: out, optional: true}}\n")
    (slow,) = submit(request(root, "slow")).jobs
    with pytest.raises(Refused, match="has not ended, is going to commit out"):
        submit(request(root, "slow"))
    cancel(store_of(root), str(slow.job))
    wait(store_of(root), str(slow.job), timeout=60)
    (again,) = submit(request(root, "slow")).jobs
    cancel(store_of(root), str(again.job))
    wait(store_of(root), str(again.job), timeout=60)


def test_submits_at_once_do_not_share_an_id_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(tmp_path / "p", plain="command: 'true'\nbeat: 0.5\n", one=QUICK)
    monkeypatch.setattr(plan, "new_id", lambda phase, length: f"{phase}-{'a' * length}")
    monkeypatch.setattr(submitting, "new_id", lambda phase, length: f"{phase}-{'a' * length}")
    done: list[str] = []
    refused: list[LaunchError] = []

    def go(phase: str) -> None:
        try:
            done.append(str(submit(request(root, phase)).jobs[0].job))
        except LaunchError as error:
            refused.append(error)

    threads = [threading.Thread(target=go, args=(phase,)) for phase in ("plain", "one") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(job for job in done if job.startswith("plain")) == [f"plain-{'a' * n}" for n in (4, 6, 8, 10)]
    assert sum(job.startswith("one") for job in done) >= 1 and len(done) + len(refused) == 8
    assert all(isinstance(error, Refused) for error in refused)
    for job in done:
        _end(root, job)


def test_an_executor_that_refuses_leaves_a_record_and_nothing_to_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path / "p", quick=QUICK)

    def no(self: object, submission: Submission) -> tuple[Granted, ...]:
        raise SubmitError("starting the agent", came_back="no more processes")

    with monkeypatch.context() as patch:
        patch.setattr(local.LocalExecutor, "submit", no)
        with pytest.raises(SubmitError) as error:
            submit(request(root, "quick"))
    (job,) = records.jobs(store_of(root))
    assert job in str(error.value) and "nothing runs" in str(error.value)
    view = gather(store_of(root), job)
    assert view.state is State.ENDED and view.outcome is not Outcome.SUCCEEDED
    (again,) = submit(request(root, "quick")).jobs  # nothing stands in the way
    _end(root, str(again.job))


def test_a_submit_that_hangs_does_not_hang_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(tmp_path / "p", quick=QUICK)
    store = store_of(root)
    submitting.private_folder(store.root)
    monkeypatch.setattr(submitting, "LOCK_WAIT_S", 0.2)
    with open(store.root / submitting.LOCK, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another submit") as error:
            submit(request(root, "quick"))
    assert records.jobs(store) == [] and error.value.left == "nothing was submitted"


def test_a_store_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    root = project(tmp_path / "p", quick=QUICK)
    (root / ".launch").write_text("a file in the way")
    with pytest.raises(LaunchError) as error:
        submit(request(root, "quick"))
    assert ".launch" in str(error.value)


def _die_in(step: int, root: Path) -> int:
    """Submit in a forked process that is killed at its `step`th change of the world; its wait status."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    left = [step]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **named: object) -> object:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return real(*args, **named)

        return call

    FolderStore.create = counted(FolderStore.create)  # type: ignore[method-assign,assignment]
    local.LocalExecutor.submit = counted(local.LocalExecutor.submit)  # type: ignore[method-assign,assignment]
    try:
        submit(request(root, "quick"))
        os._exit(0)
    finally:
        os._exit(1)


def test_killed_between_any_two_steps_it_leaves_what_can_be_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import launcher.operations.reconcile as reconciling

    monkeypatch.setattr(reconciling, "SETTLED_S", 0.0)
    seen: set[tuple[bool, bool]] = set()
    for step in range(50):
        root = project(tmp_path / f"step {step}", quick=QUICK)
        store = store_of(root)
        status = _die_in(step, root)
        for job in records.jobs(store):
            sent = bool(local.LocalExecutor(local.Options()).find(job)) or _began(store, job)
            seen.add((sent, bool(stores.native_ids(store, job))))
            reconcile(store, job)
            view = gather(store, job)
            if sent:
                _end(root, job)
                assert stores.native_ids(store, job)  # adopted, where the submit died before it could note them
            elif records.allocations(store, job):
                assert view.state is State.ENDED and view.outcome is not Outcome.SUCCEEDED, view
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert step == 9  # kit, snapshot, index, spec, order, event, executor, event, text
    assert seen == {(False, False), (True, False), (True, True)}


def _began(store: FolderStore, job: str) -> bool:
    return any(store.exists(keys.agent_view(job, one)) for one in records.allocations(store, job))


def _launch(root: Path, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launcher.cli.main", *words],
        cwd=root, capture_output=True, text=True, timeout=120, input=stdin if stdin is not None else "",
        env={**os.environ, "PYTHONPATH": str(Path(submitting.__file__).parents[2])},
    )  # fmt: skip


def test_the_command_line(odd_path: Path) -> None:
    root = project(odd_path / "p", quick=QUICK, broken="comand: x\n")
    done = _launch(root, "submit", "quick", "--follow")
    assert done.returncode == 0, done.stderr
    assert "launch tail quick-" in done.stderr and "done" in done.stdout
    again = _launch(root, "submit", "quick", "--json")
    answer = json.loads(again.stdout)
    assert again.returncode == 0 and answer["jobs"][0]["job"] is None and answer["jobs"][0]["reused"]
    (root / "make.py").write_text((root / "make.py").read_text() + "# changed\n")
    asked = _launch(root, "submit", "quick", "--yes")
    assert asked.returncode == 4 and "--reuse" in asked.stderr and asked.stdout == ""
    assert json.loads(_launch(root, "submit", "quick", "--json").stdout)["error"]["exit_code"] == 4
    assert _launch(root, "check", "quick").returncode == 4
    assert _launch(root, "submit", "nothing").returncode == 102
    assert _launch(root, "submit", "broken").returncode == 3
    assert _launch(root, "submit", "quick", "--reuse", "--rerun").returncode == 2
    assert _launch(root, "submit", "quick", "-o", "x").returncode == 2


def test_a_dry_run_prints_the_exact_text_and_changes_nothing(odd_path: Path) -> None:
    root = project(odd_path / "p", quick=QUICK)
    done = _launch(root, "submit", "quick", "--dry-run", "-o", "text.sh")
    assert done.returncode == 0 and "nothing was submitted" in done.stderr, done.stderr
    assert not (root / ".launch").exists()
    assert "setsid sh -c" in (root / "text.sh").read_text()
    shell = subprocess.run(["sh", "-n", str(root / "text.sh")], capture_output=True, text=True)
    assert shell.returncode == 0, shell.stderr
    answer = json.loads(_launch(root, "submit", "quick", "--dry-run", "--json").stdout)
    assert answer["jobs"][0]["spec"]["phase"] == "quick"


def test_the_python_interface(tmp_path: Path) -> None:
    from launcher import api

    root = project(tmp_path / "p", slow=ENDLESS, quick=QUICK + "params: {seed: 1, text: x, on: true}\n")
    done = api.submit("quick", sets={"seed": 3, "text": "3", "on": False, "resources.time": "2h"}, folder=root)
    view = api.wait(str(done.jobs[0].job), timeout=60, folder=root)
    assert view.outcome is api.Outcome.SUCCEEDED
    assert api.status("quick", folder=root).job == done.jobs[0].job
    assert json.loads((root / "o" / "0").read_text()) == {"seed": 3, "text": "3", "on": False}
    with pytest.raises(api.NotFound):
        api.status("nothing", folder=root)
    with pytest.raises(api.DecisionNeeded):
        api.submit("quick", sets={"seed": 4}, folder=root)
    slow = str(api.submit("slow", folder=root).jobs[0].job)
    assert api.cancel(slow, folder=root).job == slow
    assert api.status(slow, folder=root).outcome is api.Outcome.CANCELLED
    assert api.retry(slow, folder=root).job == slow
    api.cancel(slow, folder=root)


def test_on_a_terminal_it_asks_a_or_b(tmp_path: Path) -> None:
    root = project(tmp_path / "p", quick=QUICK)
    _end(root, str(submit(request(root, "quick")).jobs[0].job))
    (root / "make.py").write_text((root / "make.py").read_text() + "# changed\n")
    for letter, again in (("a", False), ("B", True)):
        before = set(records.jobs(store_of(root)))
        code, shown = _on_a_terminal(root, f"x\n{letter}\n", "submit", "quick")
        assert code == 0 and "make.py changed since" in shown and "A or B" in shown, shown
        started = set(records.jobs(store_of(root))) - before
        assert bool(started) is again
        for job in started:
            _end(root, job)
    (root / "make.py").write_text((root / "make.py").read_text() + "# changed again\n")
    code, shown = _on_a_terminal(root, INTERRUPT, "submit", "quick")
    assert code == 130 and "Traceback" not in shown, shown


def _on_a_terminal(root: Path, typed: str, *words: str) -> tuple[int, str]:
    """Exit code and everything shown; `typed` is sent once a question stands on the screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell that started the tests in the background has it ignored
        os.chdir(root)
        os.environ["PYTHONPATH"] = str(Path(submitting.__file__).parents[2])
        os.execv(sys.executable, [sys.executable, "-m", "launcher.cli.main", *words])
    shown, sent = b"", False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                block = os.read(terminal, 65536)
            except OSError:  # EIO: the other side is gone
                break
            shown += block
        elif typed == INTERRUPT:
            sent = False  # pressed again, as people do: Python misses one that comes just before it begins to read
        if b"A or B" in shown and not sent:
            os.write(terminal, typed.encode())
            sent = True
    os.close(terminal)  # hangs up on a program that is still there
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode(errors="replace")


def test_a_found_project_is_the_one_that_is_submitted(tmp_path: Path) -> None:
    root = project(tmp_path / "p", quick=QUICK)
    (root / "deep" / "er").mkdir(parents=True)
    assert find(root / "deep" / "er").root == root
    (job,) = submit(request(root / "deep" / "er", "quick")).jobs
    assert job.store == root / ".launch" / "store"
    until(lambda: gather(store_of(root), str(job.job)).state is State.ENDED, 60, "the end of the job")
