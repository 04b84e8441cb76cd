"""What a phase's own code may import: which task this is, what it shall do, and how it tells how far it is.

    from launcher import task
    for step in range(task.params().get("steps", 10)):
        task.progress(step, 10, stage="train")
        task.metric(step, loss=0.3)
        if task.stop_requested():
            save(); sys.exit(task.STOPPED_EXIT_CODE)

Outside of `launch` every function is a harmless no-op, so the same script runs by hand. All of it travels through the
environment, so that any language can take part: LAUNCH_JOB, LAUNCH_PHASE, LAUNCH_TASK (the index), LAUNCH_ATTEMPT,
LAUNCH_PARAMS (a JSON object), LAUNCH_OUTPUTS (a JSON object, name to path), LAUNCH_RESUME_FROM (a path, or absent),
LAUNCH_STOP_FILE (a stop is requested while it exists), LAUNCH_CHECKPOINTS (the declared folder of them), LAUNCH_SCRATCH
(a folder for what need not last), and two files that take one JSON object per line, each line appended in one write:

    LAUNCH_PROGRESS  {"step": 3, "total": 10, "stage": "decode", "message": "…"}, any subset of it
                     {"checkpoint": "path", "step": 3, "metrics": {…}}
                     {"outcome": "stalled", "reason": "…"}
    LAUNCH_METRICS   {"step": 3, "loss": 0.12, …}

JSON has no sign for numbers that are not finite: they are the strings "NaN", "Infinity" and "-Infinity". Writing is
best effort: a full disk never ends the job. Starts no thread. Travels to the node: standard library, Python 3.9.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn, Optional, Union

from launcher.errors import LaunchError
from launcher.model.outcome import Outcome

STOPPED_EXIT_CODE = 75
"""A stop was requested and the state is saved: EX_TEMPFAIL of sysexits.h, no success, worth resuming."""
DECLARED_EXIT_CODE = 1
PROGRESS_INTERVAL_S = 0.1
"""Faster steps are thinned out, so that a quick loop cannot fill a disk; the last one is always told."""
_DURABLE_TRIES = 6
_DURABLE_PAUSE_S = 0.2  # the supervisor frees its ballast at the red line; the declaration then finds room
_TEXT_LIMIT = 4000

_torn: set[str] = set()  # files whose last line a full disk cut in two
_held: Optional[dict[str, Any]] = None  # the progress that came too soon after the last one
_told_at: Optional[float] = None
_folder: Optional[tempfile.TemporaryDirectory[str]] = None
_stacks: Any = None  # the open file must live as long as the process: the signal writes to its descriptor


def index() -> int:
    """The index of this task in its array; 0 for a plain job and outside of `launch`."""
    text = os.environ.get("LAUNCH_TASK") or "0"
    if not text.isdecimal():
        raise LaunchError("read the task's index from LAUNCH_TASK", came_back=f"no whole number: {text!r}")
    return int(text)


def params() -> dict[str, Any]:
    """The parameters of this task as they were submitted; empty outside of `launch`."""
    return _object("LAUNCH_PARAMS")


def progress(
    step: Optional[float] = None,
    total: Optional[float] = None,
    stage: Optional[str] = None,
    message: Optional[str] = None,
) -> None:
    """Tell how far the task is. `step` counts what is finished, out of `total`; give what is known."""
    global _held, _told_at
    path = os.environ.get("LAUNCH_PROGRESS")
    if not path:
        return
    given = {"step": step, "total": total, "stage": stage, "message": message}
    record = {key: value for key, value in given.items() if value is not None}
    now = time.monotonic()
    soon = _told_at is not None and now - _told_at < PROGRESS_INTERVAL_S
    if soon and stage is None and message is None and step is not None and step != total:
        if _held is None:
            atexit.register(_tell_held)
        _held = {**(_held or {}), **record}
        return
    held, _held = _held, None
    _told_at = now
    _append(path, {**(held or {}), **record})


def metric(step: Optional[float] = None, **values: Any) -> None:
    """Record measured values, mostly numbers, at a step; numbers of numpy and tensors of one element are understood."""
    path = os.environ.get("LAUNCH_METRICS")
    if path and values:
        _append(path, values if step is None else {"step": step, **values})


def resume_from() -> Optional[Path]:
    """The checkpoint to resume from, or None to start at the beginning.

    A checkpoint that was named and is not there ends the task as *start failed*: to begin anew would throw progress
    away unseen.
    """
    text = os.environ.get("LAUNCH_RESUME_FROM")
    if not text:
        return None
    if not os.path.lexists(text):
        fail(Outcome.START_FAILED, f"the checkpoint to resume from is not there: {text}")
    return Path(text)


def stop_requested() -> bool:
    """Whether this attempt is asked to stop: save, then end with `STOPPED_EXIT_CODE`. Cheap enough for every step."""
    path = os.environ.get("LAUNCH_STOP_FILE")
    return bool(path) and os.path.exists(str(path))


def checkpoint_saved(path: Union[str, os.PathLike[str]], step: Optional[float] = None, **metrics: Any) -> None:
    """Declare a checkpoint complete: everything in it has been written, and a later attempt can resume from it."""
    given = {"checkpoint": os.path.abspath(path), "step": step, "metrics": metrics or None}
    record = {key: value for key, value in given.items() if value is not None}
    target = os.environ.get("LAUNCH_PROGRESS")
    if target:
        _tell_held()
        _append(target, record, durable=True)


def fail(outcome: Union[str, Outcome], reason: str) -> NoReturn:
    """End this task with an outcome of its own choice, such as "stalled" or "out of memory", and the reason for people.

    The declaration is on disk before SystemExit is raised; where it cannot be written, the exit code and standard
    error remain. Call it in the main thread: SystemExit in another thread ends only that thread.
    """
    name = _outcome_name(outcome)
    if name is None:
        name, reason = Outcome.FAILED.value, f"{reason} (declared as {outcome!r}, which no task can be)"
    record = {"outcome": name, "reason": reason[:_TEXT_LIMIT]}
    try:
        sys.stdout.flush()
        sys.stderr.write(f"launch: this task declares itself {name}: {reason}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed, or on a full disk
        pass
    target = os.environ.get("LAUNCH_PROGRESS")
    if target:
        _tell_held()
        for attempt in range(_DURABLE_TRIES):
            if _append(target, record, durable=True):
                break
            if attempt + 1 < _DURABLE_TRIES:
                time.sleep(_DURABLE_PAUSE_S)
    raise SystemExit(DECLARED_EXIT_CODE)


def output(name: str, default: Union[str, os.PathLike[str], None] = None) -> Path:
    """Where the declared output `name` goes; its parent folder exists afterwards.

    Outside of `launch`: `default`, else `outputs/<name>`. Raises LaunchError for a name that the phase does not
    declare.
    """
    declared = _object("LAUNCH_OUTPUTS")
    if "LAUNCH_OUTPUTS" not in os.environ:
        path = Path(default) if default is not None else Path("outputs") / name
    elif name in declared:
        path = Path(str(declared[name]))
    else:
        listed = ", ".join(sorted(declared)) or "none"
        raise LaunchError(
            f"find the output {name!r}", came_back=f"the phase declares: {listed}", hint="add it to `outputs`"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def scratch() -> Path:
    """A folder for what need not outlive this attempt. Outside of `launch`: a temporary one that is removed at exit."""
    global _folder
    given = os.environ.get("LAUNCH_SCRATCH")
    if given:
        Path(given).mkdir(parents=True, exist_ok=True)
        return Path(given)
    if _folder is None:
        _folder = tempfile.TemporaryDirectory(prefix="launch-scratch-")
    return Path(_folder.name)


def _outcome_name(outcome: Union[str, Outcome]) -> Optional[str]:
    """`out of memory` from `OUT_OF_MEMORY`, `out-of-memory` or the member; None for what no failing task can be."""
    text = outcome.value if isinstance(outcome, Outcome) else str(outcome)
    text = text.strip().lower().replace("_", " ").replace("-", " ")
    known = {member.value for member in Outcome} - {Outcome.SUCCEEDED.value, Outcome.UNKNOWN.value}
    return text if text in known else None


def _object(variable: str) -> dict[str, Any]:
    text = os.environ.get(variable)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise LaunchError(f"read {variable} as a JSON object", came_back=str(error)) from None
    if not isinstance(found, dict):
        raise LaunchError(f"read {variable} as a JSON object", came_back=f"a JSON {type(found).__name__}")
    return found


def _plain(value: Any) -> Any:
    """What JSON can hold, and no number that is not finite."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a scalar of numpy, a tensor of one element
        try:
            return _plain(value.item())
        except (ValueError, RuntimeError, TypeError):
            pass
    return str(value)[:_TEXT_LIMIT]


