"""`setup: {python, requirements, index}`: a Python environment made by uv from wheels only, once per host and content.

Runs in a process of its own (see preparing.py), as the stage `setup`, within `setup.time`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from launcher.supervisor.faults import StartFailed
from launcher.supervisor.outputs.leftovers import remove_tree
from launcher.supervisor.places import Places
from launcher.supervisor.redaction import redacted

OUTPUT = "setup.txt"
"""In the attempt's folder: what uv said."""
COMPLETE = "launch-complete.json"
"""In an environment: made last, so that one without it was never finished."""


def make(places: Places, environment: Mapping[str, str]) -> Path:
    """The folder of the environment, from the cache where it was made before. Raises StartFailed."""
    limit = time.monotonic() + places.spec.setup.time
    uv = _find_uv(places, environment)
    file, content = _read(places)
    index = _index(places)
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "launch" / "environments"
    cache.mkdir(parents=True, exist_ok=True)
    setup = places.spec.setup
    name = _key([setup.python or "", content, index, sys.platform, platform.machine(), os.uname().nodename])
    folder = cache / name
    with open(cache / f"{name}.lock", "a", encoding="utf-8") as lock:
        _lock(lock.fileno(), limit, setup.time)
        if (folder / COMPLETE).exists():
            return folder
        # An environment holds its own path, so it is made in its place; what a killed maker left is made anew.
        remove_tree(folder)
        try:
            _install(places, environment, uv, file, index, folder, lock.fileno(), limit)
        except BaseException:
            remove_tree(folder)
            raise
        partial = folder / f"{COMPLETE}.tmp"
        partial.write_text(json.dumps({"schema": 1, "python": setup.python, "at": time.time()}), encoding="utf-8")
        os.replace(partial, folder / COMPLETE)
    return folder


def _find_uv(places: Places, environment: Mapping[str, str]) -> str:
    given = environment.get("LAUNCH_UV")
    beside = [os.path.dirname(str(p)) for p in (places.spec.place.options.get("python"), sys.executable) if p]
    folders = [*beside, *environment.get("PATH", os.defpath).split(os.pathsep)]
    for path in [given] if given else [os.path.join(folder or ".", "uv") for folder in folders]:
        if path and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise StartFailed(
        "making the Python environment of the phase",
        came_back=f"{given} is no program" if given else "uv is neither beside Python nor on PATH",
        hint="install uv on the node, or name it in LAUNCH_UV",
    )


def _read(places: Places) -> tuple[Path, str]:
    """The requirements, with the files that they include, as one text for the key."""
    file = places.tree / (places.spec.setup.requirements or "")
    texts: list[str] = []
    waiting, seen = [file], set()
    while waiting:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise StartFailed(f"reading the requirements {path}", came_back=str(error)) from None
        texts.append(text)
        for match in re.finditer(r"^\s*(?:-r|-c|--requirement|--constraint)[ =]\s*(\S+)", text, re.MULTILINE):
            waiting.append(path.parent / match.group(1))
    return file, "\0".join(texts)


def _index(places: Places) -> str:
    """A URL as it is, a folder of wheels as an absolute path, nothing as nothing."""
    index = places.spec.setup.index
    if not index or "://" in index:
        return index or ""
    for base in (places.tree, places.workspace.root):
        if (base / index).is_dir():
            return str(base / index)
    raise StartFailed("finding the index of the requirements", came_back=f"{index} is neither a URL nor a folder")


def _key(parts: list[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _lock(descriptor: int, limit: float, allowed: float) -> None:
    """Another task on this host may be making the same environment: wait for it."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > limit:
                raise _too_late("waiting for another task that makes the same environment", allowed, None) from None
            time.sleep(0.1)


def _install(
    places: Places,
    environment: Mapping[str, str],
    uv: str,
    file: Path,
    index: str,
    folder: Path,
    lock: int,
    limit: float,
) -> None:
    clean = {
        k: v for k, v in environment.items() if k not in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME")
    }
    clean.update(UV_NO_PROGRESS="1", NO_COLOR="1")
    python = places.spec.setup.python or str(places.spec.place.options.get("python") or sys.executable)
    install = [
        uv,
        "pip",
        "install",
        "--python",
        str(folder / "bin" / "python"),
        "--only-binary",
        ":all:",
        "-r",
        str(file),
    ]
    if "://" in index:
        clean["UV_DEFAULT_INDEX"] = index  # it may hold a password, which an argument would show to everybody
    elif index:
        install += ["--no-index", "--find-links", index]
    for argv in ([uv, "venv", "--no-project", "--python", python, str(folder)], install):
        code, text = _run(argv, clean, places, lock, limit)
        _keep(places, argv, text)
        if code is None:
            raise _too_late("making the Python environment of the phase", places.spec.setup.time, _busy_with(text))
        if code != 0:
            raise StartFailed(
                f"making the Python environment of the phase from wheels: {_culprit(text, file)}",
                came_back=_short(text),
                hint=f"all that uv said: {places.folder / OUTPUT}",
            )


def _run(
    argv: list[str], environment: Mapping[str, str], places: Places, lock: int, limit: float
) -> tuple[Optional[int], str]:
    """Exit code (None: out of time) and output. uv holds the lock too, so that nobody else begins while it still writes."""
    process = subprocess.Popen(
        argv,
        env=dict(environment),
        cwd=places.tree,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[lock],
    )
    try:
        output, _ = process.communicate(timeout=max(0.1, limit - time.monotonic()))
        return process.returncode, output.decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        return None, output.decode("utf-8", "replace")


def _keep(places: Places, argv: list[str], text: str) -> None:
    with open(places.folder / OUTPUT, "a", encoding="utf-8") as file:
        file.write(redacted(f"$ {' '.join(argv)}\n{text}"))


def _culprit(text: str, file: Path) -> str:
    """The package that uv complains of: the requirement that its message names first."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    words = [re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line) for line in lines]
    asked = {_plain(word.group(1)): line.strip() for word, line in zip(words, lines) if word}
    for word in re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*", text.partition("Because")[2] or text):
        if _plain(word) in asked:
            return asked[_plain(word)]
    named = re.search(r"(?:Because |build `|package `|distribution )([A-Za-z0-9][A-Za-z0-9._-]*)", text)
    return named.group(1) if named else "see what uv said"


def _plain(name: str) -> str:
    """As package names are compared: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower().strip("-")


def _busy_with(text: str) -> Optional[str]:
    found = re.findall(r"(?:Downloading|Preparing|Building) ([A-Za-z0-9][A-Za-z0-9._-]*)", text)
    return found[-1] if found else None


def _short(text: str) -> str:
    """uv's message without its drawing."""
    return redacted(" ".join(re.sub(r"[×╰─▶│├]", " ", text).split()))[-900:]


def _too_late(tried: str, allowed: float, package: Optional[str]) -> StartFailed:
    at = f", at {package}" if package else ""
    return StartFailed(tried, came_back=f"not done within {allowed:g} s{at}", hint="raise `setup: {time: …}`")
