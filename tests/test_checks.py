"""What can be known before a submit: each check finds what it is for, and is silent where nothing is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.checks import disk_space, facts, fits, inputs, one_path, program, secret_values, table
from launcher.checks.facts import Facts
from launcher.executors import local
from launcher.executors.contract import Inventory
from launcher.model.job import Code, JobSpec, Place, TaskSpec
from launcher.model.phase import Input, Output, Resources, Setup

GB = 10**9


def _spec(workspace: Path, **changes: Any) -> JobSpec:
    found: dict[str, Any] = {
        "schema": 1, "job": "p-aaaa", "phase": "p", "name": "p", "submitted_at": 1.0, "submitted_by": "me@here",
        "version": "0", "place": Place("local", "local", {"python": sys.executable}, str(workspace), str(workspace)),
        "code": Code("snapshot", "c"), "kit": "k", "command": ("python", "main.py"), "shell": False, "params": {},
        "tasks": tuple(TaskSpec(i) for i in range(3)), "resources": (Resources(),),
    }  # fmt: skip
    found.update(changes)
    return JobSpec(**found)


def _facts(spec: JobSpec, **changes: Any) -> Facts:
    found: dict[str, Any] = {"files": {"main.py": "644"}, "environ": dict(os.environ), **changes}
    return Facts(spec=spec, tasks=facts.fill(spec), **found)


def test_nothing_is_wrong_with_a_plain_job(tmp_path: Path) -> None:
    assert table.run(_facts(_spec(tmp_path), inventory=Inventory(0, None, 2, 4 * GB))) == ()


def test_a_task_that_does_not_fit_is_named_with_need_and_have(tmp_path: Path) -> None:
    resources = (Resources(), Resources(gpus=2, gpu_memory=40 * GB), Resources(memory=64 * GB, cpus=32))
    tasks = (TaskSpec(0), TaskSpec(1, {}, 1), TaskSpec(2, {}, 2), TaskSpec(3, {}, 2))
    spec = _spec(tmp_path, resources=resources, tasks=tasks)
    found = fits.check(_facts(spec, inventory=Inventory(0, None, 2, 8 * GB)))
    assert [objection.message for objection in found] == [
        "task 1 needs 2 GPUs, there are 0 on local",
        "each of tasks 2-3 needs 32 CPUs, there are 2; needs 64GB of memory, there is 8GB on local",
    ]
    assert fits.without_gpus(spec, Inventory(0, None, 2, 8 * GB)) == (1,)


def test_a_task_over_more_nodes_than_there_are(tmp_path: Path) -> None:
    """It would begin on one node, alone, and call that a success."""
    spec = _spec(tmp_path, resources=(Resources(nodes=2),), tasks=(TaskSpec(0),))
    (found,) = fits.check(_facts(spec, inventory=Inventory(nodes=1)))
    assert found.fatal and found.message == "task 0 needs 2 nodes, there is 1 on local"
    assert local.LocalExecutor(local.Options()).inventory().nodes == 1


def test_small_gpus_and_unknown_places(tmp_path: Path) -> None:
    spec = _spec(tmp_path, resources=(Resources(gpus=1, gpu_memory=40 * GB, memory=64 * GB),))
    assert fits.check(_facts(spec, inventory=Inventory())) == []
    (found,) = fits.check(_facts(spec, inventory=Inventory(1, 24 * GB, None, None)))
    assert "needs 40GB of memory per GPU, there is 24GB" in found.message
    assert fits.without_gpus(spec, Inventory(1, 24 * GB)) == (0, 1, 2)
    assert fits.without_gpus(spec, Inventory(1, 80 * GB, None, GB)) == ()


def test_inputs_that_are_missing_coming_or_optional(odd_path: Path) -> None:
    (odd_path / "here").write_text("x")
    (odd_path / "dangling").symlink_to("nowhere")
    inputs_of = {
        "a": Input("here"), "b": Input("gone/{task.index}"), "c": Input("made/model/weights"),
        "d": Input("maybe", optional=True), "e": Input("dangling"),
    }  # fmt: skip
    world = _facts(_spec(odd_path, inputs=inputs_of), coming=frozenset({"made/model"}), makers={"gone": "collect"})
    found = inputs.check(world)
    assert [o.message.partition(" does not")[0] for o in found] == [
        f"input b, which task {i} reads,".rstrip(",") for i in range(3)
    ]
    assert all(o.fatal and o.hint == "phase collect makes it: launch submit collect p" for o in found)


def test_programs_and_scripts(tmp_path: Path) -> None:
    def says(*command: str, files: dict[str, str] | None = None, **changes: Any) -> str:
        spec = _spec(tmp_path, command=command, **changes)
        found = program.check(_facts(spec, files=files or {"main.py": "644", "run.sh": "755", "plain.sh": "644"}))
        return "; ".join(o.message for o in found)

    assert says("python", "main.py") == says("run.sh/../run.sh") == says("true") == says("./run.sh") == ""
    assert says("python", "-m", "pkg") == says("python", "-c", "x") == ""
    assert "gone.py is not among the code" in says("python", "gone.py")
    assert "plain.sh is not executable" in says("./plain.sh")
    assert "no program 'no-such-program'" in says("no-such-program")
    assert says("no-such-program", shell=True) == says("no-such-program", setup=Setup(conda="env")) == ""
    assert "does not exist" in says("/no/such/file")
    assert "does not exist" in says("python", "/no/such/file.py")
    assert "gone2.py" in says("python", "gone{task.index}.py")
    assert says("python", "lib/main.py", files={"lib": "link"}) == ""
    assert says("python", "data/x.py", inputs={"d": Input("data")}) == ""
    gone = Place("local", "local", {"python": "/no/python"}, str(tmp_path), str(tmp_path))
    assert "/no/python" in says("python", "main.py", place=gone)


def test_secrets_without_a_value_are_named_and_never_shown(tmp_path: Path) -> None:
    spec = _spec(tmp_path, secrets=("HF_TOKEN", "EMPTY", "SET"))
    found = secret_values.check(_facts(spec, environ={"EMPTY": "", "SET": "hunter2"}))
    assert [o.message for o in found] == [
        f"the secret {n} is not set in the environment" for n in ("HF_TOKEN", "EMPTY")
    ]
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [
        ({"a": "out/{task.index}"}, ""),
        ({"a": "out"}, "task 0 (a) and task 1 (a) would both commit out"),
        ({"a": "x/{task.index}", "b": "./x//{task.index}/"}, "task 0 (a) and task 0 (b) would both commit x/0"),
        (
            {"a": "x/{task.index}", "b": "x/{task.index}/log/"},
            "task 0 (b) would commit x/0/log inside x/0 of task 0 (a)",
        ),
        ({"a": "x{task.index}", "b": "x{task.index}y"}, ""),
    ],
)
def test_two_tasks_with_one_path(tmp_path: Path, outputs: dict[str, str], wanted: str) -> None:
    spec = _spec(tmp_path, outputs={name: Output(path) for name, path in outputs.items()})
    found = one_path.check(_facts(spec))
    assert found[0].message == wanted if wanted else not found


def test_many_clashes_are_counted(tmp_path: Path) -> None:
    spec = _spec(tmp_path, outputs={"a": Output("out")}, tasks=tuple(TaskSpec(i) for i in range(1000)))
    assert [o.message for o in one_path.check(_facts(spec))][-1] == "and 996 more paths that two tasks would commit"


@pytest.mark.parametrize("theirs", ["out/1", "out/1/part", "out"])
def test_a_path_of_a_living_job(tmp_path: Path, theirs: str) -> None:
    spec = _spec(tmp_path, outputs={"a": Output("out/{task.index}")}, tasks=(TaskSpec(1),))
    (found,) = one_path.check(_facts(spec, busy={theirs: "q-bbbb:4", "other": "q-bbbb:5"}))
    assert found.fatal and "q-bbbb:4" in found.message and "launch cancel q-bbbb" in str(found.hint)
    assert one_path.check(_facts(spec, busy={"out/10": "q-bbbb:4"})) == []


def test_disk_space(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    spec = _spec(tmp_path / "not yet", resources=(Resources(disk=free * 2),))
    (found,) = disk_space.check(_facts(spec))
    assert found.fatal and found.message.startswith("each of tasks 0-2 needs")
    (found,) = disk_space.check(_facts(_spec(tmp_path, resources=(Resources(disk=free // 2),))))
    assert not found.fatal
    assert disk_space.check(_facts(_spec(tmp_path, resources=(Resources(disk=1),)))) == []
    assert disk_space.check(_facts(spec, here=False)) == []


def test_a_store_without_room_for_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job would begin, could write neither verdict nor reason, and be unknown for ever."""
    place = Place("local", "local", {}, str(tmp_path / "full" / "store"), str(tmp_path))
    spec = _spec(tmp_path, place=place)
    assert disk_space.check(_facts(spec)) == []
    monkeypatch.setattr(disk_space, "_free", lambda folder: 20_000 if "full" in folder.parts else 10**12)
    (found,) = disk_space.check(_facts(spec))
    assert found.fatal and "store has 20kB free" in found.message


def test_signs_that_only_a_shell_understands_are_pointed_out(tmp_path: Path) -> None:
    """`echo a && echo b` prints `a && echo b` and succeeds."""
    (found,) = program.check(_facts(_spec(tmp_path, command=("echo", "a", "&&", "echo", "b"))))
    assert (
        not found.fatal and "&& in the command is given to echo" in found.message and "`shell: true`" in found.message
    )
    assert program.check(_facts(_spec(tmp_path, command=("echo", "a&&b", "x > y")))) == []
