"""What a stalled attempt looked like, captured before anything is done about it.

Every part has its own thread and what is left of the deadline: a process that hangs in the kernel keeps whoever reads its
command line. Nothing here can change how the attempt ends: it is watched from outside, never stopped or traced with a pause,
and the one signal that is sent goes only to processes that catch it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Optional

from launcher.model.redaction import redact
from launcher.store import keys
from launcher.supervisor.postmortem.anatomy import catches, open_files, portrait
from launcher.supervisor.readings.sample import Watched
from launcher.supervisor.start.program import find, output_of

LINES = 200
TAIL_BYTES = 256 * 1024
MOST_PROCESSES = 40
MOST_STACKS = 8
PROGRAM_S = 8.0
STACKS_S = 1.0
LARGEST = 2 << 20

Part = Callable[[float], str]
"""Writes its text within so many seconds."""


def capture(folder: Path, watched: Watched, pids: Iterable[int], deadline_s: float) -> tuple[str, ...]:
    """Write what can be known into `folder`, within `deadline_s`. Returns the names of the files written. Never raises.

    A second capture writes beside the first, under the next number. Text is redacted.
    """
    try:
        return _capture(folder, watched, list(pids), deadline_s)
    except Exception:  # noqa: BLE001 - evidence is a by-product: whatever goes wrong here changes nothing
        return ()


def _capture(folder: Path, watched: Watched, pids: Sequence[int], deadline_s: float) -> tuple[str, ...]:
    limit = time.monotonic() + deadline_s
    known = [value for name in watched.spec.secrets if (value := os.environ.get(name))]
    os.makedirs(folder, mode=0o700, exist_ok=True)
    taken = [name.split("-", 1)[0] for name in os.listdir(folder)]
    number = 1 + max((int(name) for name in taken if name.isdecimal()), default=0)
    stacks = watched.folder / keys.STACKS
    parts: dict[str, Part] = {
        "log.txt": lambda left: log_tail(watched.folder / keys.LOG),
        "processes.txt": lambda left: "\n".join(portrait(pid) for pid in pids[:MOST_PROCESSES]),
        "stacks.txt": lambda left: python_stacks(pids, stacks, min(left, STACKS_S)),
        "py-spy.txt": lambda left: py_spy(pids, left),
        "open-files.txt": lambda left: "\n".join(open_files(pid) for pid in pids[:MOST_PROCESSES]),
        "disks.txt": lambda left: disks(watched, left),
        "nvidia-smi.txt": nvidia_smi,
    }
    written: list[str] = []
    threads = []
    for name, part in parts.items():
        file = folder / f"{number:02d}-{name}"
        thread = threading.Thread(target=_write, args=(file, part, limit, known, written), daemon=True, name=name)
        try:
            thread.start()
        except RuntimeError:  # no room for another thread: this part is missing
            continue
        threads.append(thread)
    for thread in threads:
        thread.join(max(0.0, limit - time.monotonic()))
    return tuple(sorted(written))


def _write(file: Path, part: Part, limit: float, known: Sequence[str], written: list[str]) -> None:
    try:
        text = part(max(0.1, limit - time.monotonic() - 0.2))
    except Exception as error:  # noqa: BLE001 - one part that fails says so and leaves the others alone
        text = f"not available: {type(error).__name__}: {error}\n"
    if not text:
        return
    try:
        content = redact(text[:LARGEST], known).encode("utf-8", "replace")
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
        written.append(file.name)
    except OSError:
        pass


def log_tail(path: Path) -> str:
    """The last 200 lines. Empty where there is no log."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        size = os.fstat(descriptor).st_size
        text = os.pread(descriptor, TAIL_BYTES, max(0, size - TAIL_BYTES)).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
    return "".join(text.splitlines(keepends=True)[-LINES:])


def python_stacks(pids: Sequence[int], file: Path, seconds: float) -> str:
    """Ask those that catch the signal for the stacks of their threads, and wait for what they write into `file`."""
    from launcher.model.signals import STACKS_SIGNAL

    if STACKS_SIGNAL is None:
        return ""
    before = _size(file)
    asked = []
    for pid in pids[:MOST_STACKS]:
        if catches(pid, STACKS_SIGNAL):
            try:
                os.kill(pid, STACKS_SIGNAL)
                asked.append(pid)
            except OSError:
                pass
    if not asked:
        return ""
    _wait_until_still(file, before, seconds)
    try:
        with open(file, "rb") as told:
            told.seek(before)
            text = told.read(LARGEST).decode("utf-8", "replace")
    except OSError:
        text = ""
    return f"asked {', '.join(map(str, asked))}\n{text or 'no answer: the interpreter does not get to its signal handlers'}\n"


def py_spy(pids: Sequence[int], seconds: float) -> str:
    """Stacks by py-spy, where it is installed and may look. It does not pause what it looks at."""
    limit = time.monotonic() + seconds
    texts: list[str] = []
    for pid in pids:
        left = limit - time.monotonic()
        if left <= 0 or len(texts) >= MOST_STACKS:
            break
        folders = _program_folders(pid)
        if folders is None:
            continue
        program = find("py-spy", *folders)
        if program is None:
            return "py-spy is not installed: pip install py-spy beside the job's Python\n"
        answer = output_of([program, "dump", "--nonblocking", "--pid", str(pid)], min(left, PROGRAM_S))
        texts.append(f"== {pid}{' (late)' if answer.late else ''}\n{answer.text}")
    return "\n".join(texts)


def disks(watched: Watched, seconds: float) -> str:
    """What df says of the watched paths: bytes and inodes."""
    program = find("df")
    if program is None:
        return ""
    paths = [str(path) for path in (*watched.disks, watched.folder)]
    return "\n".join(
        output_of([program, *how, "--", *paths], min(seconds / 2, PROGRAM_S)).text for how in (["-kP"], ["-iP"])
    )


def nvidia_smi(seconds: float) -> str:
    """The whole table, with its processes. Empty where there is no such program."""
    program = find("nvidia-smi")
    if program is None:
        return ""
    answer = output_of([program], min(seconds, PROGRAM_S))
    return answer.text + ("\n(late)\n" if answer.late else "")


def _program_folders(pid: int) -> Optional[list[str]]:
    """Where a Python process has its programs; None for what is no Python."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            first = os.fsdecode(file.read(4096).split(b"\0")[0])
        executable = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None
    if "python" not in os.path.basename(executable).lower() and "python" not in os.path.basename(first).lower():
        return None
    return [os.path.dirname(path) for path in (first, executable) if os.path.isabs(path)]


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size
    except OSError:
        return 0


def _wait_until_still(file: Path, before: int, seconds: float) -> None:
    limit = time.monotonic() + seconds
    size = before
    while time.monotonic() < limit:
        time.sleep(0.1)
        now = _size(file)
        if now == size and now > before:
            return
        size = now
