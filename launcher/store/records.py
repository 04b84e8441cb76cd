"""Records in and out of a store, typed. A record that is absent is None; one that is garbage raises BadRecord."""

from __future__ import annotations

import json
from typing import Optional, TypeVar

from launcher.errors import BadRecord
from launcher.model import codec
from launcher.model.job import JobSpec
from launcher.model.records import (
    AgentView,
    Claim,
    EndedTask,
    Event,
    ExitRecord,
    Heartbeat,
    ManifestList,
    Order,
    Released,
)
from launcher.store import keys
from launcher.store.folder import FolderStore

T = TypeVar("T")


def read(store: FolderStore, cls: type[T], key: str) -> Optional[T]:
    """Raises BadRecord and StoreError."""
    content = store.read(key)
    return None if content is None else codec.load(cls, content, str(store.root / key))


def read_spec(store: FolderStore, job: str) -> Optional[JobSpec]:
    """The frozen JobSpec."""
    return read(store, JobSpec, keys.spec(job))


def read_claim(store: FolderStore, job: str, task: int, attempt: int) -> Optional[Claim]:
    """Who ran an attempt; None: its child never started."""
    return read(store, Claim, keys.of_attempt(job, task, attempt, keys.CLAIM))


def read_heartbeat(store: FolderStore, job: str, task: int, attempt: int) -> Optional[Heartbeat]:
    """The newest beat of an attempt."""
    return read(store, Heartbeat, keys.of_attempt(job, task, attempt, keys.HEARTBEAT))


def read_exit(store: FolderStore, job: str, task: int, attempt: int) -> Optional[ExitRecord]:
    """The verdict on an attempt; None: not known."""
    return read(store, ExitRecord, keys.of_attempt(job, task, attempt, keys.EXIT))


def read_manifests(store: FolderStore, job: str, task: int, attempt: int) -> Optional[ManifestList]:
    """All artifacts that the attempt committed."""
    return read(store, ManifestList, keys.of_attempt(job, task, attempt, keys.MANIFEST))


def attempts(store: FolderStore, job: str, task: int) -> list[int]:
    """The numbers of a task's attempts, oldest first."""
    return sorted(int(name) for name in store.names(keys.task(job, task)) if name.isdecimal())


def tasks_with_attempts(store: FolderStore, job: str) -> list[int]:
    """The tasks that have at least one attempt's folder."""
    return sorted(int(name) for name in store.names(keys.tasks(job)) if name.isdecimal())


def allocations(store: FolderStore, job: str) -> list[str]:
    """The allocations that were ordered for a job."""
    end = ".order.json"
    return [name[: -len(end)] for name in store.names(keys.agents(job)) if name.endswith(end)]


def read_order(store: FolderStore, job: str, allocation: str) -> Optional[Order]:
    """Which tasks an allocation is to run."""
    return read(store, Order, keys.order(job, allocation))


def read_view(store: FolderStore, job: str, allocation: str) -> Optional[AgentView]:
    """What the agent of an allocation last wrote of its tasks."""
    return read(store, AgentView, keys.agent_view(job, allocation))


def read_released(store: FolderStore, job: str, allocation: str) -> Optional[Released]:
    """The end of an allocation; None: not known to have ended."""
    return read(store, Released, keys.released(job, allocation))


def read_ended(store: FolderStore, job: str, allocation: str) -> list[EndedTask]:
    """The ended segment of an allocation. A torn last line (the machine died while it was written) is left out."""
    key = keys.ended_segment(job, allocation)
    content = store.read(key)
    if content is None:
        return []
    lines = content.split(b"\n")[:-1]
    try:
        return [EndedTask.from_json(json.loads(line)) for line in lines]
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRecord(f"{store.root / key} holds a line that is no ended task", came_back=str(error)) from None


def read_events(store: FolderStore, job: str) -> list[Event]:
    """In the order of their names, which is the order of time."""
    found = []
    for name in store.names(keys.events(job)):
        event = read(store, Event, f"{keys.events(job)}/{name}")
        if event is not None:
            found.append(event)
    return found


def jobs(store: FolderStore) -> list[str]:
    """The ids of all jobs of a store."""
    return store.names(keys.JOBS)
