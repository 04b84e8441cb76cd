"""One cluster for all tests of a process, put in order after each; an ordinary user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ODD_NAME
from tests.slurm.clusters import REPOSITORY, Cluster, Person, readable_python, tool
from tests.waiting import until


@pytest.fixture(scope="session")
def packages() -> None:
    """SLURM is installed. Nothing is skipped where it is not: root installs it, others are told how."""
    done = tool("install")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def session_cluster(packages: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of four nodes, in a folder with an odd name. It ends with this process, however that ends."""
    folder = tmp_path_factory.mktemp("shared cluster") / ODD_NAME
    done = tool("start", "--dir", str(folder), "--owner", str(os.getpid()))
    assert done.returncode == 0, done.stderr
    yield Cluster(folder)
    done = tool("stop", "--dir", str(folder))
    assert done.returncode == 0, done.stderr


@pytest.fixture
def cluster(session_cluster: Cluster) -> Iterator[Cluster]:
    """The shared cluster, idle and whole, before and after."""
    yield session_cluster
    session_cluster.restore()


@pytest.fixture
def own_folder(packages: None, odd_path: Path) -> Iterator[Path]:
    """An empty folder, with an odd name, for a cluster of the test's own, which is stopped at the end."""
    folder = odd_path / "a cluster"
    yield folder
    done = tool("stop", "--dir", str(folder))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def person(packages: None) -> Iterator[Person]:
    """An ordinary user, made for the tests where they are root's; else whoever runs them."""
    if os.geteuid() != 0:
        name = pwd.getpwuid(os.geteuid()).pw_name
        home = Path(tempfile.mkdtemp(prefix="launch-person-"))
        yield equipped(name, home, ())
        shutil.rmtree(home)
        return
    home = Path(tempfile.mkdtemp(prefix="launch-person-"))
    name = home.name.lower().replace("_", "-")
    # '*' and not '!': sshd without PAM refuses an account that is locked.
    command = ["useradd", "--home-dir", str(home), "--shell", "/bin/bash", "--password", "*", name]
    # Another process may be changing the same file: useradd gives up at once.
    until(lambda: subprocess.run(command, capture_output=True).returncode in (0, 9), 20, "a new user")
    shutil.chown(home, name, name)
    becoming = ("setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups")
    try:
        yield equipped(name, home, becoming)
    finally:
        until(lambda: subprocess.run(["userdel", name], capture_output=True).returncode in (0, 6), 20, "its end")
        shutil.rmtree(home)


def equipped(name: str, home: Path, becoming: tuple[str, ...]) -> Person:
    """A copy of the tool lies in the home: an ordinary user may not see the folder of this repository."""
    copied = home / "a checkout"
    for part in ("slurm", "launcher"):
        shutil.copytree(REPOSITORY / part, copied / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (home, copied):
        path.chmod(0o755)
    return Person(name, home, copied / "slurm" / "cluster", readable_python(becoming), becoming)
