"""`launch init`: a first project that runs, and nothing that was there is touched."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.config import phases, profiles, project, resolve
from launcher.errors import LaunchError, UsageError
from launcher.executors.registry import OptionTypes
from launcher.model.job import Code
from launcher.model.template import command_of
from launcher.operations.init import init
from tests.test_config_phases import misfits

FILES = ("jobs/hello.yaml", "jobs/hello.py", "cluster_profiles/workstation.yaml", ".gitignore")
REPOSITORY = Path(__file__).parent.parent


def test_what_it_writes_is_valid(odd_path: Path) -> None:
    started = init(odd_path / "new")
    assert (started.written, started.left_alone) == (FILES, ())
    found = project.find(odd_path / "new")
    assert found.root == odd_path / "new"
    profile = profiles.load(found, "workstation", OptionTypes())
    identity = resolve.Identity("hello-2345", "hello", 0.0, "me@here", "0")
    spec = resolve.job(phases.load(found, "hello"), profile, identity=identity, code=Code("snapshot", ""), kit="")
    assert [command_of(spec, task) for task in spec.tasks] == [("python", "jobs/hello.py")] * 2
    assert not misfits("phase", (odd_path / "new/jobs/hello.yaml").read_text())
    for file in ("jobs/hello.yaml", "cluster_profiles/workstation.yaml"):
        first = (odd_path / "new" / file).read_text().splitlines()[0]
        schema = (odd_path / "new" / file).parent / first.partition("$schema=")[2]
        assert json.loads(schema.read_text())["title"].startswith("A p")
    assert stat.S_IMODE((odd_path / "new/.launch").stat().st_mode) == 0o700


def test_what_it_writes_runs_by_hand(odd_path: Path) -> None:
    """Outside of `launch` the same script runs, and resumes."""
    init(odd_path)
    params = json.dumps({"steps": 3, "seconds_per_step": 0, "name": "there"})
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "LAUNCH_PARAMS": params}
    done = subprocess.run(
        [sys.executable, "jobs/hello.py"], cwd=odd_path, env=environ, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "step 3: hello there"
    assert (odd_path / "results/hello/there.txt").read_text() == "hello, there\n"
    resume = {**environ, "LAUNCH_RESUME_FROM": str(odd_path / "checkpoints/hello/there/step-2")}
    again = subprocess.run(
        [sys.executable, "jobs/hello.py"], cwd=odd_path, env=resume, capture_output=True, text=True, timeout=30
    )
    assert again.stdout == "step 3: hello there\n"


def test_nothing_that_is_there_is_touched(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/hello.py").write_text("mine\n")
    (tmp_path / ".gitignore").write_text("*.pyc")
    started = init(tmp_path)
    assert started.left_alone == ("jobs/hello.py",)
    assert (tmp_path / "jobs/hello.py").read_text() == "mine\n"
    assert (tmp_path / ".gitignore").read_text() == "*.pyc\n.launch/\n"
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    again = init(tmp_path)
    assert (again.written, again.left_alone) == ((), FILES)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before


def test_a_gitignore_that_knows_it(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("/.launch\n")
    assert ".gitignore" in init(tmp_path).left_alone


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="it is no folder"):
        init(tmp_path / "file")
    (tmp_path / "jobs").write_text("x")
    with pytest.raises(LaunchError, match=r"jobs/hello\.yaml"):
        init(tmp_path)


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from launcher.errors import LaunchError\n"
        "from launcher.operations.init import init\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))\n"  # a write beyond it fails, as on a full disk
        "try:\n    init(Path(sys.argv[1]))\n"
        "except LaunchError as error:\n    print(error); sys.exit(error.exit_code)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1, done.stderr
    assert "writing" in done.stdout
    assert not (tmp_path / "jobs/hello.yaml").exists()


def test_the_words_of_the_command(odd_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "launcher.cli.main", "init"]
    said = subprocess.run(command, cwd=odd_path, env=environ, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0
    assert said.stdout.splitlines() == [f"wrote {name}" for name in FILES]
    assert said.stderr == "next: launch submit hello --follow\n"
    again = subprocess.run([*command, "--json"], cwd=odd_path, env=environ, capture_output=True, text=True, timeout=60)
    assert json.loads(again.stdout)["left_alone"] == list(FILES)


def test_what_it_writes_runs_as_a_job(odd_path: Path) -> None:
    """The two commands that a new user types: `launch init`, `launch submit hello --follow`."""
    init(odd_path)
    command = [sys.executable, "-m", "launcher.cli.main", "submit", "hello", "--follow"]
    command += ["--profile", "workstation", "--set", "steps=3", "--set", "seconds_per_step=0.01", "--set", "beat=0.2"]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=odd_path, env=environ, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[1] step 3: hello again" in done.stdout.splitlines()
    assert (odd_path / "results/hello/world.txt").read_text() == "hello, world\n"
