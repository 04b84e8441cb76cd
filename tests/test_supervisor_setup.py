"""What stands around the child: real uv and venv, a real bash with a `module` function, launchers of several processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from io import BytesIO
from pathlib import Path

import pytest

from launcher.model.job import TaskSpec
from launcher.model.outcome import Outcome
from launcher.model.phase import Resources, Setup
from launcher.store import keys
from launcher.supervisor.start import distributed
from tests.supervising import JOB, Stage

UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
needs_uv = pytest.mark.skipif(UV is None, reason="uv is not installed")


@pytest.fixture
def stage(odd_path: Path) -> Stage:
    return Stage(odd_path)


def wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """A wheel of one module that knows its version."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        path: urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for path, text in files.items()
    }
    files[f"{info}/RECORD"] = (
        "".join(f"{path},sha256={digests[path]},{len(files[path])}\n" for path in digests) + f"{info}/RECORD,,\n"
    )
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


def sdist(folder: Path, name: str, version: str) -> None:
    """Sources only: to install it, something would have to be built."""
    with tarfile.open(folder / f"{name}-{version}.tar.gz", "w:gz") as archive:
        for path, text in (
            ("pyproject.toml", f'[project]\nname = "{name}"\nversion = "{version}"\n'),
            ("PKG-INFO", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"),
            (f"{name}.py", ""),
        ):
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text)
            archive.addfile(member, BytesIO(text.encode()))


def requirements(stage: Stage, text: str, time: float = 60.0) -> Setup:
    index = stage.workspace / "wheels"
    index.mkdir(exist_ok=True)
    wheel(index, "tinyone", "1.5")
    wheel(index, "tinytwo", "2.0", "Requires-Dist: tinyone>=1\n")
    sdist(index, "needscompiler", "3.0")
    (stage.project / "requirements.txt").write_text(text, encoding="utf-8")
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return Setup(python=python, requirements="requirements.txt", index="wheels", time=time)


SHOW = "import json, os, sys; print(json.dumps(dict(os.environ, prefix=sys.prefix)))"


