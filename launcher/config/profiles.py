"""A profile from its file, with the executor's options, the folders, and where each value came from."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Optional

from launcher.config import project as projects
from launcher.config.checked import validated
from launcher.config.meaning import check_variables
from launcher.config.nodes import Node, locate
from launcher.config.numbers import check_profile_numbers
from launcher.config.problems import Problems, listed, nearest
from launcher.config.project import PROFILES, Named, Project
from launcher.config.source import read_file
from launcher.config.written import profile_shape
from launcher.errors import LaunchError, NotFound, Problem
from launcher.model.profile import LOCAL, Profile

HERE = "local"
DEFAULT = "default"
BUILT_IN = "built in"
FOLDERS = {"store": ".launch/store", "workspace": "."}


@dataclass(frozen=True)
class LoadedProfile:
    """`options` is the executor's own dataclass; `file` None for the built-in `local`. `origins` says for each key, dotted,
    where its value came from: `cluster_profiles/lab.yaml:3`, `LAUNCH_STORE`, `default`."""

    profile: Profile
    name: str
    options: Any
    store: Path
    workspace: Path
    origins: dict[str, str]
    project: Project
    file: Optional[Path] = None
    shape: Node = field(default_factory=lambda: Node({}, BUILT_IN))


def available(project: Project) -> list[Named]:
    """The profiles of a project, of its user, and the shipped ones; the built-in `local` has no file and is not listed."""
    return projects.available(project, PROFILES)


def load(
    project: Project,
    name: Optional[str],
    options_of: Mapping[str, type],
    *,
    environ: Optional[Mapping[str, str]] = None,
) -> LoadedProfile:
    """A profile by its name, or by the path of its file; None: the one that the settings choose, else `local`.

    `options_of` maps each executor to the dataclass of its options. Raises NotFound, and ConfigError with all mistakes.
    """
    environ = os.environ if environ is None else environ
    chosen = project.settings.get("profile")
    word = name or (chosen.value if chosen is not None else HERE)
    file, shape, problems = _read(project, word)
    title = file.stem if file is not None else word
    profile = validated(Profile, shape, problems) if shape.file != BUILT_IN else LOCAL
    _meaning(shape, options_of, problems)
    executor = shape.words("executor")
    if executor is None or executor not in options_of:
        problems.stop()
    options = _options(shape, options_of[executor], problems)
    if profile is None or options is None or problems:
        problems.stop()
    origins = _origins(shape, profile, options)
    store = _folder(project, shape, profile.store, "store", executor, origins, environ, problems)
    workspace = _folder(project, shape, profile.workspace, "workspace", executor, origins, environ, problems)
    if executor == HERE and hasattr(options, "python"):
        options = _with_python(options, shape, project, origins, environ, problems)
    problems.stop_if_any()
    return LoadedProfile(profile, title, options, store, workspace, origins, project, file, shape)


def stores(project: Project, *, environ: Optional[Mapping[str, str]] = None) -> list[Path]:
    """The folders of this machine where jobs of a project lie: the default's, and those that its profiles name.

    A profile that is wrong is left out: to look at jobs, it need not be right.
    """
    environ = os.environ if environ is None else environ
    origins: dict[str, str] = {}
    found = [_folder(project, Node({}, BUILT_IN), None, "store", HERE, origins, environ, Problems())]
    for named in projects.available(project, PROFILES):
        if named.where == "shipped":
            continue
        problems = Problems()
        try:
            written = read_file(named.file, project.shown(named.file), problems)
        except (OSError, LaunchError):
            continue
        if written is None or problems or written.words("executor") != HERE or written.words("store") is None:
            continue
        folder = _folder(project, written, written.words("store"), "store", HERE, origins, environ, problems)
        if not problems and folder not in found:
            found.append(folder)
    return found


def _read(project: Project, word: str) -> tuple[Optional[Path], Node, Problems]:
    problems = Problems()
    try:
        named = projects.look_up(project, PROFILES, word, "profile")
        shown = project.shown(named.file)
        written = read_file(named.file, shown, problems)
    except FileNotFoundError:
        raise NotFound(f"reading the profile {word}", came_back="it has just been removed") from None
    except NotFound:
        if word != HERE:
            raise
        return None, Node({"executor": Node(HERE, BUILT_IN, None, HERE)}, BUILT_IN), problems
    if written is None:
        problems.stop()
    return named.file, profile_shape(written), problems


def _meaning(shape: Node, options_of: Mapping[str, type], problems: Problems) -> None:
    executor = shape.words("executor")
    if executor is not None and executor not in options_of:
        known = list(options_of)
        problems.at(shape, ("executor",), "is no executor", valid=listed(known), near=nearest(executor, known))
    for key in FOLDERS:
        if shape.words(key) is not None and not (shape.words(key) or "").strip():
            problems.at(shape, (key,), "a folder is expected")
    defaults = shape.child("defaults")
    if defaults is not None:
        check_variables(shape, ("defaults", "env"), defaults.entries("env"), problems)
    check_profile_numbers(shape, problems)


def _options(shape: Node, kind: type, problems: Problems) -> Any:
    """The executor's options; None, and problems, where they do not fit."""
    if shape.child("options") is None:
        shape = shape.with_child("options", Node({}, shape.file, shape.line))
    known = [f.name for f in fields(kind)]
    for key in shape.entries("options"):
        if key not in known:
            message = f"is no option of executor {shape.words('executor')}"
            near = nearest(key, known)
            problems.at(shape, ("options", key), message, found=None, valid=listed(known), near=near)
    return validated(kind, shape, problems, below=("options",))


