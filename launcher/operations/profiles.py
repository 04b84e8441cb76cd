"""`profiles`: which there are, what each says and where every value came from, and the JSON Schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Optional

from launcher.config import profiles, project, schema
from launcher.config.profiles import LoadedProfile
from launcher.errors import ConfigError
from launcher.executors.registry import OptionTypes
from launcher.model import codec
from launcher.model.units import show_size, show_time

BEAT = 10.0  # seconds; of a phase that names none
_SIZES = ("memory", "gpu_memory", "disk")
_TIMES = ("time", "beat")


@dataclass(frozen=True)
class Listed:
    """One profile. `problem` is its first mistake, in words, where it cannot be used; `chosen`: taken without `--profile`."""

    name: str
    executor: Optional[str]
    description: str
    file: Optional[str]
    where: str  # project, user, shipped, built in
    chosen: bool
    problem: Optional[str] = None


@dataclass(frozen=True)
class Value:
    """One resolved value; None: not said. `shown` is for people."""

    key: str
    value: Any
    shown: str
    origin: str


@dataclass(frozen=True)
class Shown:
    """A profile with all its values, and the settings that hold beside it."""

    name: str
    file: Optional[str]
    values: tuple[Value, ...]


def listing(folder: Path) -> tuple[Listed, ...]:
    """All profiles that a submit in `folder` could name. A profile with mistakes is listed with the first of them.

    Raises ConfigError for mistakes in the settings.
    """
    found = project.find(folder)
    setting = found.settings.get("profile")
    chosen = setting.value if setting is not None else profiles.HERE
    named = {one.name: one.where for one in profiles.available(found)}
    listed = []
    for name, where in {profiles.HERE: profiles.BUILT_IN, **named}.items():
        try:
            loaded = profiles.load(found, name, OptionTypes())
        except ConfigError as error:
            first = error.problems[0]
            listed.append(Listed(name, None, "", first.file, where, name == chosen, str(first)))
            continue
        file = None if loaded.file is None else found.shown(loaded.file)
        profile = loaded.profile
        listed.append(Listed(name, profile.executor, profile.description, file, where, name == chosen))
    return tuple(sorted(listed, key=lambda one: one.name))


def show(folder: Path, name: Optional[str], flags: Optional[Mapping[str, Optional[str]]] = None) -> Shown:
    """Every value of a profile; None: the one that a submit would take. Raises NotFound and ConfigError."""
    found = project.find(folder, flags=flags)
    loaded = profiles.load(found, name, OptionTypes())
    setting = found.settings.get("profile")
    values = [Value("profile", loaded.name, loaded.name, _chosen(name, setting))]
    values += _values(loaded)
    for key, default in (("beat", BEAT), ("budget", loaded.profile.limits.budget)):
        said = found.settings.get(key)
        value = said.value if said is not None else default
        origin = said.origin if said is not None else profiles.DEFAULT
        if said is None and key == "budget" and value is not None:
            origin = loaded.origins["limits.budget"]
        values.append(Value(key, value, _show(key, value), origin))
    file = None if loaded.file is None else found.shown(loaded.file)
    return Shown(loaded.name, file, tuple(values))


def schema_of(kind: Literal["phase", "profile"]) -> dict[str, Any]:
    """The JSON Schema of a phase's or a profile's file."""
    return schema.phase_schema() if kind == "phase" else schema.profile_schema(OptionTypes())


def _chosen(name: Optional[str], setting: Any) -> str:
    if name is not None:
        return "the command line"
    return setting.origin if setting is not None else profiles.DEFAULT


def _values(loaded: LoadedProfile) -> list[Value]:
    values = []

    def note(source: Any, loc: str) -> None:
        for each in fields(source):
            value, key = getattr(source, each.name), f"{loc}{each.name}"
            if key == "options":
                note(loaded.options, "options.")
            elif is_dataclass(value) and not isinstance(value, type):
                note(value, f"{key}.")
            else:
                if key in profiles.FOLDERS:
                    value = str(getattr(loaded, key))
                values.append(Value(key, codec.encode(value), _show(each.name, value), loaded.origins[key]))

    note(loaded.profile, "")
    return values


def _show(key: str, value: Any) -> str:
    if value is None or value in ({}, ()):
        return "-"
    if key in _SIZES:
        return show_size(value)
    if key in _TIMES:
        return show_time(value)
    if key in ("price", "budget"):
        return f"${value:g}/h" if key == "price" else f"${value:g}"
    if isinstance(value, Mapping):
        return " ".join(f"{name}={text}" for name, text in value.items())
    return ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)
