"""The command as it is typed: what it imports, what it prints where, with which exit code it ends; never a traceback."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from launcher.cli import errors, main
from launcher.cli.retry import _row as retry_row
from launcher.errors import ConfigError, LaunchError, Problem
from launcher.model.outcome import Outcome
from launcher.model.records import LogReading
from launcher.operations.retry import Again
from launcher.store import keys
from launcher.store.folder import FolderStore
from tests.waiting import until
from tests.written_jobs import Written, dead, spec

ROOT = Path(__file__).parent.parent
JOB = "train-k3f9"
LAUNCH = [sys.executable, "-m", "launcher.cli.main"]


def run(*words: str, cwd: Path, python: Sequence[str] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, "-m", "launcher.cli.main", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def project(odd_path: Path) -> Path:
    """A project's folder."""
    (odd_path / "jobs").mkdir()
    return odd_path


def job(project: Path, tasks: int = 1, name: str = JOB) -> Written:
    store = project / ".launch" / "store"
    return Written(FolderStore(store), spec(name, store, tasks)).submitted()


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The error that `--json` printed: alone on stdout."""
    found: dict[str, Any] = json.loads(done.stdout)["error"]
    assert done.stderr == ""
    assert found["exit_code"] == done.returncode
    return found


# --- what is imported -----------------------------------------------------------------------------------------------------


def imported(*words: str, cwd: Path) -> set[str]:
    done = run(*words, cwd=cwd, python=["-X", "importtime"])
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_help_imports_click_and_the_table_only(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", "import click"], capture_output=True, text=True)
    alone = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    more = imported("--help", cwd=tmp_path) - alone
    assert {name for name in more if name.startswith("launcher")} <= {"launcher", "launcher.cli", "launcher.cli.main"}
    outside = {name.partition(".")[0] for name in more} - set(sys.stdlib_module_names) - {"launcher", "click"}
    assert not outside


def test_status_as_json_imports_neither_rich_nor_what_it_does_not_need(project: Path) -> None:
    job(project)
    found = {name.partition(".")[0] for name in imported("status", JOB, "--json", cwd=project)}
    assert not found & {"rich", "torch", "boto3", "httpx", "yaml", "asyncio"}


def test_every_verb_of_the_table_exists() -> None:
    for verb in main.VERBS:
        command = importlib.import_module(verb.module).command
        assert isinstance(command, click.Command)
        assert command.name == verb.name
        assert command.help


def test_the_help_of_each_verb(tmp_path: Path) -> None:
    shown = run("--help", cwd=tmp_path).stdout
    for verb in main.VERBS:
        assert verb.help in shown
    assert run(cwd=tmp_path).stdout == shown
    assert run("ps", "--help", cwd=tmp_path).returncode == 0
    assert re.fullmatch(r"launch \d+\.\d+\.\d+\n", run("--version", cwd=tmp_path).stdout)


# --- errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["statsu"], 2, "did you mean `launch status`?"),
        (["xyzzy"], 2, "verbs: submit"),
        (["status", "--jsno"], 2, "--json"),
        (["--nonsense"], 2, "--nonsense"),
        (["wait"], 2, "JOBID"),
        (["wait", JOB, "--timeout", "soon"], 2, "90s, 90m, 6h"),
        (["status", "nobody"], 102, "nobody"),
        (["cancel", "nobody"], 102, "hint: launch status"),
        (["tail", "nobody"], 102, "nobody"),
        (["retry", f"{JOB}:0", "--tasks", "1"], 2, "give one of the two"),
        (["cancel", JOB, "--tasks", "5-1"], 2, "runs backwards"),
        (["status", "--watch"], 2, "terminal"),
    ],
)
def test_an_error_is_words_and_a_code(project: Path, words: list[str], code: int, said: str) -> None:
    job(project)
    done = run(*words, cwd=project)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_as_json(project: Path) -> None:
    assert error_of(run("status", "nobody", "--json", cwd=project))["kind"] == "NotFound"
    assert error_of(run("status", "--nonsense", "--json", cwd=project))["kind"] == "UsageError"
    assert error_of(run("statsu", "--json", cwd=project))["hint"] == "did you mean `launch status`?"


def test_an_error_has_what_was_tried_what_came_back_what_is_left_and_a_hint() -> None:
    error = LaunchError("starting \x1b[2Jit", came_back="no", left="pod abc is still billing", hint="launch gc")
    assert errors.as_text(error.as_json()) == "error: starting it: no\npod abc is still billing\nhint: launch gc\n"
    several = ConfigError([Problem("a.yaml", 3, "params", "unknown key"), Problem("a.yaml", 9, "env", "no mapping")])
    assert errors.as_text(several.as_json()).count("a.yaml:") == 2


def test_what_nobody_foresaw(project: Path, tmp_path: Path) -> None:
    """A crash: one line, a file with the details and without the values of the command line."""
    job(project)
    broken = tmp_path / "sitecustomize.py"
    broken.write_text(
        "import launcher.operations.stores as s\ndef f(*a): raise ZeroDivisionError('odd\\x1b[2J')\ns.resolve = f\n"
    )
    words = ("status", "--json", JOB)
    where = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "XDG_STATE_HOME": str(tmp_path / "state")}
    done = run(*words, cwd=project, **where)
    found = error_of(done)
    assert (done.returncode, found["came_back"]) == (1, "ZeroDivisionError: odd\x1b[2J")
    [kept] = (tmp_path / "state" / "launch" / "crashes").iterdir()
    assert str(kept) in found["left"]
    content = kept.read_text()
    assert "Traceback" in content
    assert JOB not in content.splitlines()[1]
    assert kept.stat().st_mode & 0o077 == 0
    done = run("status", JOB, cwd=project, **where)
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert "hint: LAUNCH_DEBUG=1" in done.stderr
    assert "Traceback" in run("status", JOB, cwd=project, LAUNCH_DEBUG="1", **where).stderr
    where["XDG_STATE_HOME"] = "/proc/nowhere"
    assert run("status", JOB, cwd=project, **where).returncode == 1


def test_a_reader_that_goes_away(project: Path) -> None:
    """`launch status | head -1`: no complaint."""
    job(project, 3000)
    reading, writing = os.pipe()
    os.close(reading)
    for words in (["status", JOB, "--json"], ["status", JOB, "--all"], ["--help"]):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*LAUNCH, *words], cwd=project, env=env, stdout=writing, stderr=subprocess.PIPE, text=True
        )
        assert (done.returncode, done.stderr) == (141, "")
    os.close(writing)


def test_ctrl_c_is_quiet(project: Path) -> None:
    made = job(project).allocated("native-1")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*LAUNCH, "wait", JOB], cwd=project, env=env, stdout=-1, stderr=-1)
    cache = Path(os.environ["HOME"])
    made.viewed()
    until(lambda: list(cache.rglob("sightings/*.json")), 20, "the first look of wait")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, b"", b"")


# --- verbs ----------------------------------------------------------------------------------------------------------------


def test_status_as_json(project: Path) -> None:
    made = job(project, 3).allocated().claimed(0)
    made.beat(0, metrics={"loss": float("nan")}, log=LogReading(5, "\x1b[2Jlast \ud800", 1.0)).noted(1).exited(
        1
    ).viewed()
    done = run("status", JOB, "--json", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert found["counts"] == {"running": 1, "succeeded": 1, "submitted": 1}
    running, ended, waiting = found["tasks"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", running["started_at"])
    assert isinstance(running["seconds"], float)
    assert running["metrics"] == {"loss": "NaN"}
    assert ended["outcome"] == "succeeded"
    assert (waiting["started_at"], waiting["cost"]) == (None, None)
    assert {one["job"] for one in json.loads(run("status", "--json", cwd=project).stdout)["jobs"]} == {JOB}


def test_status_as_text_in_a_pipe(project: Path) -> None:
    job(project, 3).allocated().claimed(0).beat(0).noted(1).exited(1).viewed()
    for words in (["status"], ["ps"], ["status", "last"], ["status", "train"], ["status", f"{JOB}_1"]):
        done = run(*words, cwd=project, COLUMNS="40")
        assert done.returncode == 0, done.stderr
        assert JOB in done.stdout
        assert "\x1b" not in done.stdout
    one = run("status", f"{JOB}:1", cwd=project).stdout
    assert "✔ succeeded" in one
    assert "● running" not in one


def test_status_where_the_terminal_cannot_write_it(project: Path) -> None:
    job(project).allocated().claimed(0).beat(0).viewed()
    done = run("status", JOB, cwd=project, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, "")
    assert "? running" in done.stdout


def on_a_terminal(*words: str, cwd: Path, **environment: str) -> str:
    """What the command writes to a terminal of 80 columns."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.environ.update({"PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "xterm", **environment})
        os.execv(sys.executable, [*LAUNCH, *words])
    found = b""
    while True:
        try:
            block = os.read(terminal, 65536)
        except OSError:
            break
        if not block:
            break
        found += block
    os.waitpid(pid, 0)
    os.close(terminal)
    return found.decode()


