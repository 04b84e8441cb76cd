"""`launcher.task` in real processes: what it reads from the environment, and what it leaves in the two files."""

from __future__ import annotations

import ast
import json
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.model.outcome import Outcome
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent
DEADLINE_S = 30.0
ODD = 'a "b" c\'s\nd'


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a supervised child, without what this test's own process may have."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("LAUNCH_")}
    files = {"LAUNCH_PROGRESS": folder / "progress.jsonl", "LAUNCH_METRICS": folder / "metrics.jsonl"}
    return {**plain, "PYTHONPATH": str(ROOT), **{key: str(path) for key, path in files.items()}, **more}


def play(script: str, env: dict[str, str], folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        **options,
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_it_is_syntax_of_python_3_9_and_imports_the_standard_library_only() -> None:
    tree = ast.parse((ROOT / "launcher/task.py").read_text(), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {name for name in imported if name.startswith("launcher")}
    assert ours == {"launcher.errors", "launcher.model.outcome"}
    assert {name.split(".")[0] for name in imported - ours} <= sys.stdlib_module_names


def test_outside_of_launch_everything_is_harmless(tmp_path: Path) -> None:
    script = """
import os
from launcher import task
assert (task.index(), task.params(), task.resume_from(), task.stop_requested()) == (0, {}, None, False)
task.progress(1, 2, "a", "b"); task.metric(1, loss=0.5); task.checkpoint_saved("x", 3, loss=1)
assert str(task.output("model", "here/model.bin")) == "here/model.bin" and os.path.isdir("here")
assert str(task.output("model")) == "outputs/model"
folder = task.scratch()
assert folder == task.scratch() and folder.is_dir()
print(folder)
"""
    env = {key: value for key, value in environment(tmp_path).items() if not key.startswith("LAUNCH_")}
    ended = play(script, env, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert not Path(ended.stdout.strip()).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "outputs"]


def test_it_reads_its_environment(tmp_path: Path) -> None:
    checkpoint = tmp_path / ODD
    checkpoint.mkdir()
    env = environment(
        tmp_path,
        LAUNCH_TASK="5",
        LAUNCH_PARAMS=json.dumps({"seed": 7, "name": ODD}),
        LAUNCH_OUTPUTS=json.dumps({"answers": f"results/{ODD}/answers.jsonl"}),
        LAUNCH_RESUME_FROM=str(checkpoint),
        LAUNCH_STOP_FILE=str(tmp_path / "stop"),
        LAUNCH_SCRATCH=str(tmp_path / "scratch"),
    )
    script = """
import json, pathlib
from launcher import task
before = task.stop_requested()
pathlib.Path("stop").touch()
print(json.dumps([task.index(), task.params(), str(task.output("answers")), str(task.resume_from()), before,
                  task.stop_requested(), str(task.scratch())]))
"""
    ended = play(script, env, tmp_path)
    answers = f"results/{ODD}/answers.jsonl"
    params = {"seed": 7, "name": ODD}
    assert json.loads(ended.stdout) == [5, params, answers, str(checkpoint), False, True, str(tmp_path / "scratch")]
    assert (tmp_path / answers).parent.is_dir()


@pytest.mark.parametrize(
    ("name", "value", "call", "said"),
    [
        ("LAUNCH_TASK", "five", "task.index()", "'five'"),
        ("LAUNCH_PARAMS", "{", "task.params()", "LAUNCH_PARAMS"),
        ("LAUNCH_PARAMS", "[1]", "task.params()", "a JSON list"),
        ("LAUNCH_OUTPUTS", '{"answers": "a"}', "task.output('ansers')", "the phase declares: answers"),
    ],
)
def test_a_wrong_environment_is_named(tmp_path: Path, name: str, value: str, call: str, said: str) -> None:
    ended = play(f"from launcher import task; {call}", environment(tmp_path, **{name: value}), tmp_path)
    assert ended.returncode == 1
    assert said in ended.stderr.splitlines()[-1]


def test_progress_metrics_and_checkpoints_are_lines(tmp_path: Path) -> None:
    script = """
import math
from launcher import task
task.progress(3, 10, stage="decode", message="first")
task.progress(stage="save")
task.checkpoint_saved("step 3", 3, loss=math.nan)
task.metric(3, loss=math.inf, low=-math.inf, deep={"a": [math.nan, 1]}, text="naïve", flag=True)
task.metric(loss=0.5)
task.metric(4)
"""
    assert play(script, environment(tmp_path), tmp_path).returncode == 0
    assert lines(tmp_path / "progress.jsonl") == [
        {"step": 3, "total": 10, "stage": "decode", "message": "first"},
        {"stage": "save"},
        {"checkpoint": str(tmp_path / "step 3"), "step": 3, "metrics": {"loss": "NaN"}},
    ]
    odd = {"loss": "Infinity", "low": "-Infinity", "deep": {"a": ["NaN", 1]}, "text": "naïve", "flag": True}
    assert lines(tmp_path / "metrics.jsonl") == [{"step": 3, **odd}, {"loss": 0.5}]


def test_scalars_of_other_libraries_are_numbers(tmp_path: Path) -> None:
    script = """
import numpy, torch
from launcher import task
task.metric(numpy.int64(2), a=numpy.float32(0.5), b=torch.tensor(0.25), c=torch.tensor(float("nan")), d=torch.zeros(2))
"""
    assert play(script, environment(tmp_path), tmp_path).returncode == 0
    assert lines(tmp_path / "metrics.jsonl") == [{"step": 2, "a": 0.5, "b": 0.25, "c": "NaN", "d": "tensor([0., 0.])"}]


def test_what_cannot_be_written_does_not_end_the_job(tmp_path: Path) -> None:
    script = """
from launcher import task
loop = []; loop.append(loop)
task.metric(1, a=loop)
task.metric(2, a=10**5000)
task.metric(3, a=object)
task.metric(4, a="\\ud800")
"""
    assert play(script, environment(tmp_path), tmp_path).returncode == 0
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [3, 4]
    for target in (tmp_path, tmp_path / "no" / "folder", Path("/dev/full")):
        env = {**environment(tmp_path), "LAUNCH_PROGRESS": str(target), "LAUNCH_METRICS": str(target)}
        script = "from launcher import task\ntask.progress(1)\ntask.metric(1, a=2)\ntask.checkpoint_saved('x')"
        ended = play(script, env, tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")


def test_a_fast_loop_tells_few_steps_and_always_the_last(tmp_path: Path) -> None:
    loop = "from launcher import task\nfor step in range({last} + 1): task.progress(step, 100_000)"
    assert play(loop.format(last=99_999), environment(tmp_path), tmp_path).returncode == 0
    told = [line["step"] for line in lines(tmp_path / "progress.jsonl")]
    assert told[0] == 0 and told[-1] == 99_999 and told == sorted(told)
    assert len(told) < 1000


def test_a_stage_does_not_swallow_the_step_before_it(tmp_path: Path) -> None:
    script = "from launcher import task\nfor step in (1, 2, 3): task.progress(step, 9)\ntask.progress(stage='save')"
    assert play(script, environment(tmp_path), tmp_path).returncode == 0
    assert lines(tmp_path / "progress.jsonl")[-1] == {"step": 3, "total": 9, "stage": "save"}


def test_a_forked_process_does_not_repeat_its_parents_step(tmp_path: Path) -> None:
    script = """
import os, sys
from launcher import task
task.progress(1, 9); task.progress(2, 9)
child = os.fork()
if child == 0:
    sys.exit(0)
os.waitpid(child, 0)
task.progress(3, 9, stage="x")
"""
    assert play(script, environment(tmp_path), tmp_path).returncode == 0
    assert [line["step"] for line in lines(tmp_path / "progress.jsonl")] == [1, 3]


def test_lines_of_many_processes_stay_whole(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom launcher import task\nfor n in range(300): task.metric(n, who=sys.argv[1], pad='x' * 9000)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(who)], env=environment(tmp_path), cwd=tmp_path)
        for who in range(4)
    ]
    assert [writer.wait(DEADLINE_S) for writer in writers] == [0] * 4
    found = lines(tmp_path / "metrics.jsonl")
    assert sorted((line["who"], line["step"]) for line in found) == [(str(w), n) for w in range(4) for n in range(300)]


def test_a_line_cut_by_a_full_disk_spoils_no_other_line(tmp_path: Path) -> None:
    """RLIMIT_FSIZE cuts a write short exactly where a full disk would."""
    script = """
import resource, signal
from launcher import task
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
task.metric(1, a="x" * 50)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
task.metric(2, a="x" * 90)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
task.metric(3, a="y")
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    assert play(script, environment(tmp_path), tmp_path).returncode == 0
    text = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(text[0])["step"] == 1
    with pytest.raises(ValueError):
        json.loads(text[1])
    assert json.loads(text[2]) == {"step": 3, "a": "y"}


@pytest.mark.parametrize(
    ("given", "name"),
    [("stalled", "stalled"), ("OUT_OF_MEMORY", "out of memory"), ("out-of-disk", "out of disk"), ("failed", "failed")],
)
def test_fail_declares_an_outcome(tmp_path: Path, given: str, name: str) -> None:
    ended = play(f"from launcher import task; task.fail({given!r}, 'because')", environment(tmp_path), tmp_path)
    assert ended.returncode != 0
    assert lines(tmp_path / "progress.jsonl") == [{"outcome": name, "reason": "because"}]
    assert f"{name}: because" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize("given", ["succeeded", "unknown", "bored"])
def test_what_a_task_cannot_declare_is_a_failure_with_its_reason(tmp_path: Path, given: str) -> None:
    ended = play(f"from launcher import task; task.fail({given!r}, 'because')", environment(tmp_path), tmp_path)
    assert ended.returncode != 0
    (line,) = lines(tmp_path / "progress.jsonl")
    assert line["outcome"] == Outcome.FAILED.value
    assert "because" in line["reason"] and given in line["reason"]


def test_fail_leaves_its_exit_code_where_nothing_can_be_written(tmp_path: Path) -> None:
    env = {**environment(tmp_path), "LAUNCH_PROGRESS": "/dev/full"}
    script = "import os\nfrom launcher import task\nos.close(2); os.close(1)\ntask.fail('out of disk', 'no room')"
    assert play(script, env, tmp_path).returncode == 1


def test_a_lost_checkpoint_is_no_reason_to_begin_anew(tmp_path: Path) -> None:
    env = environment(tmp_path, LAUNCH_RESUME_FROM=str(tmp_path / "gone"))
    ended = play("from launcher import task; task.resume_from(); print('began anew')", env, tmp_path)
    assert ended.returncode != 0 and ended.stdout == ""
    assert lines(tmp_path / "progress.jsonl")[0]["outcome"] == "start failed"


def test_stacks_of_all_threads_on_a_signal(tmp_path: Path) -> None:
    number = signal.SIGRTMIN + 5
    stacks = tmp_path / "stacks of the child.txt"
    env = environment(tmp_path, LAUNCH_STACKS_SIGNAL=str(number), LAUNCH_STACKS_FILE=str(stacks))
    script = """
import threading, time
from launcher import task
def waits_in_a_thread(): time.sleep(60)
def waits_in_the_main_thread(): print("ready", flush=True); time.sleep(60)
threading.Thread(target=waits_in_a_thread, daemon=True).start()
waits_in_the_main_thread()
"""
    child = subprocess.Popen([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        status = Path(f"/proc/{child.pid}/status").read_text()
        caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1], 16)
        assert caught >> (number - 1) & 1
        child.send_signal(number)
        until(lambda: "waits_in_the_main_thread" in stacks.read_text(), DEADLINE_S, "the main thread's stack")
        until(lambda: "waits_in_a_thread" in stacks.read_text(), DEADLINE_S, "the other thread's stack")
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


@pytest.mark.parametrize("more", [{}, {"LAUNCH_STACKS_SIGNAL": "999"}, {"LAUNCH_STACKS_SIGNAL": "x"}])
def test_no_signal_is_taken_unless_a_real_one_is_named(tmp_path: Path, more: dict[str, str]) -> None:
    script = """
from launcher import task
caught = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("SigCgt:"))
print(int(caught, 16) >> 33)
"""
    ended = play(script, environment(tmp_path, LAUNCH_STACKS_FILE=str(tmp_path / "s"), **more), tmp_path)
    assert (ended.returncode, ended.stdout.strip()) == (0, "0")


def test_a_handler_of_the_users_own_stays(tmp_path: Path) -> None:
    number = signal.SIGRTMIN + 5
    env = environment(tmp_path, LAUNCH_STACKS_SIGNAL=str(number), LAUNCH_STACKS_FILE=str(tmp_path / "s"))
    script = f"""
import os, signal
signal.signal({number}, lambda *_: print("mine", flush=True))
from launcher import task
os.kill(os.getpid(), {number})
"""
    assert play(script, env, tmp_path).stdout == "mine\n"


def test_a_number_of_json_is_never_a_bare_nan(tmp_path: Path) -> None:
    def refuse(text: str) -> float:
        raise ValueError(text)

    assert (
        play("from launcher import task; task.metric(1, a=float('nan'))", environment(tmp_path), tmp_path).returncode
        == 0
    )
    found = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert math.isnan(float(found["a"]))


def test_the_stop_exit_code_is_ex_tempfail() -> None:
    from launcher import task

    assert task.STOPPED_EXIT_CODE == os.EX_TEMPFAIL
