"""The working tree of an attempt: the code as it was submitted, its inputs linked in, room for what it will make.

Outputs and checkpoints are plain paths of the tree, so that every way of writing works: through a file, by renaming over it,
by making folders, by removing and making them again. The tree lies in the attempt's own data in the workspace; from outside,
checkpoints are found under one path (`Places.checkpoints`), which is a link into the tree while the child runs and holds
the checkpoints themselves afterwards.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
from pathlib import Path

from launcher.store import keys
from launcher.supervisor.faults import StartFailed
from launcher.supervisor.outputs.leftovers import remove_tree
from launcher.supervisor.places import Places


def prepare(places: Places) -> tuple[str, ...]:
    """Make the tree, or check the project's folder for `code: here`. Returns the inputs that are not there and need not be.

    What an earlier start of the same attempt left is removed: nothing has run in it. Raises StartFailed.
    """
    places.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    absent = _missing_inputs(places)
    if places.here:
        if not places.tree.is_dir():
            raise StartFailed("running in the project's own folder", came_back=f"{places.tree} is no folder")
    else:
        for name in ("work", "outputs", "checkpoints"):
            remove_tree(places.data / name)
        places.work.mkdir()
        _unpack(places)
        for name, path in places.inputs.items():
            if name not in absent and not path.startswith("/"):
                _link_input(places, path)
    _make_room(places)
    return absent


def code_time(places: Places) -> int:
    """The time, in whole seconds, that every file of the code carries: what has another was written by the child."""
    return int(places.spec.submitted_at)


def _missing_inputs(places: Places) -> tuple[str, ...]:
    absent = []
    for name, path in places.inputs.items():
        target = places.workspace.root / path
        if os.path.exists(target):
            continue
        if not places.spec.inputs[name].optional:
            raise StartFailed(
                f"finding the input {name}",
                came_back=f"{target} does not exist",
                hint="run the phase that makes it, or mark the input as optional",
            )
        absent.append(name)
    return tuple(absent)


def _unpack(places: Places) -> None:
    """The snapshot, checked against its hash after it was written: what does not match is not run."""
    wanted = places.spec.code.hash
    archive = places.store.path(keys.snapshot(wanted))
    entries: dict[str, tuple[str, str]] = {}
    links: list[tuple[str, str]] = []
    try:
        with tarfile.open(archive, "r:gz", encoding="utf-8", errors="surrogateescape") as tar:
            for member in tar:
                name = _safe_name(member.name)
                if member.issym():
                    content = member.linkname.encode("utf-8", "surrogateescape")
                    entries[name] = ("link", hashlib.sha256(content).hexdigest())
                    links.append((name, member.linkname))
                elif member.isreg():
                    mode = "755" if member.mode & stat.S_IXUSR else "644"
                    entries[name] = (mode, _write(tar, member, places.work / name))
                elif not member.isdir():
                    raise StartFailed("unpacking the code", came_back=f"{member.name!r} is neither a file nor a link")
        for name, target in links:  # last, so that no file is ever written through one
            (places.work / name).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(target, places.work / name)
        _date(places, entries)
    except StartFailed:
        raise
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        why = "it does not exist" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
        raise StartFailed(f"unpacking the code {archive}", came_back=why) from None
    found = _content_hash(entries)
    if found != wanted:
        raise StartFailed(f"unpacking the code {archive}", came_back=f"it holds {found}, not what was submitted")


def _safe_name(name: str) -> str:
    if name.startswith("/") or any(part in ("", ".", "..") for part in name.rstrip("/").split("/")):
        raise StartFailed("unpacking the code", came_back=f"it holds the path {name!r}, which leaves the tree")
    return name.rstrip("/")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    digest = hashlib.sha256()
    with open(target, "xb") as file:
        while source is not None and (block := source.read(1 << 20)):
            digest.update(block)
            file.write(block)
    if member.mode & stat.S_IXUSR:
        target.chmod(target.stat().st_mode | 0o111 & ~_umask())
    return digest.hexdigest()


def _date(places: Places, entries: dict[str, tuple[str, str]]) -> None:
    when = code_time(places)
    for name in entries:
        os.utime(places.work / name, (when, when), follow_symlinks=False)


def _content_hash(entries: dict[str, tuple[str, str]]) -> str:
    """Over path, mode and content, in the order of the paths' bytes, as the submitting side names a snapshot."""
    total = hashlib.sha256()
    for path in sorted(entries, key=os.fsencode):
        mode, digest = entries[path]
        total.update(b"%s\0%s\0%s\0" % (os.fsencode(path), mode.encode(), digest.encode()))
    return total.hexdigest()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _link_input(places: Places, path: str) -> None:
    """An input that overlaps with what the child will write is copied: through a link, the original would change."""
    source, target = places.workspace.root / path, places.work / path
    made = [*places.outputs.values(), *([places.checkpoint_path] if places.checkpoint_path else [])]
    plain = "/".join(part for part in path.split("/") if part not in ("", "."))
    _own_parents(places, plain)
    if target.is_symlink() or target.is_file():
        target.unlink()
    else:
        remove_tree(target)
    if not any(_overlap(plain, other) for other in made):
        target.symlink_to(source)
    elif source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _own_parents(places: Places, path: str) -> None:
    """The folders on the way to `path`, as folders of the tree. A link of the code that leads out of the tree (`results ->
    /big/disk`) becomes a folder that links to what lies there: what is removed, made and moved at `path` is the attempt's
    own, and everything beside it can be read as before."""
    top = os.path.realpath(places.work)
    at = places.work
    for part in path.split("/")[:-1]:
        at = at / part
        if not at.is_symlink():
            at.mkdir(exist_ok=True)
            continue
        source = os.path.realpath(at)
        if source != top and not source.startswith(f"{top}/"):
            at.unlink()
            at.mkdir()
            _link_entries(source, at, code_time(places))


def _link_entries(source: str, folder: Path, when: int) -> None:
    """`when` marks the links as the code's, so that they go with it."""
    try:
        names = os.listdir(source)
    except (FileNotFoundError, NotADirectoryError):
        return  # the link led nowhere
    for name in names:
        os.symlink(os.path.join(source, name), folder / name)
        os.utime(folder / name, (when, when), follow_symlinks=False)


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _make_room(places: Places) -> None:
    """Parents of outputs, and the folder of checkpoints. What the code itself holds at an output's path is no output."""
    inputs = [path for path in places.inputs.values() if not path.startswith("/")]
    for path in places.outputs.values():
        target = places.tree / path
        if places.here:
            target.parent.mkdir(parents=True, exist_ok=True)
            continue
        _own_parents(places, path)
        if not any(_overlap(path, given) for given in inputs):
            remove_tree(target)
    if places.checkpoint_path is None or places.here:
        return
    inside = places.work / places.checkpoint_path
    _own_parents(places, places.checkpoint_path)
    if not any(_overlap(places.checkpoint_path, given) for given in inputs):
        remove_tree(inside)
    inside.mkdir(parents=True, exist_ok=True)
    outside = places.data / "checkpoints" / places.checkpoint_path
    outside.parent.mkdir(parents=True, exist_ok=True)
    outside.symlink_to(os.path.relpath(inside, outside.parent))
