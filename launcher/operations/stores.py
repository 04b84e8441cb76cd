"""Which stores there are, and which job a word of the command line means."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from launcher.archives import caches
from launcher.errors import LaunchError, NotFound, UsageError
from launcher.model.names import show_indices, split_task
from launcher.store import keys, records
from launcher.store.folder import FolderStore

_LISTED = 8  # candidates that a message names


@dataclass(frozen=True)
class Found:
    """A job, and perhaps one of its tasks."""

    store: FolderStore
    job: str
    task: Optional[int] = None


@dataclass(frozen=True)
class _Match:
    found: Found
    word: str  # what would name it without doubt


def cache_file() -> Path:
    """One store to a line; a cache: a store that it does not know is found from its project's folder."""
    return caches.folder() / "stores.jsonl"


def remember(root: Path) -> None:
    """Let ids of this store resolve from any folder. A cache that cannot be written is no error."""
    root = root.absolute()
    if root in _cached():
        return
    with contextlib.suppress(OSError):
        cache_file().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        line = json.dumps({"store": os.fspath(root)}).encode() + b"\n"
        descriptor = os.open(cache_file(), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            file.write(line)  # one write: two clients at once do not mix their lines


def known(start: Path) -> list[FolderStore]:
    """The stores of the project around `start` first, then every other that was used and still exists."""
    own, others = near_and_far(start)
    return own + others


def near_and_far(start: Path) -> tuple[list[FolderStore], list[FolderStore]]:
    """The stores of the project around `start`, and every other that was used and still exists."""
    own = dict.fromkeys(_project_stores(start))
    others = [root for root in _cached() if root not in own]
    found = [[FolderStore(root) for root in roots if (root / keys.JOBS).is_dir()] for roots in (own, others)]
    return found[0], found[1]


def newest(store: FolderStore, names: Iterable[str]) -> list[str]:
    """Jobs by the time of their spec, newest first. One that has no spec (a torn submit) comes last."""
    return sorted(names, key=lambda name: (_written(store, name), name), reverse=True)


def _written(store: FolderStore, job: str) -> int:
    try:
        return store.path(keys.spec(job)).stat().st_mtime_ns
    except OSError:
        return 0


def phase_of(job: str) -> str:
    """The phase's name within a job id: all before the last hyphen."""
    return job.rpartition("-")[0]


def resolve(word: str, start: Path) -> Found:
    """The job, and perhaps the task, that a JOBID means.

    A word is a job's id, a phase's name (its newest job), `last`, a scheduler's or cloud's id, or an id's unique
    prefix; `WORD_5` and `WORD:5` name a task. An exact match of the whole word wins, then `WORD_5`, then a prefix; the
    project's own stores go before all others, which are looked at as one. Raises NotFound, and UsageError for a word
    that means several things.
    """
    own, others = near_and_far(start)
    stores = [group for group in (own, others) if group]
    readings = split_task(word)
    for ways in ((_by_id, _by_phase, _by_native), (_by_prefix,)):
        for reading in readings:
            matches = _first(ways, stores, reading.job, reading.task)
            if matches and reading.job != word and ways[0] is _by_id:
                matches += _first((_by_prefix,), stores, word, None)  # `train_5` beside a phase train_50
            if matches:
                return _checked(_one(word, matches))
    raise NotFound(
        f"no job is called {word!r}",
        came_back=f"looked in {', '.join(os.fspath(s.root) for s in own + others)}"
        if stores
        else "no store is known here",
        hint="launch status",
    )


_Way = Callable[[FolderStore, str], list[Found]]


def _first(ways: Iterable[_Way], groups: list[list[FolderStore]], word: str, task: Optional[int]) -> list[_Match]:
    """What the first way that finds anything finds, in the first group of stores where it does."""
    for way in ways:
        for stores in groups:
            found = [one for store in stores for one in way(store, word)]
            if way is _by_phase and found:
                found = [max(found, key=lambda one: _written(one.store, one.job))]
            elif way is _by_id:
                found = found[:1]  # a project that was copied as a whole has the same ids
            if found:
                return [_Match(_with_task(f, task), f.job if task is None else f"{f.job}:{task}") for f in found]
    return []


def _with_task(found: Found, task: Optional[int]) -> Found:
    return found if task is None else Found(found.store, found.job, task)


def _by_id(store: FolderStore, word: str) -> list[Found]:
    if "/" in word or word in (".", "..", "") or "\0" in word:
        return []
    return [Found(store, word)] if store.exists(keys.job(word)) else []


def _by_phase(store: FolderStore, word: str) -> list[Found]:
    jobs = records.jobs(store)
    mine = jobs if word == "last" else [job for job in jobs if phase_of(job) == word]
    return [Found(store, job) for job in newest(store, mine)[:1]]


def _by_native(store: FolderStore, word: str) -> list[Found]:
    """An allocation's id, or what stands before its `_` (a SLURM array's own id)."""
    found: list[Found] = []
    for job in newest(store, records.jobs(store)):
        with contextlib.suppress(LaunchError):  # a garbage event of some other job
            allocations = native_ids(store, job)
            exact = [allocation for allocation, native in allocations.items() if native == word]
            if exact:
                order = records.read_order(store, job, exact[0])
                alone = order.tasks[0] if order is not None and len(order.tasks) == 1 else None
                return [Found(store, job, alone)]
            if any(native.partition("_")[0] == word for native in allocations.values()):
                found.append(Found(store, job))
    return found


def native_ids(store: FolderStore, job: str) -> dict[str, str]:
    """Allocation to native id, from the events of a job. Raises BadRecord and StoreError."""
    found: dict[str, str] = {}
    for event in records.read_events(store, job):
        granted = event.data.get("native_ids")
        if isinstance(granted, dict):
            found.update({str(a): str(n) for a, n in granted.items()})
    return found


def _by_prefix(store: FolderStore, word: str) -> list[Found]:
    return [Found(store, job) for job in records.jobs(store) if word and job.startswith(word)]


def _one(word: str, matches: list[_Match]) -> Found:
    if len(matches) == 1:
        return matches[0].found
    named = ", ".join(match.word for match in matches[:_LISTED])
    more = f" and {len(matches) - _LISTED} more" if len(matches) > _LISTED else ""
    raise UsageError(
        f"{word!r} could be any of {len(matches)} jobs", came_back=named + more, hint="write more of the id"
    )


def _checked(found: Found) -> Found:
    if found.task is None:
        return found
    spec = records.read_spec(found.store, found.job)
    if spec is not None and spec.task(found.task) is None:
        raise NotFound(
            f"job {found.job} has no task {found.task}",
            came_back=f"tasks: {show_indices(task.index for task in spec.tasks)}",
            hint=f"launch status {found.job}",
        )
    return found


def _project_stores(start: Path) -> list[Path]:
    """Where the jobs of the project around `start` lie, as its settings and profiles say."""
    from launcher.config.profiles import stores
    from launcher.config.project import find

    return stores(find(start))


def _cached() -> list[Path]:
    content = caches.read(cache_file()) or b""
    found: list[Path] = []
    for line in content.splitlines():
        try:
            root = Path(json.loads(line)["store"])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if root.is_absolute() and root not in found:
            found.append(root)
    return found
