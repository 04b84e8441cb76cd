"""The node kit: the rooms that run on a node, and nvidia-ml-py's one file, as an archive named by its hash."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import launcher
from launcher.archives import caches
from launcher.archives.tarball import Tarball
from launcher.errors import LaunchError

ROOMS = ("errors.py", "task.py", "model", "store", "agent", "supervisor", "memory", "runtime")
_KEPT = 8  # archives in the cache: a few versions of `launch` side by side


@dataclass(frozen=True)
class Kit:
    """`hash` is the sha256 of `content`, a tar.gz that holds `launcher/` and `vendor/pynvml.py`."""

    hash: str
    content: bytes


def build() -> Kit:
    """The kit of the installed version; the same bytes for the same sources.

    Built once per state of the source files (their sizes and times) and then read from the cache.
    """
    sources = _sources()
    stamp = hashlib.sha256()
    for name, path in sources:
        found = path.stat()
        stamp.update(f"{name}\0{path}\0{found.st_size}\0{found.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    cache = caches.folder() / "kit-archives"
    key = stamp.hexdigest()[:32]
    for cached in sorted(cache.glob(f"{key}.*")):
        content = caches.read(cached)
        if content is not None and hashlib.sha256(content).hexdigest() == cached.name.partition(".")[2]:
            return Kit(cached.name.partition(".")[2], content)
    content = _archive(sources)
    kit = Kit(hashlib.sha256(content).hexdigest(), content)
    caches.write(cache / f"{key}.{kit.hash}", content)
    _forget_old(cache)
    return kit


def boot_text() -> str:
    """The script that every executor starts on a node: it finds a Python, unpacks the kit and runs the agent."""
    return (Path(launcher.__file__).parent / "agent" / "boot.sh").read_text(encoding="utf-8")


def _sources() -> list[tuple[str, Path]]:
    """Name in the archive and file, sorted by name."""
    package = Path(launcher.__file__).parent
    found = [("launcher/__init__.py", package / "__init__.py")]
    for room in ROOMS:
        top = package / room
        files = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())
        found.extend(
            (f"launcher/{path.relative_to(package).as_posix()}", path)
            for path in files
            if path.suffix in (".py", ".sh") and not path.name.startswith(".")
        )
    nvml = importlib.util.find_spec("pynvml")
    if nvml is None or nvml.origin is None:
        raise LaunchError(
            "building the node kit",
            came_back="the package nvidia-ml-py, which reads GPUs on the node, is not installed",
            hint="pip install nvidia-ml-py",
        )
    found.append(("vendor/pynvml.py", Path(nvml.origin)))
    return sorted(found)


def _archive(sources: list[tuple[str, Path]]) -> bytes:
    tarball = Tarball(level=9)
    for name, path in sources:
        tarball.add(name, "755" if path.suffix == ".sh" else "644", path.read_bytes())
    return tarball.finish()


def _forget_old(cache: Path) -> None:
    try:
        aged = sorted(cache.iterdir(), key=lambda p: p.stat().st_mtime_ns)
        for path in aged[:-_KEPT]:
            path.unlink()
    except OSError:
        pass  # another client is tidying the same cache
