"""The cluster's two folders: the one that the user named, and the private one that the daemons can live with.

A unix socket's path holds 107 bytes, SLURM's configuration has no quoting for spaces, and a disk that others keep busy
makes the database slow to start. So everything lies in a short plain folder, in memory where it can be, and the user's
folder holds a link to it, a lock, and the logs of clusters that have ended.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.errors import LaunchError
from onehost.settings import Layout, read

LINK = "private"
LAYOUT = "cluster.json"
PARTS = ("etc", "log", "run", "state", "spool", "munge", "ssh", "dev", "db", "tmp")
PRIVATE_TO_OWNER = ("state", "db", "tmp")
ROOM = 1 << 30
"""Bytes that a place must have free: the database takes 150 MB, jobs and their accounting the rest."""


def default_folder() -> Path:
    """Where a cluster is without --dir."""
    state = os.environ.get("XDG_STATE_HOME") or ""
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "launch" / "slurm"


def places() -> list[Path]:
    """Where a private folder may be, best first."""
    return [Path("/dev/shm"), Path("/tmp")]


def suits(place: Path) -> bool:
    """Whether daemons can live there: job scripts are executed from it."""
    try:
        found = os.statvfs(place)
    except OSError:
        return False
    return (
        os.access(place, os.W_OK | os.X_OK)
        and not found.f_flag & (os.ST_NOEXEC | os.ST_RDONLY)
        and found.f_bavail * found.f_frsize >= ROOM
    )


def private_name(folder: Path) -> str:
    """The same for the same folder, so that it is found again when the link was lost."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:10]
    return f"slurm-{os.geteuid()}-{digest}"


def ours(path: Path) -> bool:
    """Whether `path` is a folder, not a link, that belongs to us: others can write where it lies."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def existing(folder: Path) -> list[Path]:
    """The private folders of `folder` that are there: one, or none, or more after an accident."""
    candidates = [place / private_name(folder) for place in places()]
    try:
        candidates.insert(0, Path(os.readlink(folder / LINK)))
    except OSError:
        pass
    return [path for path in dict.fromkeys(candidates) if path.name == private_name(folder) and ours(path)]


def layout_of(folder: Path) -> Layout | None:
    """The cluster of `folder` that is up, or that has left its private folder; None where there is none."""
    for path in existing(folder):
        try:
            found = read((path / LAYOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if found.private == str(path):
            return found
    return None


def make_private(folder: Path) -> Path:
    """Make the private folder of `folder`, or take the one that was kept. Raises LaunchError."""
    kept = existing(folder)
    if kept:
        private = kept[0]
    else:
        place = next(filter(suits, places()), None)
        if place is None:
            names = " and ".join(map(str, places()))
            raise LaunchError(f"neither {names} has 1 GB free, may be written to, and lets scripts be executed")
        private = place / private_name(folder)
        try:
            private.mkdir(mode=0o755)
        except FileExistsError:
            raise LaunchError(
                f"{private} exists and belongs to somebody else", hint="choose another folder with --dir"
            ) from None
    private.chmod(0o755)  # other users submit jobs too, and find slurm.conf and munge's socket here
    for name in PARTS:
        (private / name).mkdir(exist_ok=True)
        (private / name).chmod(0o700 if name in PRIVATE_TO_OWNER else 0o755)
    link = folder / LINK
    link.unlink(missing_ok=True)
    link.symlink_to(private)
    return private


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """A file that is whole or not there, with this mode from its first byte."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
    part.replace(path)


def remove(folder: Path, private: Path) -> None:
    """Remove a private folder whose processes have ended; its logs stay, in `folder`/log."""
    if not ours(private):
        return
    try:
        shutil.rmtree(folder / "log", ignore_errors=True)
        shutil.copytree(private / "log", folder / "log")
    except (OSError, shutil.Error):
        pass  # the folder has gone, or its disk is full: the logs are the last thing that matters then
    shutil.rmtree(private, ignore_errors=True)
    if private.exists():
        raise LaunchError(f"{private} could not be removed", hint=f"rm -rf {private}")
    (folder / LINK).unlink(missing_ok=True)


def remove_sockets(private: Path) -> None:
    """What daemons that were killed leave behind in a folder that is kept."""
    for path in private.rglob("*"):
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                path.unlink()
        except OSError:
            continue


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one command at a time changes the cluster of `folder`, which is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LaunchError(f"cannot use {str(folder)!r}", came_back=error.strerror, hint="--dir FOLDER") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