def _append(path: str, record: Mapping[str, Any], *, durable: bool = False) -> bool:
    """Append one line in one write: lines of several processes stay whole (O_APPEND). False: it was not written."""
    try:
        line = json.dumps(_plain(record), allow_nan=False).encode("ascii") + b"\n"
        if path in _torn:
            line = b"\n" + line
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            written = os.write(descriptor, line)
            if written < len(line):
                _torn.add(path)
                return False
            _torn.discard(path)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, ValueError, TypeError, RecursionError):
        return False
    return True


def _tell_held() -> None:
    """Write the progress that was held back."""
    global _held
    held, _held = _held, None
    path = os.environ.get("LAUNCH_PROGRESS")
    if held and path:
        _append(path, held)


def _open_to_diagnosis() -> None:
    """Let the supervisor see where this process stands: stacks of all threads on a signal, and permission to trace it.

    Only where the supervisor named a signal. Yama's ptrace_scope 1 lets only ancestors trace a process; py-spy is none,
    so any tracer of the same user is allowed (prctl(2): PR_SET_PTRACER, PR_SET_PTRACER_ANY).
    """
    global _stacks
    number, target = os.environ.get("LAUNCH_STACKS_SIGNAL", ""), os.environ.get("LAUNCH_STACKS_FILE")
    if not number.isdecimal() or not target:
        return
    import faulthandler
    import signal

    try:
        if signal.getsignal(int(number)) == signal.SIG_DFL:  # a handler of the user's own stays
            _stacks = open(target, "ab", buffering=0)  # noqa: SIM115 - lives as long as the process
            faulthandler.register(int(number), file=_stacks, all_threads=True, chain=False)
    except (OSError, ValueError, RuntimeError, AttributeError):
        pass
    if sys.platform == "linux":
        import ctypes

        try:
            ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1 & (2**64 - 1)), 0, 0, 0)
        except (OSError, AttributeError, ValueError):
            pass


# A forked process must not tell, later, what its parent held back.
os.register_at_fork(after_in_child=lambda: globals().update(_held=None))
_open_to_diagnosis()
