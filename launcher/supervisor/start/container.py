"""The child in a container: apptainer, singularity, podman or docker, whichever is found first on PATH."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import launcher
from launcher.supervisor.faults import StartFailed
from launcher.supervisor.places import Places

RUNTIMES = ("apptainer", "singularity", "podman", "docker")
_PASSED_ON = ("CUDA_VISIBLE_DEVICES", "PYTHONUNBUFFERED", "PYTHONPATH", "TOKENIZERS_PARALLELISM")


def command(places: Places, image: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """What comes before the child's own arguments. Raises StartFailed."""
    name, program = _runtime(environment)
    if program is None:
        raise StartFailed(
            f"running in the container {image}",
            came_back=f"none of {', '.join(RUNTIMES)} is on PATH",
            hint="install one of them on the node, or load it with `setup: {modules: …}`",
        )
    if name in ("apptainer", "singularity"):
        return _apptainer(program, places, image)
    return _docker(name, program, places, image, environment)


def removal(places: Places, environment: Mapping[str, str]) -> tuple[str, ...]:
    """What removes the container afterwards: those of podman and docker are no descendants of ours. Else empty."""
    name, program = _runtime(environment)
    return (program, "rm", "-f", _title(places)) if program is not None and name in ("podman", "docker") else ()


def _runtime(environment: Mapping[str, str]) -> tuple[str, Optional[str]]:
    for name in RUNTIMES:
        program = on_path(name, environment)
        if program is not None:
            return name, program
    return "", None


def _title(places: Places) -> str:
    return "launch-" + re.sub(r"[^A-Za-z0-9_.-]", "-", places.attempt_id)


def on_path(program: str, environment: Mapping[str, str]) -> Optional[str]:
    """The file that PATH names, or None."""
    for folder in environment.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder or ".", program)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _binds(places: Places) -> list[str]:
    """Workspace (with the attempt's data), records, our own code, and inputs that lie elsewhere; each once."""
    wanted = [places.workspace.root, places.tree, places.folder, Path(launcher.__file__).resolve().parent.parent]
    wanted += [Path(path) for path in places.inputs.values() if path.startswith("/")]
    found: list[str] = []
    for path in wanted:
        if not any(str(path) == other or str(path).startswith(f"{other}/") for other in found):
            found.append(str(path))
    return found


def _apptainer(program: str, places: Places, image: str) -> tuple[str, ...]:
    argv = [program, "exec", "--pwd", str(places.tree)]
    if places.spec.resources_of(places.task).gpus:
        argv.append("--nv")
    for path in _binds(places):
        if ":" in path or "," in path:
            raise StartFailed(
                f"binding {path} into the container", came_back="':' and ',' cannot be part of a bind path"
            )
        argv += ["--bind", path]
    return (*argv, image)


def _docker(name: str, program: str, places: Places, image: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    argv = [program, "run", "--rm", "--init", "--name", _title(places), "--workdir", str(places.tree)]
    argv += ["--user", f"{os.getuid()}:{os.getgid()}", "--network", "host", "--ipc", "host"]
    if name == "podman":
        argv += ["--userns", "keep-id"]
    if places.spec.resources_of(places.task).gpus:
        argv += ["--device", "nvidia.com/gpu=all"] if name == "podman" else ["--gpus", "all"]
    for path in _binds(places):
        argv += ["--mount", f"type=bind,{_quoted(f'source={path}')},{_quoted(f'target={path}')}"]
    named = {*_PASSED_ON, *places.spec.env, *places.spec.secrets}
    for variable in sorted(environment):
        if variable in named or variable.startswith("LAUNCH_"):
            argv += ["--env", variable]  # its value is taken from our environment, and is in no argument
    return (*argv, image.removeprefix("docker://"))  # as apptainer writes it


def _quoted(field: str) -> str:
    """One field of the comma-separated values that --mount reads."""
    return '"' + field.replace('"', '""') + '"'
