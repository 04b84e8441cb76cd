"""The wheel that is built from this repository: everything is in it, and it works without the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
SHIPPED = ("jobs", "cluster_profiles", "slurm")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files, unpacked into a folder with a space in its name."""
    built = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = built.glob("launch-*.whl")
    folder = tmp_path_factory.mktemp("a place")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def files(folder: Path) -> set[str]:
    """Relative paths of the files under `folder`."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def sources(folder: str) -> set[str]:
    """Relative paths of the files under a folder of the repository that git has or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", "."]
    listed = subprocess.run(command, cwd=REPOSITORY / folder, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.split("\0") if name and (REPOSITORY / folder / name).exists()}


def test_the_wheel_has_every_room(installed: Path) -> None:
    assert sources("launcher") == {path for path in files(installed / "launcher") if not path.startswith("shipped/")}


@pytest.mark.parametrize("folder", [name for name in SHIPPED if (REPOSITORY / name).exists()])
def test_the_wheel_ships_the_phases_profiles_and_templates(installed: Path, folder: str) -> None:
    shipped = files(installed / "launcher" / "shipped" / folder)
    assert shipped == sources(folder)
    assert shipped


def test_the_command_of_the_wheel_starts(installed: Path, tmp_path: Path) -> None:
    """With the wheel's own package, which an editable install would otherwise hide."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    script = "import launcher.cli.main as cli, sys; print(cli.__file__); sys.argv = ['launch', '--help']; cli.main()"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(installed))
    assert "submit" in done.stdout
