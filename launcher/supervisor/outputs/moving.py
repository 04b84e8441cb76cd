"""Moving an artifact's files between the attempt's data and the workspace, so that each step can be repeated or undone."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from launcher.model.records import ManifestFile
from launcher.store import fingerprints
from launcher.store.folder import sync_folder


def durable_sha256(path: Path) -> str:
    """The file's hash, after its content has reached the disk: a manifest vouches for it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return fingerprints.sha256(path)


def same(one: Path, other: Path) -> bool:
    """Whether both are one place (`code: here`, whose outputs lie in the workspace already)."""
    return os.path.realpath(one) == os.path.realpath(other)


def rename(source: Path, target: Path) -> None:
    """A durable rename into a folder that need not exist. Across file systems: copied, verified, then removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_across(source, target)
    sync_folder(target.parent)


def move_files(source: Path, target: Path, files: tuple[ManifestFile, ...]) -> None:
    """File by file. What is at its target already was moved by an earlier try. Raises OSError.

    Links to files are replaced by copies of what they point to, and before any file moves, since that may be what they point
    to. Links to folders stay links, and lead where they led.
    """
    folder = source.is_dir() and not any(file.path == "" for file in files)
    if folder:
        target.mkdir(parents=True, exist_ok=True)
    changed = {target.parent}
    linked = [file for file in files if _through_link(source, file.path)]
    plain = [file for file in files if file not in linked]
    for file in linked:
        at, to = _pair(source, target, file.path)
        if os.path.exists(at):
            to.parent.mkdir(parents=True, exist_ok=True)
            _copy(at, to, file.sha256)
            changed.add(to.parent)
    for file in plain:
        at, to = _pair(source, target, file.path)
        if os.path.lexists(at):
            to.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(at, to)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _copy(at, to, file.sha256)
                at.unlink()
            changed.add(to.parent)
    for file in files:
        _, to = _pair(source, target, file.path)
        if os.stat(to).st_size != file.size:
            raise OSError(errno.EIO, f"{to} has not the size that was hashed")
    for file in linked:
        at, _ = _pair(source, target, file.path)
        if at.is_symlink() and (at == source or not source.is_symlink()):  # else it is a link of somebody else's folder
            at.unlink()
    if folder:
        changed.update(_move_links(source, target))
    for each in changed:
        sync_folder(each)


def move_back(source: Path, target: Path, files: tuple[ManifestFile, ...]) -> None:
    """Undo `move_files`, with renames only; empty folders at the target go too."""
    for file in files:
        at, to = _pair(source, target, file.path)
        if os.path.lexists(to) and not os.path.lexists(at):
            at.parent.mkdir(parents=True, exist_ok=True)
            os.rename(to, at)
        elif os.path.lexists(to) and fingerprints.sha256(to) == file.sha256:
            to.unlink()  # a copy: the original is still in its place
    if target.is_dir() and not target.is_symlink():
        for link in _links(target):
            place = source / link.relative_to(target)
            if not os.path.lexists(place):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(os.readlink(link))
            link.unlink()
        for folder, _, _ in os.walk(target, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass


def _move_links(source: Path, target: Path) -> set[Path]:
    """What is left are links to folders, and links that lead nowhere. Returns the folders that have changed."""
    changed = set()
    top = os.path.realpath(source)
    for at in _links(source):
        to = target / at.relative_to(source)
        if not os.path.lexists(to):
            real, text = os.path.realpath(at), os.readlink(at)
            inside = real == top or real.startswith(f"{top}/")
            to.parent.mkdir(parents=True, exist_ok=True)
            to.symlink_to(text if inside or os.path.isabs(text) or not os.path.exists(real) else real)
            changed.add(to.parent)
        if not source.is_symlink():
            at.unlink()
    return changed


def _links(top: Path) -> list[Path]:
    """Every link in a folder, at any depth; none is followed. Raises OSError."""
    return [
        path
        for at, folders, names in os.walk(top, onerror=_raise)
        for path in (Path(at, name) for name in (*folders, *names))
        if path.is_symlink()
    ]


def _raise(error: OSError) -> None:
    raise error


def _pair(source: Path, target: Path, path: str) -> tuple[Path, Path]:
    return (source / path, target / path) if path else (source, target)


def _through_link(source: Path, path: str) -> bool:
    return source.is_symlink() or (source / path if path else source).is_symlink()


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Complete under its name or not there at all."""
    partial = target.with_name(f".{target.name[:200]}.launch-partial")
    try:
        with open(source, "rb") as reader, open(partial, "wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        shutil.copymode(source, partial)
        if fingerprints.sha256(partial) != sha256:
            raise OSError(errno.EIO, f"{partial} is not what {source} is")
        os.rename(partial, target)
    finally:
        if os.path.lexists(partial):
            partial.unlink()


def _copy_across(source: Path, target: Path) -> None:
    """A file or folder onto another file system; a copy that was cut short is made anew."""
    partial = target.with_name(f".{target.name[:200]}.launch-partial")
    if partial.is_dir() and not partial.is_symlink():
        shutil.rmtree(partial)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, partial, symlinks=True)
        before = fingerprints.combine(fingerprints.describe(source))
        if fingerprints.combine(fingerprints.describe(partial, durable_sha256)) != before:
            raise OSError(errno.EIO, f"{partial} is not what {source} is")
        os.rename(partial, target)
        shutil.rmtree(source)
    else:
        _copy(source, target, fingerprints.sha256(source))
        source.unlink()
