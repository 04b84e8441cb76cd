"""The boot script under a real sh: it finds a Python, unpacks the kit once, and says in one line why it could not."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.archives import kit
from launcher.store import keys
from launcher.store.folder import FolderStore

SHELLS = [name for name in ("sh", "dash", "bash") if shutil.which(name)]


@pytest.fixture
def place(odd_path: Path) -> tuple[FolderStore, str]:
    """A store in a folder with an odd name, with the kit in it."""
    built = kit.build()
    store = FolderStore(odd_path / "store")
    store.create(keys.kit(built.hash), built.content)
    return store, built.hash


def start(store: FolderStore, hash_: str, shell: str = "sh", **environment: str) -> subprocess.Popen[str]:
    """Boot for a job that does not exist: the agent, once it runs, says so."""
    command = [shell, "-c", kit.boot_text(), "launch-boot", str(store.root), hash_, "no-job", "a0"]
    given = {**os.environ, "LAUNCH_PYTHON": sys.executable, **environment}
    return subprocess.Popen(command, env=given, cwd="/", stderr=subprocess.PIPE, text=True)


def boot(store: FolderStore, hash_: str, shell: str = "sh", **environment: str) -> tuple[int, str]:
    process = start(store, hash_, shell, **environment)
    _, text = process.communicate(timeout=60)
    return process.returncode, text


def kits(base: Path) -> list[str]:
    return sorted(path.name for path in (base / "launch/kits").iterdir())


@pytest.mark.parametrize("shell", SHELLS)
def test_it_becomes_the_agent_in_any_shell(place: tuple[FolderStore, str], odd_path: Path, shell: str) -> None:
    store, hash_ = place
    cache = odd_path / "cache\n"
    code, text = boot(store, hash_, shell, XDG_CACHE_HOME=str(cache))
    assert code == 102
    assert "there is no spec of no-job in" in text
    assert kits(cache) == [hash_]
    assert (cache / "launch/kits" / hash_ / "vendor/pynvml.py").exists()


def test_two_boots_at_once_unpack_once_and_both_run(place: tuple[FolderStore, str], tmp_path: Path) -> None:
    store, hash_ = place
    boots = [start(store, hash_, XDG_CACHE_HOME=str(tmp_path / "cache")) for _ in range(4)]
    texts = [process.communicate(timeout=60)[1] for process in boots]
    assert all("there is no spec of no-job" in text for text in texts), texts
    assert kits(tmp_path / "cache") == [hash_]


def test_an_unpacked_kit_is_used_again_without_the_archive(place: tuple[FolderStore, str], tmp_path: Path) -> None:
    store, hash_ = place
    boot(store, hash_, XDG_CACHE_HOME=str(tmp_path))
    store.remove(keys.kit(hash_))
    assert boot(store, hash_, XDG_CACHE_HOME=str(tmp_path))[0] == 102


def test_what_a_tidier_took_out_of_the_cache_is_unpacked_again(place: tuple[FolderStore, str], tmp_path: Path) -> None:
    store, hash_ = place
    boot(store, hash_, XDG_CACHE_HOME=str(tmp_path))
    (tmp_path / "launch/kits" / hash_ / "launcher/agent/main.py").unlink()
    assert boot(store, hash_, XDG_CACHE_HOME=str(tmp_path))[0] == 102
    assert (tmp_path / "launch/kits" / hash_ / "launcher/agent/main.py").exists()


def test_a_damaged_kit_is_not_run(place: tuple[FolderStore, str], tmp_path: Path) -> None:
    store, hash_ = place
    archive = store.path(keys.kit(hash_))
    archive.write_bytes(archive.read_bytes()[:-1])
    code, text = boot(store, hash_, XDG_CACHE_HOME=str(tmp_path))
    assert code == 126
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert "the node kit is damaged" in text and found in text and "was not started" in text
    assert not (tmp_path / "launch").exists()


def test_a_kit_that_is_not_there_is_named(place: tuple[FolderStore, str], tmp_path: Path) -> None:
    code, text = boot(place[0], "0" * 64, XDG_CACHE_HOME=str(tmp_path))
    assert code == 126
    assert "No such file or directory" in text and "Traceback" not in text


@pytest.mark.parametrize("environment", [{"HOME": "", "XDG_CACHE_HOME": ""}, {"XDG_CACHE_HOME": "/proc/nowhere"}])
def test_without_a_cache_the_store_holds_the_kit(place: tuple[FolderStore, str], environment: dict[str, str]) -> None:
    store, hash_ = place
    assert boot(store, hash_, **environment)[0] == 102
    assert (store.root / "kits/unpacked" / hash_ / "launcher").is_dir()


def test_a_full_disk_is_said_in_words(place: tuple[FolderStore, str], tmp_path: Path) -> None:
    """The limit on a file's size stands for a full disk: the write fails half way."""
    store, hash_ = place
    text = 'trap "" XFSZ; ulimit -f 1; exec "$@"'
    command = [
        "sh",
        "-c",
        text,
        "sh",
        "sh",
        "-c",
        kit.boot_text(),
        "launch-boot",
        str(store.root),
        hash_,
        "no-job",
        "a0",
    ]
    given = {**os.environ, "LAUNCH_PYTHON": sys.executable, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 126
    assert "cannot be unpacked into" in done.stderr and "could be unpacked nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert kits(tmp_path) == []


def test_without_a_python_it_says_where_it_looked(place: tuple[FolderStore, str], tmp_path: Path) -> None:
    """Pythons that are too old on the PATH; the script's own places outside of it are pointed into an empty folder."""
    store, hash_ = place
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("date", "uname"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    for name in ("python3", "python"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    text = kit.boot_text()
    for folder in ("/usr/bin/", "/usr/local/bin/", "/opt/conda/bin/"):
        assert f" {folder}python3" in text
        text = text.replace(f" {folder}python3", f" /nowhere{folder}python3")
    command = [str(shutil.which("sh")), "-c", text, "launch-boot", str(store.root), hash_, "no-job", "a0"]
    environment = {"PATH": str(tools), "LAUNCH_PYTHON": str(tools / "python3"), "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 127
    assert len(done.stderr.splitlines()) == 1
    assert "no Python 3.9 or newer was found" in done.stderr and f"PATH={tools}" in done.stderr
