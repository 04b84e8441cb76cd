"""GPU: memory before there is any generation, errors, throttling, a device that is lost."""

from __future__ import annotations

from typing import Optional

from launcher.model.outcome import Outcome
from launcher.model.records import GpuReading
from launcher.supervisor.readings.sample import Sample
from launcher.supervisor.watchdogs.raised import ACT, NOTICE, WARNING, Raised
from launcher.supervisor.watchdogs.words import percent, show_size

MEMORY_MARK = 0.9
MEMORY_SLACK = 0.03
MEMORY_MARK_UNSTAGED = 0.97
"""Training fills a GPU on purpose; only what names its stages can be too full too early."""
HOT_C, COOLER_C = 90.0, 85.0
LOOKS_THROTTLED = 3
_GENERATING = ("generat", "decod", "infer", "sampl", "predict", "rollout", "eval")
# A power cap by software is how most GPUs live; an idle clock is no complaint.
_HARMFUL = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
# https://docs.nvidia.com/deploy/xid-errors: 48 and 94, 95 uncorrectable memory, 74 NVLink, 79 fallen off the bus,
# 119 and 120 the GPU's own processor does not answer. 13, 31, 43, 45 are the application's.
_FATAL_XIDS = {48: "memory error", 64: "memory error", 74: "NVLink", 79: "fallen off the bus", 94: "memory error"}
_FATAL_XIDS.update({95: "memory error", 119: "its processor does not answer", 120: "its processor does not answer"})


class GpuWatch:
    """`expected`: how many GPUs the attempt was given."""

    def __init__(self, expected: int = 0) -> None:
        self._expected = expected
        self._generated = False
        self._full: set[int] = set()
        self._hot: set[int] = set()
        self._throttled: dict[int, int] = {}
        self._ecc_before: dict[int, int] = {}
        self._seen = False

    def look(self, sample: Sample) -> list[Raised]:
        """No readings say nothing, and never that a GPU is lost."""
        stage = sample.progress.stage if sample.progress else None
        if stage is not None and any(word in stage.lower() for word in _GENERATING):
            self._generated = True
        if sample.gpus is None:
            return []
        found: list[Raised] = []
        for gpu in sample.gpus:
            name = f"GPU {gpu.index}"
            if gpu.lost:
                hint = "the node needs a reset of its GPU, or another node"
                found.append(Raised("gpu.lost", ACT, f"{name} is lost", hint, name, Outcome.FAILED))
                continue
            found.extend(self._memory(gpu, name, stage))
            found.extend(self._heat(gpu, name))
            found.extend(self._errors(gpu, name))
        if self._seen and len(sample.gpus) < self._expected:
            message = f"{len(sample.gpus)} of {self._expected} GPUs answer"
            found.append(Raised("gpu.lost", ACT, message, "look at dmesg and nvidia-smi", "count", Outcome.FAILED))
        self._seen = self._seen or len(sample.gpus) >= self._expected
        return found

    def _memory(self, gpu: GpuReading, name: str, stage: Optional[str]) -> list[Raised]:
        if gpu.memory_used is None or not gpu.memory_total:
            return []
        fraction = gpu.memory_used / gpu.memory_total
        mark = MEMORY_MARK if stage is not None and not self._generated else MEMORY_MARK_UNSTAGED
        if fraction < mark - (MEMORY_SLACK if gpu.index in self._full else 0.0):
            self._full.discard(gpu.index)
            return []
        self._full.add(gpu.index)
        state = f"{name} memory is {percent(fraction)} full ({show_size(gpu.memory_total - gpu.memory_used)} left)"
        if stage is None or self._generated:
            return [Raised("gpu.memory", NOTICE, state, None, name)]
        hint = (
            "the cache of keys and values grows with each token: less on this GPU, a shorter context or a smaller batch"
        )
        return [
            Raised("gpu.memory_before_generation", WARNING, f"{state} in stage {stage}, before generation", hint, name)
        ]

    def _heat(self, gpu: GpuReading, name: str) -> list[Raised]:
        found = []
        if gpu.temperature is not None:
            if gpu.temperature >= (COOLER_C if gpu.index in self._hot else HOT_C):
                self._hot.add(gpu.index)
                found.append(Raised("gpu.hot", WARNING, f"{name} is at {gpu.temperature:.0f} °C", None, name))
            else:
                self._hot.discard(gpu.index)
        harmful = [reason for reason in gpu.throttled or () if reason in _HARMFUL]
        if gpu.throttled is not None:
            self._throttled[gpu.index] = self._throttled.get(gpu.index, 0) + 1 if harmful else 0
        if harmful and self._throttled[gpu.index] >= LOOKS_THROTTLED:
            hint = "cooling or power of the node: expect it to be slower"
            message = f"{name} is throttled: {', '.join(sorted(set(harmful)))}"
            found.append(Raised("gpu.throttled", WARNING, message, hint, name))
        return found

    def _errors(self, gpu: GpuReading, name: str) -> list[Raised]:
        found = []
        if gpu.ecc_errors is not None:
            before = self._ecc_before.setdefault(gpu.index, gpu.ecc_errors)
            if gpu.ecc_errors > before:
                message = f"{name} has {gpu.ecc_errors - before} new uncorrected memory errors"
                hint = "results since then may be wrong; ask for another node"
                found.append(Raised("gpu.ecc", ACT, message, hint, name, Outcome.FAILED))
        for xid in sorted(set(gpu.xid_errors or ())):
            why = _FATAL_XIDS.get(xid)
            message = f"{name} reports Xid {xid}" + (f" ({why})" if why else "")
            stop = Outcome.FAILED if why else None
            hint = "https://docs.nvidia.com/deploy/xid-errors"
            found.append(Raised("gpu.xid", ACT if why else WARNING, message, hint, f"{name} {xid}", stop))
        return found
