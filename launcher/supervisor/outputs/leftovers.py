"""After the child has ended: what it made is taken out of its working tree, and nothing that is new is thrown away."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from launcher.supervisor.places import Places

# Made by interpreters and tools from the code itself, again and again.
DERIVED = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".ipynb_checkpoints"})


@dataclass(frozen=True)
class Left:
    """Files that the child wrote outside of its declared outputs; `examples` are paths in the tree."""

    files: int
    size: int
    examples: tuple[str, ...]


def collect(places: Places) -> None:
    """Move outputs and checkpoints from the tree to their places in the attempt's data; may be repeated. Raises OSError.

    The deepest paths go first, so that checkpoints inside of an output, or the other way round, keep their own place.
    """
    if places.here:
        return
    moves = [(path, places.collected(path)) for path in places.outputs.values()]
    if places.checkpoint_path is not None and places.checkpoints is not None:
        if places.checkpoint_path in places.outputs.values():
            _point(places.checkpoints, places.collected(places.checkpoint_path))
        else:
            moves.append((places.checkpoint_path, places.checkpoints))
    for path, target in sorted(moves, key=lambda move: -move[0].count("/")):
        _move(places.work / path, target)


def _move(source: Path, target: Path) -> None:
    if not os.path.lexists(source):
        return
    if target.is_symlink():
        target.unlink()  # ours, into the tree
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        real = os.path.realpath(source)  # relative to the old place it would mean something else
        source.unlink()
        if os.path.exists(real):
            os.symlink(real, target)
        return
    if source.is_dir():
        _loosen(source)
    os.rename(source, target)


def _loosen(folder: Path) -> None:
    """Links within a folder that name its present place (`best -> /…/work/model/step-2`) become relative, to lead there still
    when it has moved."""
    tops = {str(folder), os.path.realpath(folder)}
    for at, folders, names in os.walk(folder):
        for link in (Path(at, name) for name in (*folders, *names)):
            text = os.readlink(link) if link.is_symlink() else ""
            for top in tops:
                if text.startswith(f"{top}/"):
                    loose = link.with_name(f".{link.name[:200]}.launch-link")
                    loose.unlink(missing_ok=True)
                    loose.symlink_to(os.path.relpath(os.path.join(folder, text[len(top) + 1 :]), link.parent))
                    os.rename(loose, link)
                    break


def _point(link: Path, target: Path) -> None:
    if link.is_symlink():
        link.unlink()
    if not os.path.lexists(link):
        link.symlink_to(target)


def sweep(places: Places, code_time: int) -> Left:
    """Remove from the tree what the snapshot or the inputs can give again, and the tree itself if that was all."""
    left: list[tuple[str, int]] = []
    if not places.here and places.work.is_dir():
        linked = {os.path.normpath(path) for path in places.inputs.values()}
        for folder, folders, names in os.walk(places.work, topdown=False):
            for name in [*names, *folders]:
                _sweep_one(places.work, Path(folder, name), code_time, linked, left)
        _remove_empty(places.work)
    return Left(len(left), sum(size for _, size in left), tuple(path for path, _ in sorted(left)[:3]))


def _sweep_one(work: Path, path: Path, code_time: int, linked: set[str], left: list[tuple[str, int]]) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    name = path.relative_to(work)
    if stat.S_ISDIR(found.st_mode):
        _remove_empty(path)
    elif (
        DERIVED.intersection(name.parts)
        or (found.st_mtime == code_time and not stat.S_ISLNK(found.st_mode))
        or (stat.S_ISLNK(found.st_mode) and (str(name) in linked or found.st_mtime == code_time))
        or stat.S_ISSOCK(found.st_mode)
        or stat.S_ISFIFO(found.st_mode)
    ):
        path.unlink()
    else:
        left.append((str(name), found.st_size))


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass  # it holds something


def holds_files(folder: Path) -> bool:
    """Whether anything but folders lies in it."""
    return any(names or any(Path(at, name).is_symlink() for name in folders) for at, folders, names in os.walk(folder))


def remove_tree(path: Path) -> None:
    """Remove what lies at a path; links are removed, never followed. Absent is success. Raises OSError."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(found.st_mode):
        path.unlink()
        return
    if found.st_mode & 0o700 != 0o700:
        path.chmod(0o700)  # a folder that its owner made read-only
    with os.scandir(path) as entries:
        names = [Path(entry.path) for entry in entries]
    for name in names:
        remove_tree(name)
    path.rmdir()


def tidy(places: Places) -> None:
    """Remove scratch and folders that hold nothing. Raises OSError."""
    remove_tree(places.scratch)
    for name in ("outputs", "checkpoints"):
        for folder, _, _ in os.walk(places.data / name, topdown=False):
            _remove_empty(Path(folder))
    _remove_empty(places.data)


def remove_unused(file: Path) -> None:
    """An empty file, and its folder if that held nothing else."""
    if file.exists() and not file.stat().st_size:
        file.unlink()
    if file.parent.is_dir():
        _remove_empty(file.parent)
