"""What /proc tells of one process: where its threads wait, what it has open, which signals it catches."""

from __future__ import annotations

import os
from typing import Optional

from launcher.store.processes import PROC

MOST_THREADS = 64
MOST_FILES = 200
_STATUS = (
    "Name",
    "State",
    "Pid",
    "PPid",
    "VmRSS",
    "VmSwap",
    "Threads",
    "SigCgt",
    "Cpus_allowed_list",
    "voluntary_ctxt_switches",
)


def portrait(pid: int) -> str:
    """Command, status, bytes moved, and for each thread its state, where it waits in the kernel, and its kernel stack."""
    command = (_read(f"{PROC}/{pid}/cmdline") or "").replace("\0", " ").strip()
    lines = [f"== {pid} {command[:2000]}"]
    for line in (_read(f"{PROC}/{pid}/status") or "gone\n").splitlines():
        if line.split(":")[0] in _STATUS or line == "gone":
            lines.append(f"  {line}")
    moved = _read(f"{PROC}/{pid}/io")
    if moved:
        lines.append("  " + ", ".join(moved.split("\n")).strip(", "))
    try:
        threads = sorted(os.listdir(f"{PROC}/{pid}/task"), key=int)
    except (OSError, ValueError):
        threads = []
    lines.extend(_thread(pid, thread) for thread in threads[:MOST_THREADS])
    if len(threads) > MOST_THREADS:
        lines.append(f"  and {len(threads) - MOST_THREADS} more threads")
    return "\n".join(lines) + "\n"


def _thread(pid: int, thread: str) -> str:
    place = f"{PROC}/{pid}/task/{thread}"
    name = (_read(f"{place}/comm") or "?").strip()
    state = (_read(f"{place}/stat") or ")").rpartition(")")[2].split()
    waits = (_read(f"{place}/wchan") or "").strip()
    call = (_read(f"{place}/syscall") or "").split()
    text = f"  thread {thread} {name}: state {state[0] if state else '?'}"
    text += f", waits in {waits}" if waits not in ("", "0") else ""
    text += f", system call {call[0]}" if call else ""
    stack = _read(f"{place}/stack")  # root's only
    if stack:
        text += "".join(f"\n      {line}" for line in stack.strip().splitlines()[:32])
    return text


def open_files(pid: int) -> str:
    """Each open file with its size and where in it the process is; sockets and pipes by name."""
    lines = [f"== {pid}"]
    try:
        descriptors = sorted(os.listdir(f"{PROC}/{pid}/fd"), key=int)
    except (OSError, ValueError):
        return f"== {pid}: not readable\n"
    for descriptor in descriptors[:MOST_FILES]:
        try:
            target = os.readlink(f"{PROC}/{pid}/fd/{descriptor}")
        except OSError:
            continue
        lines.append(f"  {descriptor}: {target}{_extent(pid, descriptor, target)}")
    if len(descriptors) > MOST_FILES:
        lines.append(f"  and {len(descriptors) - MOST_FILES} more")
    return "\n".join(lines) + "\n"


def _extent(pid: int, descriptor: str, target: str) -> str:
    if not target.startswith("/") or target.startswith(("/dev/", "/proc/")):
        return ""
    position = (_read(f"{PROC}/{pid}/fdinfo/{descriptor}") or "").split()
    at = f" at {position[1]}" if len(position) > 1 else ""
    try:
        size = os.stat(f"{PROC}/{pid}/fd/{descriptor}").st_size
    except OSError:
        return at
    return f"{at} of {size} bytes"


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal. False where that cannot be read."""
    for line in (_read(f"{PROC}/{pid}/status") or "").splitlines():
        if line.startswith("SigCgt:"):
            try:
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
            except (ValueError, IndexError):
                return False
    return False


def _read(path: str) -> Optional[str]:
    try:
        with open(path, "rb") as file:
            return file.read(65536).decode("utf-8", "replace")
    except OSError:
        return None
