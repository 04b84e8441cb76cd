"""The node kit: the same bytes for the same sources, small, and importable by a bare Python."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import launcher
from launcher.archives import caches, kit

LARGEST = 400_000


def _unpacked(folder: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(kit.build().content), mode="r:gz") as tar:
        tar.extractall(folder)
    return folder


def _pythons() -> list[str]:
    found = [sys.executable]
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)  # HOME is the test's own
    found += [str(python) for python in home.glob(".pyenv/versions/3.*/bin/python")]
    for minor in range(9, 14):
        program = shutil.which(f"python3.{minor}")
        if program:
            found.append(program)
    return found


def _version(python: str) -> tuple[int, ...]:
    done = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else (0,)


def test_the_same_sources_make_the_same_bytes_without_the_cache() -> None:
    first = kit.build()
    assert first.hash == hashlib.sha256(first.content).hexdigest()
    assert any(caches.folder().joinpath("kit-archives").iterdir())
    shutil.rmtree(caches.folder())
    assert kit.build() == first


def test_a_damaged_cache_is_not_believed() -> None:
    first = kit.build()
    (cached,) = caches.folder().joinpath("kit-archives").iterdir()
    cached.write_bytes(first.content[:-7])
    assert kit.build() == first
    assert cached.read_bytes() == first.content


def test_a_home_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    assert kit.build().content


def test_a_changed_source_makes_another_kit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = Path(str(launcher.__file__)).parent
    copy = tmp_path / "launcher"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(launcher, "__file__", str(copy / "__init__.py"))
    before = kit.build()
    (copy / "errors.py").write_text((copy / "errors.py").read_text() + "\n# changed\n")
    assert kit.build().hash != before.hash


def test_it_holds_the_node_rooms_and_no_other() -> None:
    with tarfile.open(fileobj=io.BytesIO(kit.build().content), mode="r:gz") as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    assert names == sorted(names)
    assert {m.mtime for m in members} == {0} and {m.uid for m in members} == {0}
    assert {"launcher/agent/boot.sh", "launcher/errors.py", "launcher/task.py", "vendor/pynvml.py"} <= set(names)
    rooms = {name.split("/")[1] for name in names if name.startswith("launcher/")}
    assert not rooms & {"cli", "config", "operations", "archives", "executors", "checks", "api.py"}
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)


def test_it_is_small() -> None:
    assert len(kit.build().content) < LARGEST


def test_every_module_is_python_39(tmp_path: Path) -> None:
    for file in _unpacked(tmp_path).rglob("*.py"):
        if "runtime" not in file.parts:  # runs in the phase's own process, with the phase's own Python
            ast.parse(file.read_bytes(), str(file), feature_version=(3, 9))


def test_the_oldest_python_here_imports_every_module_without_site_packages(tmp_path: Path) -> None:
    found = {_version(python): python for python in _pythons()}
    suiting = sorted((version, python) for version, python in found.items() if version >= (3, 9))
    assert suiting
    folder = _unpacked(tmp_path)
    modules = [
        ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        for file in sorted(folder.glob("launcher/**/*.py"))
        if "runtime" not in file.parts
    ]
    assert "launcher.agent.main" in modules
    text = (
        "import sys, importlib; sys.path[:0] = [sys.argv[1], sys.argv[1] + '/vendor']\n"
        "for name in sys.argv[2:]: importlib.import_module(name)\n"
        "import pynvml"
    )
    done = subprocess.run(
        [suiting[0][1], "-I", "-S", "-c", text, str(folder), *modules], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    if suiting[0][0] != (3, 9):
        pytest.skip(f"no Python 3.9 here; {suiting[0][1]} imports every module")
