"""The project that a command is about: its folder, its settings, and the files that are found by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from launcher.config import shipped
from launcher.config.problems import listed, nearest
from launcher.config.settings import Settings, gather
from launcher.errors import ConfigError, NotFound, Problem

JOBS = "jobs"
PROFILES = "cluster_profiles"
ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Project:
    """`root` is absolute; `home` is the folder of the user's own configuration, which need not exist."""

    root: Path
    home: Path
    settings: Settings = field(default_factory=dict)

    def shown(self, file: Path) -> str:
        """A file's name for messages: from the project's folder where it lies in it."""
        return str(file.relative_to(self.root)) if file.is_relative_to(self.root) else str(file)


@dataclass(frozen=True)
class Named:
    """A file that was found by its name. `where`: project, user or shipped."""

    name: str
    file: Path
    where: str


def find(
    start: Path, *, flags: Optional[Mapping[str, Optional[str]]] = None, environ: Optional[Mapping[str, str]] = None
) -> Project:
    """The project of a folder: the nearest one upward with launch.yaml, jobs/ or .git, else the folder itself.

    `flags` are settings of the command line by name (profile, store, workspace, beat, budget), None: not given.
    Raises ConfigError for mistakes in the settings.
    """
    environ = os.environ if environ is None else environ
    here = Path(os.path.abspath(start))
    root = next((folder for folder in (here, *here.parents) if _is_root(folder)), here)
    home = user_folder(environ)
    return Project(root, home, gather(root, here, home, flags or {}, environ))


def user_folder(environ: Mapping[str, str]) -> Path:
    """`~/.config/launch`, or where XDG_CONFIG_HOME says; the standard ignores one that is relative."""
    base = environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "launch"


def _is_root(folder: Path) -> bool:
    return (folder / "launch.yaml").is_file() or (folder / JOBS).is_dir() or (folder / ".git").exists()


def available(project: Project, kind: str) -> list[Named]:
    """The files of `jobs` or `cluster_profiles`, by name; a project's own hide the user's, and those the shipped ones."""
    found: dict[str, Named] = {}
    for where, folder in _folders(project, kind):
        if folder is None or not folder.is_dir():
            continue
        for file in sorted(folder.iterdir()):
            if file.suffix in ENDINGS and not file.name.startswith(".") and file.stem not in found:
                found[file.stem] = Named(file.stem, file, where)
    return sorted(found.values(), key=lambda named: named.name)


def look_up(project: Project, kind: str, word: str, noun: str) -> Named:
    """A file by name, or by its path where the word has an ending. Raises NotFound, and ConfigError for two files."""
    if word.endswith(ENDINGS):
        file = Path(os.path.abspath(os.path.expanduser(word)))
        if "\0" in word or not _is_file(file):
            raise NotFound(f"finding the {noun} {word}", came_back="there is no such file")
        return Named(file.stem, file, "project")
    for where, folder in _folders(project, kind):
        if folder is None or not word or "\0" in word or "/" in word:
            continue
        files = [file for ending in ENDINGS if _is_file(file := folder / f"{word}{ending}")]
        if len(files) > 1:
            message = f"the {noun} {word} is described twice: {files[1].name} lies beside it"
            raise ConfigError([Problem(project.shown(files[0]), None, "", message)])
        if files:
            return Named(word, files[0], where)
    built_in = {"local"} if kind == PROFILES else set()
    names = sorted({named.name for named in available(project, kind)} | built_in)
    near = nearest(word, names)
    raise NotFound(
        f"finding the {noun} {word!r}",
        came_back=f"no {kind}/{word}.yaml in {project.root}, and none of that name comes with launch",
        hint=(f"did you mean {near}? " if near else "") + f"There are: {listed(names) or 'none'}",
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than any filesystem takes
        return False


def _folders(project: Project, kind: str) -> list[tuple[str, Optional[Path]]]:
    folders: list[tuple[str, Optional[Path]]] = [("project", project.root / kind)]
    if kind == PROFILES:
        folders.append(("user", project.home / kind))
    own = shipped.folder(kind)
    if own != project.root / kind:
        folders.append(("shipped", own))
    return folders
