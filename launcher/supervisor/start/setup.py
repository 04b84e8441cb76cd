"""What stands around the child: modules, conda, a virtual environment, a container, as argument vectors around its own.

Nothing that a user wrote becomes shell text: it travels as positional parameters. Where the surroundings cannot be made,
the wrapper writes why into `failed`, so that this is told apart from a failure of the command itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from launcher.supervisor.faults import StartFailed
from launcher.supervisor.places import Places
from launcher.supervisor.start import container

# `module` is a shell function; old versions of it answer 0 where a module does not exist (Environment Modules before 4.0).
_MODULES = r"""
failed=$1 count=$2
shift 2
answer=$failed.answer
if ! type module >/dev/null 2>&1; then
  for file in "${MODULESHOME:-/nonexistent}/init/bash" "${LMOD_PKG:-/nonexistent}/init/bash" /etc/profile.d/modules.sh \
    /etc/profile.d/lmod.sh /usr/share/modules/init/bash /usr/share/Modules/init/bash /usr/share/lmod/lmod/init/bash; do
    if [ -r "$file" ]; then
      . "$file"
      type module >/dev/null 2>&1 && break
    fi
  done
fi
if ! type module >/dev/null 2>&1; then
  printf 'loading the module %s: this machine has no `module` command' "$1" >"$failed"
  exit 1
fi
while [ "$count" -gt 0 ]; do
  module load "$1" 2>"$answer"
  code=$?
  cat "$answer" >&2
  if [ "$code" -ne 0 ] || grep -qi 'unable to locate' "$answer"; then
    { printf 'loading the module %s: ' "$1"; head -c 1000 "$answer" | tr '\n' ' '; } >"$failed"
    exit 1
  fi
  rm -f "$answer"
  shift
  count=$((count - 1))
done
shopt -s execfail
exec "$@"
code=$?
printf 'starting %s: it cannot be executed' "$1" >"$failed"
exit "$code"
"""
_BRINGS_PYTHON = ("python", "anaconda", "miniconda", "conda", "mamba", "miniforge", "mambaforge")


@dataclass(frozen=True)
class Around:
    """`before` and `inner` come before the command, outermost first; `python` is what a plain `python` means, None: what
    PATH says; `at_end` is run after the last process has ended."""

    before: tuple[str, ...]
    environment: dict[str, str]
    python: Optional[str]
    at_end: tuple[str, ...] = ()
    contained: bool = False

    def wrap(self, argv: Sequence[str]) -> tuple[str, ...]:
        """The argument vector to execute."""
        return (*self.before, *argv)


def around(places: Places, environment: Mapping[str, str], made: Optional[Path], failed: Path) -> Around:
    """`made` is the environment that uv made, if the phase asked for one. Raises StartFailed."""
    setup = places.spec.setup
    inner: tuple[str, ...] = ()
    at_end: tuple[str, ...] = ()
    changed = dict(environment)
    python = _interpreter(places)
    if made is not None:
        python = _activate(made, changed)
    elif setup.venv is not None:
        python = _activate(_venv(places, setup.venv), changed)
    elif setup.conda is not None:
        inner, python = _conda(places, setup.conda, environment), None
    elif setup.container is not None:
        changed["PYTHONPATH"] = changed.get("PYTHONPATH", "").rpartition(os.pathsep)[2]  # of the host, but for ours
        inner, python = container.command(places, setup.container, changed), None
        at_end = container.removal(places, changed)
    if setup.modules:
        inner = ("bash", "-c", _MODULES, "launch-modules", str(failed), str(len(setup.modules)), *setup.modules, *inner)
    return Around(inner, changed, python, at_end, setup.container is not None)


def _interpreter(places: Places) -> Optional[str]:
    """What the submitting side found `python` to be, unless a module brings one."""
    if any(name.lower().startswith(_BRINGS_PYTHON) for name in places.spec.setup.modules):
        return None
    given = places.spec.place.options.get("python")
    return given if isinstance(given, str) and given else None


def _activate(folder: Path, environment: dict[str, str]) -> str:
    """What `activate` does: its programs first, no home of another Python."""
    environment["VIRTUAL_ENV"] = str(folder)
    environment["PATH"] = os.pathsep.join([str(folder / "bin"), environment.get("PATH", os.defpath)])
    environment.pop("PYTHONHOME", None)
    return str(folder / "bin" / "python")


def _venv(places: Places, name: str) -> Path:
    folder = places.workspace.root / os.path.expanduser(name)
    if not (folder / "bin" / "python").exists():
        raise StartFailed(
            "using the virtual environment of the phase",
            came_back=f"{folder / 'bin' / 'python'} does not exist",
            hint="a relative `venv` is taken from the workspace",
        )
    return folder


def _conda(places: Places, name: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    program = environment.get("CONDA_EXE") or container.on_path("conda", environment)
    if program is None or not os.access(program, os.X_OK):
        raise StartFailed(f"using the conda environment {name}", came_back="no `conda` on PATH or in CONDA_EXE")
    if "/" not in name and not name.startswith("~"):
        return (program, "run", "--no-capture-output", "-n", name)
    folder = places.workspace.root / os.path.expanduser(name)
    if not (folder / "conda-meta").is_dir():
        raise StartFailed(f"using the conda environment {folder}", came_back="it is no conda environment")
    return (program, "run", "--no-capture-output", "-p", str(folder))
