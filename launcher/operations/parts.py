"""The allocations that a job asks for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from launcher.archives import kit
from launcher.executors.contract import Executor, Part
from launcher.model.job import JobSpec, Packing
from launcher.store import keys


def parts(spec: JobSpec, packing: Packing, executor: Executor, *, first: int = 0) -> tuple[Part, ...]:
    """The allocations to ask for: one for the whole job where jobs share the machine, else one for each share. They are
    numbered from `first`."""
    shares = packing.shares
    if executor.capabilities.shares_machine:
        shares = (replace(shares[0], tasks=tuple(task.index for task in spec.tasks)),)
    store, boot = Path(spec.place.store), kit.boot_text()
    found = []
    for number, share in enumerate(shares, start=first):
        allocation = f"a{number}"
        argv = ("sh", "-c", boot, "launch-boot", os.fspath(store), spec.kit, spec.job, allocation)
        log = os.fspath(store / keys.agent_log(spec.job, allocation))
        found.append(Part(allocation, share.tasks, share.resources, argv, log))
    return tuple(found)
