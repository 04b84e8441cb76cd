"""GPU readings by NVML, and by nvidia-smi from the moment that NVML fails or hangs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Optional

from launcher.model.records import GpuReading
from launcher.supervisor.readings import gpus
from launcher.supervisor.readings.sources import Source

Readings = tuple[GpuReading, ...]


class GpuSources:
    """No source at all where no GPU was given and none is seen: nothing is loaded then."""

    def __init__(self, wanted: Sequence[str], deadline: float) -> None:
        self._wanted = tuple(wanted)
        self._deadline = deadline
        self._nvml: Optional[Source[Readings]] = None
        self._smi: Optional[Source[Readings]] = None
        if self._wanted or gpus.present():
            self._nvml = Source("nvml", gpus.NvmlReader(self._wanted).read, deadline=deadline, deep=True)

    @property
    def sources(self) -> tuple[Source[Readings], ...]:
        """Those that there are by now."""
        return tuple(source for source in (self._nvml, self._smi) if source is not None)

    def readings(self, mono: float) -> Optional[Readings]:
        """The newest; None where neither way answers, or there is no GPU."""
        if self._nvml is None:
            return None
        found = self._nvml.value(mono)
        if found is not None or self._nvml.missing_since(mono) is None:
            return found
        if self._smi is None:
            from launcher.supervisor.readings.nvidia_smi import SmiReader

            reader = SmiReader(self._wanted, self._deadline * 0.8)
            self._smi = Source("nvidia-smi", reader.read, deadline=self._deadline)
            self._smi.start()
            self._smi.ask(time.monotonic())
        return self._smi.value(mono)

    def missing_since(self, mono: float) -> Optional[float]:
        """Wall time since which neither way has answered; None while one does, and where there is no GPU."""
        times = [source.missing_since(mono) for source in self.sources]
        known = [since for since in times if since is not None]
        return max(known) if known and len(known) == len(times) else None