@needs_uv
def test_an_environment_is_made_once_for_tasks_that_start_together(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = stage.root / "uv"
    calls = stage.root / "calls"
    counted.write_text(f'#!/bin/sh\necho "$1 $2" >> "$CALLS"\nexec "{UV}" "$@"\n')
    counted.chmod(0o755)
    monkeypatch.setenv("LAUNCH_UV", str(counted))
    monkeypatch.setenv("CALLS", str(calls))
    setup = requirements(stage, "tinytwo\n")
    show = "import tinyone, tinytwo, sys; print(tinyone.version, tinytwo.version, sys.prefix)"
    stage.job(show, setup=setup, tasks=(TaskSpec(0), TaskSpec(1)))
    other = stage.start(task=1)
    stage.start()
    assert other.wait(60) == 0
    record = stage.ended()
    assert record.outcome is Outcome.SUCCEEDED, record
    logs = [stage.store.read(keys.of_attempt(JOB, task, 1, keys.LOG)) for task in (0, 1)]
    assert logs[0] is not None and logs[0].startswith(b"1.5 2.0 ") and logs[1] == logs[0]
    assert any(line.startswith("tinyone==1.5") for line in record.versions["packages"])
    assert calls.read_text().splitlines().count("pip install") == 1
    said = stage.store.path(keys.attempt(JOB, 0, 1)), stage.store.path(keys.attempt(JOB, 1, 1))
    assert any("tinytwo" in (folder / "setup.txt").read_text() for folder in said if (folder / "setup.txt").exists())


@needs_uv
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tinyone\nneedscompiler==3.0\n", "needscompiler"),
        ("tinyone\nno_such-thing>=2\n", "no_such-thing"),
        ("tinyone==9\n", "tinyone"),
    ],
)
def test_what_has_no_wheel_is_start_failed_and_named(
    stage: Stage, text: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCH_UV", str(UV))
    stage.job("print('ran')", setup=requirements(stage, text))
    record = stage.run()
    assert record.outcome is Outcome.START_FAILED, record
    assert f"from wheels: {name}" in record.reason, record.reason
    assert (stage.store.path(keys.attempt(JOB, 0, 1)) / "setup.txt").exists()
    cache = Path.home() / ".cache/launch/environments"
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_an_environment_that_takes_too_long_is_start_failed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = stage.root / "uv"
    slow.write_text("#!/bin/sh\n[ $1 = venv ] && exit 0\necho 'Downloading torch (800MB)'\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("LAUNCH_UV", str(slow))
    stage.job("print('ran')", setup=requirements(stage, "torch\n", time=1.0))
    record = stage.run()
    assert record.outcome is Outcome.START_FAILED and "not done within 1 s, at torch" in record.reason, record


def test_uv_that_is_nowhere_is_said(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCH_UV", "/no/such/uv")
    stage.job("print('ran')", setup=requirements(stage, "tinyone\n"))
    record = stage.run()
    assert record.outcome is Outcome.START_FAILED and "/no/such/uv is no program" in record.reason


def test_a_virtual_environment(stage: Stage) -> None:
    folder = stage.workspace / "my env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    stage.job(SHOW, setup=Setup(venv="my env"))
    assert stage.run().outcome is Outcome.SUCCEEDED
    found = stage.environment_of_child()
    assert found["prefix"] == str(folder) == found["VIRTUAL_ENV"]
    assert found["PATH"].split(os.pathsep)[0] == str(folder / "bin")
    stage.job(SHOW, setup=Setup(venv="none"))
    record = stage.run(2)
    assert record.outcome is Outcome.START_FAILED and "none/bin/python does not exist" in record.reason


MODULE = """() {
  case "$2" in
    good*) export LOADED="$LOADED[$2]";;
    silent) echo "Unable to locate a modulefile for '$2'" >&2;;
    *) echo "no module $2" >&2; return 1;;
  esac
}"""


def test_modules_are_loaded_by_their_names_alone(stage: Stage) -> None:
    names = ("good/1.0", "good 'two'; exit 9 \"$HOME\"\nx")
    stage.job(SHOW + "; sys.exit(6)", setup=Setup(modules=names))
    record = stage.run(env={"BASH_FUNC_module%%": MODULE})
    assert record.exit_code == 6, record
    assert stage.environment_of_child()["LOADED"] == f"[{names[0]}][{names[1]}]"


@pytest.mark.parametrize("name", ["absent", "silent"])
def test_a_module_that_cannot_be_loaded_is_start_failed(stage: Stage, name: str) -> None:
    stage.job("print('ran')", setup=Setup(modules=("good", name)))
    record = stage.run(env={"BASH_FUNC_module%%": MODULE})
    assert record.outcome is Outcome.START_FAILED and f"loading the module {name}" in record.reason, record
    assert "ran" not in stage.output()


def test_a_program_that_is_not_there_is_start_failed_behind_modules_too(stage: Stage) -> None:
    stage.job(command=("nothing-of-this-name",), setup=Setup(modules=("good",)))
    record = stage.run(env={"BASH_FUNC_module%%": MODULE})
    assert record.outcome is Outcome.START_FAILED and "nothing-of-this-name" in record.reason, record


RUNTIME = """#!/bin/bash
printf '%s\\0' "$@" > "$ARGV"
[ "$1" = rm ] && { echo removed > "$ARGV.rm"; exit; }
case $0 in *podman) image=a/b:1 ;; *) image=docker://a/b:1 ;; esac
while [ "$1" != $image ]; do shift || exit 9; done
shift
exec "$@"
"""


@pytest.mark.parametrize("runtime", ["apptainer", "podman"])
def test_a_container_gets_its_binds_as_arguments(stage: Stage, runtime: str) -> None:
    """The runtime is a script that keeps its arguments and runs the command; what a real one makes of them is theirs."""
    tools = stage.root / "tools"
    tools.mkdir()
    (tools / runtime).write_text(RUNTIME)
    (tools / runtime).chmod(0o755)
    argv = stage.root / "argv"
    stage.job(
        "print('inside')", command=("python3", "main.py"), setup=Setup(container="docker://a/b:1"), secrets=("SECRET",)
    )
    record = stage.run(env={"PATH": f"{tools}:/usr/bin:/bin", "ARGV": str(argv), "SECRET": "s3cr3t-value"})
    assert record.outcome is Outcome.SUCCEEDED and stage.output() == "inside\n", (record, stage.output())
    if runtime == "apptainer":
        given = argv.read_text().split("\0")
        assert given[0] == "exec" and given[given.index("--pwd") + 1] == str(stage.data() / "work")
        assert str(stage.workspace) in [given[n + 1] for n, part in enumerate(given) if part == "--bind"]
    else:
        assert (stage.root / "argv.rm").exists(), "the container is removed afterwards"
    assert "s3cr3t" not in stage.store.path(keys.of_attempt(JOB, 0, 1, keys.CLAIM)).read_text()


def test_no_container_runtime_is_said(stage: Stage) -> None:
    stage.job("pass", setup=Setup(container="image.sif"))
    record = stage.run(env={"PATH": str(stage.root)})
    assert record.outcome is Outcome.START_FAILED and "apptainer, singularity, podman, docker" in record.reason


# --- several processes -----------------------------------------------------------------------------------------------


RUN = "python -m torch.distributed.run"
ACCELERATE = "python -m accelerate.commands.launch"
PLAIN = "--mixed_precision no --dynamo_backend no"
MASTER = "--machine_rank 1 --main_process_ip n0 --main_process_port 29500"
NODES = {"LAUNCH_NODES": "2", "LAUNCH_NODE_RANK": "1", "LAUNCH_MASTER": "n0:1234"}


@pytest.mark.parametrize(
    ("kind", "argv", "resources", "nodes", "expected"),
    [
        ("none", "a b", Resources(gpus=4), {}, "a b"),
        ("torchrun", "python -u t.py x", Resources(gpus=2), {}, f"{RUN} --standalone --nproc-per-node 2 t.py x"),
        ("torchrun", "python -m p", Resources(processes_per_node=3), {}, f"{RUN} --standalone --nproc-per-node 3 -m p"),
        ("torchrun", "./run.sh x", Resources(), {}, f"{RUN} --standalone --nproc-per-node 1 --no-python ./run.sh x"),
        (
            "torchrun",
            "python t.py",
            Resources(gpus=8),
            NODES,
            f"{RUN} --nnodes 2 --node-rank 1 --nproc-per-node 8 --master-addr n0 --master-port 1234 t.py",
        ),
        (
            "accelerate",
            "python t.py",
            Resources(gpus=2),
            {**NODES, "LAUNCH_MASTER": "n0"},
            f"{ACCELERATE} --num_processes 4 --num_machines 2 {PLAIN} --multi_gpu {MASTER} t.py",
        ),
    ],
)
def test_launchers(kind: str, argv: str, resources: Resources, nodes: dict[str, str], expected: str) -> None:
    found = distributed.wrap(kind, argv.split(), resources, distributed.nodes(nodes))
    assert found == tuple(expected.split())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torchrun", "accelerate"])
def test_two_processes_meet(stage: Stage, kind: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip(kind if kind == "accelerate" else "torch")
    first = (
        "from accelerate import PartialState; PartialState()"
        if kind == "accelerate"
        else "dist.init_process_group('gloo')"
    )
    stage.job(
        f"""
import os, torch.distributed as dist
{first}
print('rank', dist.get_rank(), 'of', dist.get_world_size(), flush=True)
dist.barrier()
dist.destroy_process_group()
""",
        distributed=kind,
        resources=(Resources(processes_per_node=2),),
    )
    stage.start()
    record = stage.ended(deadline=120)
    assert record.outcome is Outcome.SUCCEEDED, (record, stage.output())
    assert sorted(line for line in stage.output().splitlines() if line.startswith("rank")) == [
        "rank 0 of 2",
        "rank 1 of 2",
    ]
