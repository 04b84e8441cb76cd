"""Which files of a folder are its code: what git tracks or would, else everything that .gitignore files do not name."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from launcher.errors import LaunchError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

# Where there is no git to say what matters: what programs make and nobody writes.
_MADE = {
    "__pycache__", ".venv", "venv", "node_modules", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis",
    ".ipynb_checkpoints", ".tox", ".nox", ".cache", ".hg", ".svn",
}  # fmt: skip
_VENV = "pyvenv.cfg"  # stands in a virtual environment, whatever its name: thousands of files, bound to their place
_GIT_TIMEOUT_S = 60
_ELSEWHERE = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
)  # set inside a git hook; they name another tree
LAUNCHIGNORE = ".launchignore"


def candidates(root: Path) -> list[str]:
    """Paths relative to `root`, sorted, of files and links, as `os.fsdecode` makes them. Files may be gone already.

    Raises LaunchError where git is there and fails, or a folder cannot be listed.
    """
    listed = _by_git(root) if _in_git(root) else None
    if not listed:  # no git here, or a folder which its git ignores as a whole
        listed = list(_by_walk(root, _MADE, ".gitignore"))
    made = tuple(path[: -len(_VENV)] for path in listed if path.endswith(f"/{_VENV}"))
    listed = [path for path in listed if not path.startswith(made)] if made else listed
    ignored = _ignored_by(root)
    return sorted(set(listed) if ignored is None else {path for path in listed if not ignored(path)})


def everything(root: Path, folder: str) -> list[str]:
    """All files of one folder under `root` but what programs make; for code that is shipped, where no git is asked."""
    return sorted(f"{folder}/{path}" for path in _by_walk(root / folder, _MADE, None))


def _in_git(root: Path) -> bool:
    return any((folder / ".git").exists() for folder in (root, *root.parents))


def _by_git(root: Path) -> Optional[list[str]]:
    """None where there is no git command, or it does not take the folder for a repository of its user's."""
    environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    command = ["git", "-C", os.fspath(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=_GIT_TIMEOUT_S, check=False)
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired:
        raise LaunchError(
            f"listing the project's files with git in {root}",
            came_back=f"no answer within {_GIT_TIMEOUT_S} s",
            hint="look at what `git status` does there",
        ) from None
    if done.returncode != 0:
        return None
    found: list[str] = []
    for raw in done.stdout.split(b"\0"):
        path = os.fsdecode(raw).rstrip("/")
        if not path:
            continue
        if os.path.isdir(root / path) and not os.path.islink(root / path):
            found.extend(_nested(root, path))  # a submodule, or a repository inside this one: git names only its folder
        else:
            found.append(path)
    return found


def _nested(root: Path, path: str) -> Iterator[str]:
    if (root / path / ".git").exists():
        for inner in _by_git(root / path) or []:
            yield f"{path}/{inner}"


def _by_walk(root: Path, made: set[str], ignore_file: Optional[str]) -> Iterator[str]:
    """Depth first; the rules of an ignore file hold for its folder and what is below."""
    rules: dict[str, GitIgnoreSpec] = {}
    for folder, folders, names in os.walk(root, onerror=_refuse):
        inside = os.path.relpath(folder, root)
        prefix = "" if inside == "." else f"{inside}/"
        if ignore_file is not None and ignore_file in names:
            rules[prefix] = _rules(Path(folder, ignore_file))
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = [
            name
            for name in folders
            if name not in linked and name not in made and name != ".git" and not _matches(rules, f"{prefix}{name}/")
        ]
        for name in [*names, *linked]:
            if not name.endswith((".pyc", ".pyo")) and not _matches(rules, prefix + name):
                yield prefix + name


def _matches(rules: dict[str, GitIgnoreSpec], path: str) -> bool:
    """The deepest ignore file that says something about the path decides, as in git."""
    for prefix in sorted(rules, key=len, reverse=True):
        if path.startswith(prefix):
            said = rules[prefix].check_file(path[len(prefix) :]).include
            if said is not None:
                return said
    return False


def _ignored_by(root: Path) -> Optional[Callable[[str], bool]]:
    """What the project's .launchignore says, in the language of .gitignore; None where there is none."""
    file = root / LAUNCHIGNORE
    if not file.is_file():
        return None
    return _rules(file).match_file


def _rules(file: Path) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        return GitIgnoreSpec.from_lines(lines)
    except (OSError, ValueError) as error:
        raise LaunchError(f"reading {file}", came_back=str(error)) from None


def _refuse(error: OSError) -> None:
    raise LaunchError(
        f"listing the project's files: {error.filename}",
        came_back=error.strerror or str(error),
        hint=f"name the folder in .gitignore or {LAUNCHIGNORE}",
    )
