"""GPUs through the program `nvidia-smi`: what is read where NVML does not answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Optional

from launcher.model.records import GpuReading
from launcher.supervisor.readings.sources import Unavailable
from launcher.supervisor.start.program import find, output_of

FIELDS = (
    "index",
    "name",
    "uuid",
    "utilization.gpu",
    "memory.used",
    "memory.total",
    "power.draw",
    "enforced.power.limit",
    "temperature.gpu",
    "clocks_throttle_reasons.active",
    "ecc.errors.uncorrected.volatile.total",
)
_LOST = ("gpu is lost", "gpu has fallen off the bus")


class SmiReader:
    """Runs the program once per reading, and ends it at the deadline."""

    def __init__(self, wanted: Sequence[str] = (), deadline: float = 8.0) -> None:
        self._wanted = tuple(wanted)
        self._deadline = deadline

    def read(self) -> tuple[GpuReading, ...]:
        """Raises Unavailable where the program is not there, fails, or says nothing that makes sense."""
        program = find("nvidia-smi")
        if program is None:
            raise Unavailable("nvidia-smi is not here")
        command = [program, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
        answer = output_of(command, self._deadline, environment={**os.environ, "LC_ALL": "C"})
        if answer.late:
            raise Unavailable(f"nvidia-smi did not answer within {self._deadline:g} s")
        readings = parse(answer.text)
        if not readings:
            said = answer.text.strip().splitlines()
            raise Unavailable(f"nvidia-smi ended with {answer.code}: {said[-1][:200] if said else 'nothing'}")
        return chosen(readings, self._wanted)


def parse(text: str) -> list[GpuReading]:
    """The lines that are readings; `[N/A]`, `[Unknown Error]` and whatever else is no number are None."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) > len(FIELDS):  # a comma in the name
            extra = len(cells) - len(FIELDS)
            cells[1 : 2 + extra] = [", ".join(cells[1 : 2 + extra])]
        if len(cells) == len(FIELDS) and cells[0].isdecimal():
            found.append(_reading(cells))
    return found


def chosen(readings: Sequence[GpuReading], wanted: Sequence[str]) -> tuple[GpuReading, ...]:
    """Those that are wanted, by index or UUID (its beginning is enough, as for CUDA); all where none is named."""
    if not wanted:
        return tuple(readings)
    found = []
    for name in wanted:
        for one in readings:
            by_uuid = one.uuid is not None and len(name) > 8 and one.uuid.startswith(name)
            if (name.isdecimal() and one.index == int(name)) or by_uuid:
                found.append(one)
                break
    return tuple(found)


def _reading(cells: Sequence[str]) -> GpuReading:
    mib = 1 << 20
    used, total = _number(cells[4]), _number(cells[5])
    percent = _number(cells[3])
    ecc = _number(cells[10])
    return GpuReading(
        index=int(cells[0]),
        name=_text(cells[1]),
        uuid=_text(cells[2]),
        utilisation=None if percent is None else percent / 100,
        memory_used=None if used is None else int(used * mib),
        memory_total=None if total is None else int(total * mib),
        power=_number(cells[6]),
        power_limit=_number(cells[7]),
        temperature=_number(cells[8]),
        throttled=_reasons(cells[9]),
        ecc_errors=None if ecc is None else int(ecc),
        lost=any(sign in cell.lower() for cell in cells for sign in _LOST),
    )


def _number(cell: str) -> Optional[float]:
    return _or_none(float, cell)


def _or_none(make: Callable[[str], float], cell: str) -> Optional[float]:
    try:
        value = make(cell)
    except ValueError:
        return None
    return value if 0 <= value < 1e12 else None


def _text(cell: str) -> Optional[str]:
    return None if not cell or cell.startswith("[") else cell


def _reasons(cell: str) -> Optional[tuple[str, ...]]:
    from launcher.supervisor.readings.gpus import throttle_names

    try:
        return throttle_names(int(cell, 16)) if cell.lower().startswith("0x") else None
    except ValueError:
        return None
