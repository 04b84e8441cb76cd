"""GPUs through NVML, by NVIDIA's own client. Loaded only where a GPU is, or is said to be."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Optional, TypeVar

from launcher.model.records import GpuReading
from launcher.supervisor.readings.sources import Unavailable

T = TypeVar("T")

XIDS_KEPT = 32
# Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h: nvmlClocksEventReason*).
THROTTLE_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock",
}
# What is no slowing down by force: a GPU without work, and clocks that somebody chose.
HARMLESS = ("gpu_idle", "applications_clocks", "display_clock", "sync_boost")


def present() -> bool:
    """Whether this node shows a GPU of NVIDIA's: a device file, or the one of Windows' Linux."""
    try:
        return any(name == "dxg" or name.startswith("nvidia") for name in os.listdir("/dev"))
    except OSError:
        return False


class NvmlReader:
    """Reads `wanted` GPUs (indices or UUIDs, as in CUDA_VISIBLE_DEVICES; none named: all). For one thread only."""

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        self._wanted = tuple(wanted)
        self._nvml: Any = None
        self._devices: list[_Device] = []
        self._events: Any = None

    def read(self) -> tuple[GpuReading, ...]:
        """Each reading that a GPU does not have is None. Raises Unavailable where NVML does not answer at all."""
        if self._nvml is None:
            self._begin()
        xids = self._new_xids()
        for device in self._devices:
            device.add_xids(xids.get(device.uuid, ()))
        return tuple(device.read() for device in self._devices)

    def _begin(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise Unavailable(f"nvidia-ml-py is not here: {error}") from None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise Unavailable(f"NVML does not start: {error}") from None
        try:
            self._devices = [_Device(pynvml, handle, place) for place, handle in self._found(pynvml)]
        except pynvml.NVMLError as error:
            pynvml.nvmlShutdown()
            raise Unavailable(f"NVML does not name the GPUs: {error}") from None
        self._nvml = pynvml
        self._events = self._listen(pynvml)

    def _found(self, nvml: Any) -> list[tuple[int, Any]]:
        """The driver's handle and the index to show of each GPU that is wanted; a handle of None: it was not found."""
        if not self._wanted:
            return [(index, nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(nvml.nvmlDeviceGetCount())]
        found = []
        for place, name in enumerate(self._wanted):
            by_index = name.isdecimal()
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(int(name)) if by_index else self._by_uuid(nvml, name)
            except nvml.NVMLError as error:
                if error.value != nvml.NVML_ERROR_GPU_IS_LOST:
                    raise
                handle = None
            found.append((int(name) if by_index else place, handle))
        return found

    def _by_uuid(self, nvml: Any, name: str) -> Any:
        """CUDA takes the beginning of a UUID too; NVML wants the whole."""
        try:
            return nvml.nvmlDeviceGetHandleByUUID(name)
        except nvml.NVMLError as error:
            if error.value == nvml.NVML_ERROR_GPU_IS_LOST:
                raise
            for index in range(nvml.nvmlDeviceGetCount()):
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                if (_text(nvml.nvmlDeviceGetUUID(handle)) or "").startswith(name):
                    return handle
            raise

    def _listen(self, nvml: Any) -> Any:
        """An event set for Xid errors; None where the driver or its permissions do not offer it."""
        try:
            events = nvml.nvmlEventSetCreate()
        except (nvml.NVMLError, AttributeError):
            return None
        heard = False
        for device in self._devices:
            try:
                nvml.nvmlDeviceRegisterEvents(device.handle, nvml.nvmlEventTypeXidCriticalError, events)
                device.xids = ()
                heard = True
            except (nvml.NVMLError, AttributeError):
                pass
        return events if heard else None

    def _new_xids(self) -> dict[Optional[str], list[int]]:
        found: dict[Optional[str], list[int]] = {}
        for _ in range(XIDS_KEPT if self._events is not None else 0):
            try:
                event = self._nvml.nvmlEventSetWait_v2(self._events, 0)
                uuid = _text(self._nvml.nvmlDeviceGetUUID(event.device))
            except self._nvml.NVMLError:  # a timeout: there is nothing new
                break
            found.setdefault(uuid, []).append(int(event.eventData))
        return found


class _Device:
    """One GPU and what does not change about it."""

    def __init__(self, nvml: Any, handle: Any, index: int) -> None:
        self._nvml = nvml
        self.handle = handle
        self.xids: Optional[tuple[int, ...]] = None
        self._lost = handle is None
        self._index = index
        self.name = _text(self._ask(nvml.nvmlDeviceGetName))
        self.uuid = _text(self._ask(nvml.nvmlDeviceGetUUID))
        real = self._ask(nvml.nvmlDeviceGetIndex)
        if isinstance(real, int):
            self._index = real
        limit = self._ask(nvml.nvmlDeviceGetEnforcedPowerLimit)
        self._power_limit = None if limit is None else limit / 1000

    def add_xids(self, xids: Sequence[int]) -> None:
        """Xid errors are kept: one that happened does not become unhappened."""
        if xids:
            self.xids = ((self.xids or ()) + tuple(xids))[-XIDS_KEPT:]

    def read(self) -> GpuReading:
        """All readings of this moment."""
        nvml = self._nvml
        self._lost = self.handle is None
        used = self._ask(nvml.nvmlDeviceGetUtilizationRates)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo)
        power = self._ask(nvml.nvmlDeviceGetPowerUsage)
        temperature = self._ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU)
        reasons = self._ask(getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None))
        if reasons is None:  # drivers before 535 know the older name only
            reasons = self._ask(getattr(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", None))
        uncorrected, since_boot = nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        ecc = self._ask(nvml.nvmlDeviceGetTotalEccErrors, uncorrected, since_boot)
        return GpuReading(
            index=self._index,
            name=self.name,
            uuid=self.uuid,
            utilisation=None if used is None else used.gpu / 100,
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            power=None if power is None else power / 1000,
            power_limit=self._power_limit,
            temperature=None if temperature is None else float(temperature),
            throttled=None if reasons is None else throttle_names(int(reasons)),
            ecc_errors=None if ecc is None else int(ecc),
            xid_errors=self.xids,
            lost=self._lost,
        )

    def _ask(self, question: Optional[Callable[..., T]], *more: Any) -> Optional[T]:
        """None where this GPU or driver does not have the reading."""
        if question is None or self.handle is None:
            return None
        try:
            return question(self.handle, *more)
        except self._nvml.NVMLError as error:
            if error.value == self._nvml.NVML_ERROR_GPU_IS_LOST:
                self._lost = True
            return None
        except UnicodeDecodeError:  # the client decodes what the driver calls a name
            return None


def throttle_names(bits: int) -> tuple[str, ...]:
    """What slows the clocks by force; empty: nothing does. A bit that a later driver adds is shown by its number."""
    found = []
    for position in range(bits.bit_length()):
        bit = 1 << position
        if bits & bit:
            name = THROTTLE_REASONS.get(bit, f"reason_{bit:#x}")
            if name not in HARMLESS:
                found.append(name)
    return tuple(found)


def _text(value: Any) -> Optional[str]:
    """Older versions of the client answer with bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else None
