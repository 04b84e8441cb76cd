"""The real supervisor on real children: how they end, and what is said of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest

from launcher.model import codec
from launcher.model.outcome import Outcome, State
from launcher.model.phase import Resources
from launcher.store import keys, processes, records
from tests.supervising import JOB, Stage
from tests.waiting import until


@pytest.fixture
def stage(odd_path: Path) -> Stage:
    return Stage(odd_path)


def test_a_success_is_recorded_with_what_it_used(stage: Stage) -> None:
    stage.job("print('hello'); import time; time.sleep(0.5)")
    record = stage.run()
    assert record.outcome is Outcome.SUCCEEDED, record
    assert record.exit_code == 0 and record.signal is None
    assert stage.output() == "hello\n" and record.log_size == 6
    assert record.peak_memory is not None and record.peak_memory > 1_000_000
    assert record.cpu_seconds is not None and record.cpu_seconds > 0
    assert record.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert any(line.startswith("pytest==") for line in record.versions["packages"])
    assert record.hardware["cpus"] == os.cpu_count()
    beat = stage.heartbeat()
    assert beat is not None and beat.state is State.ENDED and beat.seq >= 4
    assert stage.said() == ""
    assert not stage.data().exists(), "an attempt without outputs leaves nothing in the workspace"
    names = set(os.listdir(stage.store.path(keys.attempt(JOB, 0, 1))))
    assert {"claim.json", "exit.json", "heartbeat.json", "log.txt"} <= names
    assert not {"evidence", ".launch-ballast"} & names


@pytest.mark.parametrize(
    ("script", "outcome", "words"),
    [
        ("import sys; sys.exit(3)", Outcome.FAILED, "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", Outcome.FAILED, "signal 9 (SIGKILL) from outside"),
        ("import os; os.kill(os.getpid(), 11)", Outcome.FAILED, "crashed: signal 11 (SIGSEGV)"),
        ("import sys; sys.exit(75)", Outcome.FAILED, "though nobody asked"),
        ("raise MemoryError('no room')", Outcome.OUT_OF_MEMORY, "MemoryError"),
        ("raise OSError(28, 'No space left on device')", Outcome.OUT_OF_DISK, "No space left on device"),
        (
            "from launcher import task; task.fail('stalled', 'no step for an hour')",
            Outcome.STALLED,
            "no step for an hour",
        ),
    ],
)
def test_how_a_child_ends(stage: Stage, script: str, outcome: Outcome, words: str) -> None:
    stage.job(script)
    record = stage.run()
    assert record.outcome is outcome and words in record.reason, record


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("no-such-program", "x"), "no-such-program was not found"),
        (("./main.py",), "Permission denied"),
        (("./text",), "is no program"),
        (("./bad",), "interpreter"),
    ],
)
def test_what_cannot_be_executed_is_start_failed(stage: Stage, command: tuple[str, ...], words: str) -> None:
    for name, text in (("text", "neither binary nor script"), ("bad", "#!/no/such/interpreter\n")):
        (stage.project / name).write_text(text, encoding="utf-8")
        (stage.project / name).chmod(0o755)
    stage.job("print('x')", command=command)
    record = stage.run()
    assert record.outcome is Outcome.START_FAILED and words in record.reason and command[0] in record.reason, record
    assert processes.marked(f"{JOB}/0/1", str(stage.store.root)) == []


def test_the_child_is_told_what_it_is(stage: Stage) -> None:
    stage.job(
        "import json, os, sys; print(json.dumps(dict(os.environ))); print(sys.stdin.read() == '', os.getsid(0) == os.getpid())",
        params={"seed": 3},
        env={"MINE": "seed {seed}"},
        outputs={"answers": "results/{task.index}.json"},
    )
    stage.run(env={"LAUNCH_RESUME_FROM": "stale", "PYTHONPATH": "/before"})
    found = stage.environment_of_child()
    assert found["LAUNCH_ATTEMPT_ID"] == f"{JOB}/0/1" and found["MINE"] == "seed 3"
    assert json.loads(found["LAUNCH_PARAMS"]) == {"seed": 3}
    assert json.loads(found["LAUNCH_OUTPUTS"]) == {"answers": str(stage.data() / "work" / "results" / "0.json")}
    assert found["PYTHONUNBUFFERED"] == "1" and found["TOKENIZERS_PARALLELISM"] == "false"
    assert found["PYTHONPATH"].startswith("/before:")
    assert "LAUNCH_RESUME_FROM" not in found and "LAUNCH_SHARE_FD" not in found and "CUDA_VISIBLE_DEVICES" not in found
    assert "True True" in stage.output()


def test_missing_output_is_named(stage: Stage) -> None:
    stage.job("open('made.txt', 'w').write('x')", outputs={"made": "made.txt", "model": "model.bin"})
    record = stage.run()
    assert record.outcome is Outcome.FAILED and "model (model.bin)" in record.reason and "made (" not in record.reason
    assert record.kept == (str(stage.data() / "outputs"),)
    assert (stage.data() / "outputs" / "made.txt").read_text() == "x"
    assert not (stage.workspace / "made.txt").exists() and stage.manifests() is None


def test_missing_input_is_named_and_an_optional_one_is_not(stage: Stage) -> None:
    from launcher.model.phase import Input

    stage.job("print('ran')", inputs={"states": "states.npy", "extra": Input("extra.npy", optional=True)})
    record = stage.run()
    assert record.outcome is Outcome.START_FAILED and "the input states" in record.reason
    (stage.workspace / "states.npy").write_text("states")
    stage.job("print(open('states.npy').read())", inputs={"states": "states.npy", "extra": Input("e", optional=True)})
    assert stage.run(2).outcome is Outcome.SUCCEEDED
    assert stage.output(2) == "states\n"


def test_lost_code_is_start_failed(stage: Stage) -> None:
    spec = stage.job("print('ran')")
    archive = stage.store.path(keys.snapshot(spec.code.hash))
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    record = stage.run()
    assert record.outcome is Outcome.START_FAILED and "unpacking the code" in record.reason
    archive.unlink()
    assert "does not exist" in stage.run(2).reason


def test_here_runs_in_the_project_and_says_so(stage: Stage) -> None:
    spec = stage.job("open('out.txt', 'w').write('here')", outputs={"out": "out.txt"})
    code = replace(spec.code, kind="here", folder=str(stage.workspace))
    (stage.workspace / "main.py").write_text("open('out.txt', 'w').write('here')")
    stage.job("", outputs={"out": "out.txt"}, code=code)
    record = stage.run()
    assert record.outcome is Outcome.SUCCEEDED, record
    assert [finding.code for finding in record.findings] == ["code.here"]
    manifests = stage.manifests()
    assert manifests is not None and manifests.artifacts[0].files[0].size == 4
    assert (stage.workspace / "out.txt").read_text() == "here"


def test_undeclared_files_are_kept_and_the_code_is_not(stage: Stage) -> None:
    (stage.project / "package").mkdir()
    (stage.project / "package" / "__init__.py").write_text("x = 1")
    stage.job(
        "import package; open('package/notes.txt', 'w').write('12345'); open('declared', 'w')",
        outputs={"d": "declared"},
    )
    record = stage.run()
    assert record.outcome is Outcome.SUCCEEDED
    work = stage.data() / "work"
    assert record.kept == (str(work),)
    found = next(finding for finding in record.findings if finding.code == "code.undeclared_files")
    assert "1 files (5B)" in found.message and "package/notes.txt" in found.message
    assert [path.name for path in work.rglob("*") if path.is_file()] == ["notes.txt"]


def test_who_looks_right_after_the_start_sees_it_move(stage: Stage) -> None:
    """With a beat of a minute, the first progress is there within seconds."""
    script = "import time; from launcher import task; print('begun', flush=True); task.progress(1, 10); time.sleep(60)"
    stage.job(script, beat=60.0)
    stage.start(env={"PYTHONPATH": str(Path(__file__).parent.parent)})
    stage.until_log("begun")

    def seen() -> bool:
        beat = stage.heartbeat()
        return bool(beat and beat.progress and beat.progress.step == 1 and beat.log and beat.log.last_line == "begun")

    until(seen, 20, "a heartbeat that holds the progress")
    stage.stop()
    assert stage.ended().outcome is Outcome.CANCELLED


def test_a_time_limit_ends_the_attempt(stage: Stage) -> None:
    stage.job("import time; print('up'); time.sleep(60)", resources=(Resources(time=1.0),), grace=0.3)
    record = stage.run()
    assert record.outcome is Outcome.TIMED_OUT and "time limit" in record.reason and record.signal == signal.SIGTERM


def test_shell_and_arguments_stay_apart(stage: Stage) -> None:
    stage.job(command=("echo {text}; exit 4",), shell=True, params={"text": "a b; exit 9 '\"\n$HOME"})
    record = stage.run()
    assert record.exit_code == 4 and stage.output() == "a b; exit 9 '\"\n$HOME\n"


def test_the_log_survives_a_slow_store_and_a_full_heartbeat(stage: Stage) -> None:
    """A heartbeat that cannot be written does not end the attempt."""
    stage.job("import os, time; print('up')\nwhile not os.path.exists(os.environ['GO']): time.sleep(0.01)")
    go = stage.root / "go"
    stage.start(env={"GO": str(go)})
    stage.until_log("up")
    beat = stage.store.path(keys.of_attempt(JOB, 0, 1, keys.HEARTBEAT))
    until(lambda: (b := stage.heartbeat()) and b.state is State.RUNNING, 10, "a running heartbeat")
    beat.unlink()
    beat.mkdir()
    (beat / "in the way").touch()
    until(lambda: "heartbeat" in stage.said(), 10, "the refusal to be said")
    go.touch()
    assert stage.ended().outcome is Outcome.SUCCEEDED
    assert stage.said().count("heartbeat") == 1


def test_a_newer_attempt_takes_the_place_of_an_older(stage: Stage) -> None:
    stage.job("import time; print('up'); time.sleep(60)", outputs={"x": "x"}, grace=0.2)
    stage.start()
    stage.until_log("up")
    stage.store.claim(keys.attempt(JOB, 0, 2))
    record = stage.ended()
    assert record.outcome is Outcome.CANCELLED and "attempt 2" in record.reason


def test_an_ended_attempt_is_not_run_again(stage: Stage) -> None:
    stage.job("print('once')")
    stage.run()
    stage.start(1, "--adopt")
    stage.ended()
    assert stage.output() == "once\n"


def test_a_path_that_leaves_the_tree_is_refused(stage: Stage) -> None:
    stage.job("print('ran')", outputs={"x": "../outside"})
    record = stage.run()
    assert record.outcome is Outcome.START_FAILED and "../outside" in record.reason
    assert records.read_claim(stage.store, JOB, 0, 1) is None


def _python_39() -> Optional[str]:
    """Some Python 3.9, the oldest that a node may have."""
    for each in [shutil.which("python3.9"), *map(str, Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9"))]:
        if each is not None and subprocess.run([each, "-c", ""], capture_output=True).returncode == 0:
            return each
    return None


PYTHON_39 = _python_39()


@pytest.mark.skipif(PYTHON_39 is None, reason="no Python 3.9 here")
def test_the_supervisor_runs_on_the_oldest_python(stage: Stage) -> None:
    (stage.workspace / "data").write_text("input")
    stage.job("open('out', 'w').write(open('data').read())", outputs={"out": "out"}, inputs={"data": "data"})
    record = stage.run(python=PYTHON_39)
    assert record.outcome is Outcome.SUCCEEDED and stage.said() == "", (record, stage.said())
    assert (stage.workspace / "out").read_text() == "input"


def test_a_clock_that_was_set_while_nobody_watched_is_no_time_that_went_by(stage: Stage) -> None:
    """A machine that booted with the wrong time is set right by the network, in one step of years."""
    price = replace(stage.job().place, price=3600.0)
    go = stage.root / "go"
    waits = f"import os, time; print('up')\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
    stage.job(waits, place=price)
    spec = records.read_spec(stage.store, JOB)
    assert spec is not None
    limited = replace(spec, resources=(replace(spec.resources[0], time=600.0),), budget=1e6)
    stage.store.replace(keys.spec(JOB), codec.dump(limited))
    stage.start()
    stage.until_log("up")
    stage.kill()
    claim = records.read_claim(stage.store, JOB, 0, 1)
    assert claim is not None
    wrong = replace(claim, at=claim.at - 1e9)
    stage.store.replace(keys.of_attempt(JOB, 0, 1, keys.CLAIM), codec.dump(wrong))
    before = stage.heartbeat()
    assert before is not None
    stage.start(1, "--adopt")
    until(lambda: (b := stage.heartbeat()) and b.seq > before.seq + 8, 10, lambda: f"beats; {stage.said()}")
    go.touch()
    record = stage.ended()
    assert record.outcome is Outcome.UNKNOWN, record.reason  # nobody was there to tell of its exit code
    assert record.cost is not None and record.cost < 60