def _origins(shape: Node, profile: Profile, options: Any) -> dict[str, str]:
    """By dotted key, for every value that a profile has."""
    found: dict[str, str] = {}

    def note(kind: Any, loc: tuple[str, ...]) -> None:
        for each in fields(kind):
            value, path = getattr(kind, each.name), (*loc, each.name)
            if is_dataclass(value) and not isinstance(value, type):
                note(value, path)
                continue
            place = locate(shape, path)
            written = place.node is not None and place.key == ".".join(path)
            found[".".join(path)] = DEFAULT if not written else _where(place.file, place.line)

    note(replace(profile, options={}), ())
    found.pop("options", None)
    note(options, ("options",))
    return found


def _where(file: str, line: Optional[int]) -> str:
    return file if line is None else f"{file}:{line}"


def _folder(
    project: Project,
    shape: Node,
    written: Optional[str],
    key: str,
    executor: str,
    origins: dict[str, str],
    environ: Mapping[str, str],
    problems: Problems,
) -> Path:
    """Flag, variable, the profile's own, the project's launch.yaml, the user's config.yaml, the default."""
    setting = project.settings.get(key)
    base, text = project.root, written
    place = locate(shape, (key,))
    if setting is not None and (written is None or setting.layer in ("flag", "environment")):
        text, base, origins[key] = str(setting.value), setting.folder, setting.origin
    if text is None:
        if executor != HERE:
            problems.at(shape, (key,), f"is missing: executor {executor} needs to be told a folder", found=None)
        text, origins[key] = FOLDERS[key], DEFAULT
    if executor != HERE:
        return Path(text)  # a folder of another machine: nothing of this one may change it
    missing = [name for name in _variables(text) if name not in environ]
    expanded = os.path.expanduser(_filled(text, environ))
    if missing or expanded.startswith("~") or "\0" in expanded:
        why = f"${missing[0]} is not set here" if missing else "there is no such user"
        file, line = (place.file, place.line) if origins[key].startswith(place.file) else (origins[key], None)
        problems.add(Problem(file, line, key, why, repr(text)))
    return Path(os.path.abspath(base / expanded))


def _variables(text: str) -> list[str]:
    import re

    return [one or other for one, other in re.findall(r"\$(?:(\w+)|\{(\w+)\})", text)]


def _filled(text: str, environ: Mapping[str, str]) -> str:
    import re

    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", lambda match: environ.get(match[1] or match[2], match[0]), text)


def _with_python(
    options: Any,
    shape: Node,
    project: Project,
    origins: dict[str, str],
    environ: Mapping[str, str],
    problems: Problems,
) -> Any:
    """The Python of a command `python ...`: the profile's, the active environment's, else the one that runs `launch`."""
    if options.python is not None:
        path = Path(os.path.abspath(project.root / os.path.expanduser(_filled(options.python, environ))))
        if not _is_program(path):
            problems.at(shape, ("options", "python"), "is no program that can be executed")
        return replace(options, python=os.fspath(path))
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        path = Path(environ.get(variable, ""), "bin", "python")
        if environ.get(variable) and _is_program(path):
            origins["options.python"] = f"${variable}"
            return replace(options, python=os.path.abspath(path))
    origins["options.python"] = "the Python that runs launch"
    return replace(options, python=sys.executable)


def _is_program(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.X_OK)
    except (OSError, ValueError):
        return False