def test_colour_on_a_terminal_unless_it_is_not_wanted(project: Path) -> None:
    job(project).allocated().claimed(0).beat(0, log=LogReading(1, "\x1b]0;title\x07\x1b[31mred\x1b[0m", 1.0)).viewed()
    coloured = on_a_terminal("status", JOB, cwd=project)
    assert "\x1b[36m● running\x1b[0m" in coloured
    assert "━" in coloured
    assert "title" not in coloured
    assert "\x1b" not in on_a_terminal("status", JOB, cwd=project, NO_COLOR="1")


@pytest.mark.parametrize(
    ("outcome", "code"), [(Outcome.SUCCEEDED, 0), (Outcome.STALLED, 100), (Outcome.CANCELLED, 103), (None, 101)]
)
def test_wait_exits_with_the_verdict(project: Path, outcome: Outcome | None, code: int) -> None:
    made = job(project, 2).allocated().noted(0).exited(0).claimed(1).viewed()
    if outcome is not None:
        made.exited(1, outcome).noted(1, outcome)
    done = run("wait", JOB, "--timeout", "0.1s", cwd=project)
    assert (done.returncode, done.stdout) == (code, "")
    assert JOB in done.stderr
    assert run("wait", f"{JOB}_0", cwd=project).returncode == 0
    assert json.loads(run("wait", JOB, "--timeout", "0", "--json", cwd=project).stdout)["job"] == JOB


