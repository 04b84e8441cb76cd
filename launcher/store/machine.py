"""What this machine has to give: GPUs by their names in CUDA_VISIBLE_DEVICES, processors, memory.

Reads /dev, /proc and /sys. Travels to the node: standard library, Python 3.9.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

_DEVICE = re.compile(r"nvidia([0-9]+)")


@dataclass(frozen=True)
class Capacity:
    """`gpus` are names as in CUDA_VISIBLE_DEVICES; `memory` in bytes, None where it is not known: it limits nothing."""

    gpus: tuple[str, ...]
    cpus: int
    memory: Optional[int]


def capacity(
    *,
    gpus: Optional[Sequence[int]] = None,
    cpus: Optional[int] = None,
    memory: Optional[int] = None,
    environment: Mapping[str, str] = os.environ,
    root: Path = Path("/"),
) -> Capacity:
    """What may be used of this machine. The first three, where given, are declared and not looked for; a shell's
    CUDA_VISIBLE_DEVICES narrows the GPUs in any case."""
    present = tuple(str(index) for index in gpus) if gpus is not None else gpu_indices(root)
    return Capacity(
        gpus=visible(present, environment.get("CUDA_VISIBLE_DEVICES"), uuids(root)),
        cpus=cpus if cpus is not None else processors(root),
        memory=memory if memory is not None else memory_total(root),
    )


def gpu_indices(root: Path = Path("/")) -> tuple[str, ...]:
    """By the device files, which exist where the driver is loaded and the container was given the GPU."""
    try:
        names = os.listdir(root / "dev")
    except OSError:
        return ()
    return tuple(str(n) for n in sorted(int(m.group(1)) for m in map(_DEVICE.fullmatch, names) if m))


def uuids(root: Path = Path("/")) -> dict[str, str]:
    """UUID of each GPU to its index, as the driver's /proc has them; empty where it has none."""
    found: dict[str, str] = {}
    folder = root / "proc/driver/nvidia/gpus"
    try:
        cards = sorted(os.listdir(folder))
    except OSError:
        return found
    for card in cards:
        try:
            text = (folder / card / "information").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        uuid = re.search(r"^GPU UUID:\s*(GPU-\S+)", text, re.MULTILINE)
        minor = re.search(r"^Device Minor:\s*([0-9]+)", text, re.MULTILINE)
        if uuid and minor:
            found[uuid.group(1)] = minor.group(1)
    return found


def visible(present: Sequence[str], wanted: Optional[str], by_uuid: Mapping[str, str]) -> tuple[str, ...]:
    """`present` as CUDA_VISIBLE_DEVICES narrows it: its order, and as in CUDA nothing from the first unknown name on.

    A UUID, or a beginning of one that fits one GPU only, is turned into the index, so that two shells cannot claim one
    GPU under two names. A MIG device keeps its name: it is a device of its own.
    """
    if wanted is None:
        return tuple(present)
    found: list[str] = []
    for word in (part.strip() for part in wanted.split(",")):
        if word.startswith("MIG-"):
            name = word
        else:
            fitting = [index for uuid, index in by_uuid.items() if word.startswith("GPU-") and uuid.startswith(word)]
            name = fitting[0] if len(fitting) == 1 else word
            if name not in present:
                break
        if name not in found:
            found.append(name)
    return tuple(found)


def processors(root: Path = Path("/")) -> int:
    """Those that this process may run on, less what the cgroup's quota takes away; at least 1."""
    try:
        count = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        count = os.cpu_count() or 1
    for folder in _cgroups(root, "cpu"):
        quota = _quota(folder)
        if quota is not None:
            count = min(count, max(1, int(quota)))
    return max(1, count)


def memory_total(root: Path = Path("/")) -> Optional[int]:
    """Bytes: of the machine, or of the cgroup that limits us where that is less."""
    found: list[int] = []
    match = re.search(r"^MemTotal:\s*([0-9]+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    if match:
        found.append(int(match.group(1)) * 1024)
    for folder in _cgroups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name).strip()
            # Version 1 writes "no limit" as a number close to 2^63.
            if text.isdecimal() and int(text) < 1 << 60:
                found.append(int(text))
    return min(found) if found else None


def _quota(folder: Path) -> Optional[float]:
    """Processors' worth of time that a cgroup may use; None: no limit."""
    words = _read(folder / "cpu.max").split()
    if len(words) != 2:
        words = [_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()]
    if all(word.isdecimal() for word in words) and int(words[1]) > 0:
        return int(words[0]) / int(words[1])
    return None


def _cgroups(root: Path, controller: str) -> list[Path]:
    """The folders of our cgroup and of those above it, for one controller: a limit on any of them holds."""
    found: list[Path] = []
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        if parts[1] == "":
            base = mount
        elif controller in parts[1].split(","):
            base = mount / controller
        else:
            continue
        folder = base / parts[2].lstrip("/")
        while folder != base and base in folder.parents:
            found.append(folder)
            folder = folder.parent
        found.append(base)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
