"""What the child is told: its environment, and the interpreter that `python` means."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

import launcher
from launcher.model import template
from launcher.store import keys
from launcher.supervisor.places import Places

OURS = ("LAUNCH_SHARE_FD", "LAUNCH_PYTHON", "LAUNCH_UMASK")
"""Between agent and supervisor only."""


def of_child(
    places: Places,
    inherited: Mapping[str, str],
    gpus: Optional[Sequence[str]],
    resume_from: Optional[Path],
    stacks_signal: Optional[int],
) -> dict[str, str]:
    """The environment this process was given, the phase's own on top, then what `launcher.task` reads.

    `gpus`: None leaves CUDA_VISIBLE_DEVICES as it is. Raises template.UnknownField.
    """
    spec, task = places.spec, places.task
    found = {name: value for name, value in inherited.items() if name not in OURS and not _stale(name)}
    found.setdefault("TOKENIZERS_PARALLELISM", "false")
    found["PYTHONUNBUFFERED"] = "1"
    found.update(template.env_of(spec, task))
    if gpus is not None:
        found["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    found["PYTHONPATH"] = _append_path(found.get("PYTHONPATH"), str(Path(launcher.__file__).resolve().parent.parent))
    folder = places.folder
    found.update(
        LAUNCH_JOB=spec.job,
        LAUNCH_PHASE=spec.phase,
        LAUNCH_TASK=str(task.index),
        LAUNCH_ATTEMPT=str(places.attempt),
        LAUNCH_ATTEMPT_ID=places.attempt_id,
        LAUNCH_PARAMS=json.dumps(spec.params_of(task)),
        LAUNCH_OUTPUTS=json.dumps({name: str(places.tree / path) for name, path in places.outputs.items()}),
        LAUNCH_STOP_FILE=str(folder / keys.STOP),
        LAUNCH_PROGRESS=str(folder / keys.PROGRESS),
        LAUNCH_METRICS=str(folder / keys.METRICS),
        LAUNCH_SCRATCH=str(places.scratch),
    )
    if stacks_signal is not None:
        found.update(LAUNCH_STACKS_SIGNAL=str(stacks_signal), LAUNCH_STACKS_FILE=str(folder / keys.STACKS))
    if resume_from is not None:
        found["LAUNCH_RESUME_FROM"] = str(resume_from)
    if places.checkpoint_path is not None:
        found["LAUNCH_CHECKPOINTS"] = str(places.tree / places.checkpoint_path)
    return found


def _stale(name: str) -> bool:
    """An attempt that submits a job of its own must not pass on what names itself."""
    return name in {
        "LAUNCH_JOB",
        "LAUNCH_PHASE",
        "LAUNCH_TASK",
        "LAUNCH_ATTEMPT",
        "LAUNCH_ATTEMPT_ID",
        "LAUNCH_PARAMS",
        "LAUNCH_OUTPUTS",
        "LAUNCH_STOP_FILE",
        "LAUNCH_PROGRESS",
        "LAUNCH_METRICS",
        "LAUNCH_SCRATCH",
        "LAUNCH_RESUME_FROM",
        "LAUNCH_CHECKPOINTS",
        "LAUNCH_STACKS_SIGNAL",
        "LAUNCH_STACKS_FILE",
    }


def _append_path(existing: Optional[str], folder: str) -> str:
    """At its end, so that nothing of the child's own is hidden."""
    parts = [part for part in (existing or "").split(os.pathsep) if part]
    return os.pathsep.join([*parts, folder] if folder not in parts else parts)


def is_python(program: str) -> bool:
    """Whether a command names an interpreter by its plain name, leaving it to us which one."""
    return program in ("python", "python3")


def command(places: Places, interpreter: Optional[str]) -> tuple[str, ...]:
    """The argument vector of the task. `interpreter` stands for a plain `python`, None leaves it to PATH.

    With `shell` the command is one text for a shell. Raises template.UnknownField.
    """
    argv = template.command_of(places.spec, places.task)
    if places.spec.shell:
        return ("bash" if os.path.exists("/bin/bash") else "sh", "-c", " ".join(argv))
    if interpreter is not None and argv and is_python(argv[0]):
        return (interpreter, *argv[1:])
    return argv


def resolved(argv: Sequence[str], interpreter: Optional[str]) -> tuple[str, ...]:
    """A wrapper's plain `python` as the interpreter that the phase means."""
    if interpreter is not None and argv and is_python(argv[0]):
        return (interpreter, *argv[1:])
    return tuple(argv)
