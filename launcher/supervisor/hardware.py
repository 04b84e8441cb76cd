"""What the attempt ran on, for its exit record: read from /proc, from the readings, from the driver."""

from __future__ import annotations

import os
from typing import Any, Optional

from launcher.model.records import GpuReading, HostReading


def of_host(host: Optional[HostReading], gpus: Optional[tuple[GpuReading, ...]]) -> dict[str, Any]:
    """JSON; what is not known is left out."""
    system = os.uname()
    found: dict[str, Any] = {
        "machine": system.machine,
        "kernel": f"{system.sysname} {system.release}",
        "cpus": os.cpu_count(),
        "cpu": _cpu_name(),
        "memory": host.memory_total if host is not None and host.memory_total is not None else _memory(),
    }
    if gpus:
        found["gpus"] = [
            {key: value for key, value in (("name", g.name), ("uuid", g.uuid), ("memory", g.memory_total)) if value}
            for g in gpus
        ]
    return {key: value for key, value in found.items() if value is not None}


def nvidia_driver() -> Optional[str]:
    """The version of the kernel's NVIDIA driver, None where there is none."""
    try:
        with open("/sys/module/nvidia/version", encoding="ascii") as file:
            return file.read().strip() or None
    except (OSError, ValueError):
        return None


def _cpu_name() -> Optional[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(("model name", "Model")):
                    return line.partition(":")[2].strip() or None
    except OSError:
        pass
    return None


def _memory() -> Optional[int]:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