def test_cancel_needs_a_yes_and_says_what_would_be_lost(project: Path) -> None:
    made = job(project, 3).allocated().claimed(0).beat(0, cost=1.25, checkpoint="step-400").noted(1).exited(1).viewed()
    done = run("cancel", JOB, cwd=project)
    assert done.returncode == 4
    for said in ("step-400", "$1.25", "50%", "task 2", "nothing was stopped", "--yes"):
        assert said in done.stderr
    assert error_of(run("cancel", JOB, "--json", cwd=project))["kind"] == "DecisionNeeded"
    assert made.store.names(keys.stops(JOB)) == []
    done = run("cancel", f"{JOB}:0", "--yes", "--no-wait", "--json", cwd=project)
    assert json.loads(done.stdout)["running"] == [0]
    [name] = made.store.names(keys.stops(JOB))
    assert json.loads(made.store.read(f"{keys.stops(JOB)}/{name}") or b"")["tasks"] == [0]
    done = run("cancel", f"{JOB}:1", cwd=project)
    assert (done.returncode, "nothing to stop" in done.stderr) == (0, True)


def test_reconcile_says_what_was_lost_once(project: Path) -> None:
    job(project, 2).allocated().claimed(0).beat(0, supervisor=dead(), child=dead()).viewed(agent=dead())
    done = run("gc", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "allocation a1 (native-1) is lost" in done.stdout
    assert f"hint: launch retry {JOB} --failed" in done.stdout
    again = run("reconcile", cwd=project)
    assert (again.stdout, "nothing is lost in 1 job" in again.stderr) == ("", True)
    assert json.loads(run("reconcile", "--json", cwd=project).stdout)["jobs"][0]["job"] == JOB


def test_retry_refuses_what_has_not_ended(project: Path) -> None:
    job(project, 2).allocated().noted(0).exited(0).claimed(1).beat(1).viewed()
    done = run("retry", JOB, "--tasks", "0-1", cwd=project)
    assert done.returncode == 1
    assert "task 0 succeeded" in done.stderr
    assert "task 1 has not ended" in done.stderr
    assert "nothing was submitted" in done.stderr


# --- completion -----------------------------------------------------------------------------------------------------------


def completed(*words: str, cwd: Path) -> list[str]:
    line = " ".join(["launch", *words])
    count = str(len(words))
    done = run(cwd=cwd, _LAUNCH_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=count)
    assert "Traceback" not in done.stderr, done.stderr
    return [one.partition(",")[2] for one in done.stdout.splitlines() if one]


def test_completion_of_verbs_jobs_phases_and_profiles(project: Path) -> None:
    for place, name in enumerate(("train-2222", "train-3333", "other-2222")):
        store = job(project, name=name).store
        os.utime(store.path(keys.spec(name)), (place, place))
    (project / "jobs" / "my_phase.yaml").write_text("command: 'true'\n")
    (project / "cluster_profiles").mkdir()
    (project / "cluster_profiles" / "big_gpu.yaml").write_text("executor: local\n")
    assert completed("sta", cwd=project) == ["status"]
    assert completed("status", "tr", cwd=project) == ["train-3333", "train-2222"]
    assert completed("cancel", "la", cwd=project) == ["last"]
    assert "my_phase" in completed("submit", "my", cwd=project)
    assert "big_gpu" in completed("submit", "--profile", "big", cwd=project)
    (project / ".launch" / "store" / "jobs").rename(project / "away")
    (project / ".launch" / "store" / "jobs").write_text("")
    assert completed("status", "tr", cwd=project) == []


# --- the code -------------------------------------------------------------------------------------------------------------


def test_no_verb_imports_at_its_top_what_is_heavy() -> None:
    heavy = {"rich", "pydantic", "yaml", "torch", "boto3", "httpx", "paramiko", "tenacity"}
    for path in sorted((ROOT / "launcher" / "cli").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & heavy, path


def test_a_shell_in_a_folder_that_was_removed(tmp_path: Path) -> None:
    """A folder of results is moved away, and a shell stays in it: no mystery, and nothing to report to anybody."""
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$1" && rmdir "$1" && exec "$2" -m launcher.cli.main status'
    words = ["sh", "-c", script, "sh", str(gone), sys.executable]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == ""
    assert "the folder that this shell is in exists no more" in done.stderr and "hint: cd" in done.stderr


def test_status_of_a_failed_task_shows_its_last_line_and_the_jobs_own_name(project: Path) -> None:
    """`exit code 1` is no answer to why: the last line of the log mostly is."""
    made = job(project)
    Written(made.store, replace(made.spec, name="first try of seed 7")).submitted()
    made.claimed(0).beat(0, log=LogReading(10, "KeyError: 'labels'", 1.0))
    made.exited(0, Outcome.FAILED, reason="exit code 1", exit_code=1).noted(0, Outcome.FAILED, reason="exit code 1")
    shown = run("status", JOB, cwd=project).stdout
    assert "exit code 1; KeyError: 'labels'" in shown
    assert "“first try of seed 7”" in shown
    assert "first try of seed 7" in run("status", cwd=project).stdout


@pytest.mark.parametrize(
    ("attempt", "checkpoint", "outcome", "words"),
    [
        (0, None, Outcome.NODE_LOST, "the beginning"),
        (1, None, Outcome.FAILED, "its newest checkpoint, if there is one"),
        (1, "ck/s-5", Outcome.FAILED, "ck/s-5"),
        (1, "ck/s-5", Outcome.NODE_LOST, "ck/s-5, or a newer one"),
    ],
)
def test_retry_promises_no_more_of_the_checkpoint_than_it_knows(
    attempt: int, checkpoint: str | None, outcome: Outcome, words: str
) -> None:
    row = retry_row(Again(0, attempt, outcome, checkpoint))
    assert "".join(span.text for span in row[-1]) == words
