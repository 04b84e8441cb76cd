"""The intent is stored, then sent: whatever dies in between leaves what `reconcile` finds, adopts or ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from launcher.archives import kit as kits
from launcher.archives import snapshot
from launcher.checks import one_path
from launcher.checks.facts import Facts, Objection, fill
from launcher.errors import DecisionNeeded, LaunchError, Refused, StoreError, SubmitError
from launcher.executors import registry
from launcher.executors.contract import Executor, Granted
from launcher.model import codec, records
from launcher.model.job import JobSpec
from launcher.operations import busy, explain, stores
from launcher.operations.parts import parts
from launcher.operations.plan import Ask, Plan, PlannedJob, new_id, plan
from launcher.operations.protect import Decision
from launcher.operations.request import SubmitRequest
from launcher.operations.signature import who
from launcher.store import keys
from launcher.store import records as records_of
from launcher.store.folder import FolderStore

_LONGER = 2  # characters more at each collision of ids
_TRIES = 8
LOCK = ".submit-lock"
LOCK_WAIT_S = 60.0
LOCK_PAUSE_S = 0.02


@dataclass(frozen=True)
class SubmittedJob:
    """One phase of a command after its submit. `job` None: every task was reused and nothing was submitted."""

    phase: str
    job: Optional[str]
    tasks: tuple[int, ...]
    profile: str
    executor: str
    store: Path
    native_ids: Mapping[str, str]
    smoke: tuple[int, ...]
    reduced: Mapping[int, str]
    reused: tuple[Decision, ...]
    warnings: tuple[str, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submitted:
    """All phases of a command in the order of their submission. `following`: phases that can be submitted next, named
    where something was reused."""

    jobs: tuple[SubmittedJob, ...]
    following: tuple[str, ...]


def submit(request: SubmitRequest, ask: Optional[Ask] = None) -> Submitted:
    """Submit the phases of a request, each as one job.

    `ask` is called where earlier results are in the way and somebody is there to answer. Raises ConfigError, UsageError,
    NotFound, Refused and DecisionNeeded before anything was stored; SubmitError says what was created.
    """
    planned = plan(request, ask)
    refuse(planned)
    return send(planned)


def refuse(planned: Plan) -> None:
    """Raises Refused for what cannot work, then DecisionNeeded for what only a person can decide."""
    fatal = [objection for job in planned.jobs for objection in job.objections if objection.fatal]
    if fatal:
        raise Refused(
            "\n".join(objection.message for objection in fatal),
            left="nothing was submitted",
            hint="\n".join(dict.fromkeys(objection.hint for objection in fatal if objection.hint)) or None,
        )
    undecided = [job for job in planned.jobs if job.undecided]
    if undecided:
        now = time.time()
        command = "launch submit " + " ".join(job.spec.phase for job in planned.jobs)
        lines = [line for job in undecided for line in explain.decisions(job.spec.phase, job.undecided, now)]
        raise DecisionNeeded(
            "earlier results are in the way\n" + "\n".join(lines),
            left="nothing was submitted",
            hint=f"{command} --reuse keeps them; {command} --rerun makes them again and sets the old ones aside",
        )


def send(planned: Plan) -> Submitted:
    """Store and submit a plan that nothing speaks against. Raises SubmitError, Refused and StoreError."""
    done: list[SubmittedJob] = []
    ids: dict[str, str] = {}
    for job in planned.jobs:
        if job.submission is None:
            done.append(_report(job, job.spec, {}, job_id=None))
            continue
        try:
            spec, granted = _send_job(job, planned.kit, ids)
        except LaunchError as error:
            others = ", ".join(one.job for one in done if one.job is not None)
            if others:
                error.left = f"{error.left + '; ' if error.left else ''}submitted before it, and running: {others}"
            raise
        ids[job.spec.job] = spec.job
        done.append(_report(job, spec, {one.allocation: one.native_id for one in granted}, job_id=spec.job))
    return Submitted(tuple(done), planned.following)


def _send_job(job: PlannedJob, kit: kits.Kit, ids: Mapping[str, str]) -> tuple[JobSpec, tuple[Granted, ...]]:
    root = Path(job.spec.place.store)
    store = FolderStore(root)
    private_folder(root)
    spec = replace(job.spec, after=tuple(ids.get(one, one) for one in job.spec.after))
    store.create(keys.kit(kit.hash), kit.content)
    spec = _store_code(store, job, spec)
    executor = registry.create(spec.place)
    with _one_at_a_time(root):
        _refuse_busy(store, spec)
        spec = _claim_id(store, spec)
        asked = parts(spec, job.packing, executor)
        submission = executor.render(spec, job.packing, asked)
        by = who()
        for part in asked:
            order = records.Order(records.SCHEMA, part.allocation, spec.job, part.tasks, time.time(), by, ())
            store.create(keys.order(spec.job, part.allocation), codec.dump(order))
        _event(store, spec.job, "submitting", {"allocations": [part.allocation for part in asked]})
    stores.remember(root)
    try:
        granted = executor.submit(submission)
    except SubmitError as error:
        _give_up(store, executor, spec, error)
        raise
    _event(store, spec.job, "allocated", {"native_ids": {one.allocation: one.native_id for one in granted}})
    store.create(keys.submission(spec.job), submission.text.encode("utf-8", "surrogateescape"))
    return spec, granted


def _store_code(store: FolderStore, job: PlannedJob, spec: JobSpec) -> JobSpec:
    """The archive first and its index after it; what is there already is the same by its name."""
    if spec.code.kind == "here":
        return spec
    if not (store.exists(keys.snapshot(spec.code.hash)) and store.exists(keys.snapshot_index(spec.code.hash))):
        taken, content = snapshot.archive(job.tree.root, job.code)
        spec = replace(spec, code=replace(spec.code, hash=taken.hash))
        store.create(keys.snapshot(taken.hash), content)
        stored = store.read(keys.snapshot(taken.hash))  # another version of zlib may have packed it before
        store.create(keys.snapshot_index(taken.hash), snapshot.index(taken, content if stored is None else stored))
    return spec


def _claim_id(store: FolderStore, spec: JobSpec) -> JobSpec:
    """Whoever stores the spec has the id; for who comes second, a longer one."""
    for longer in range(_TRIES):
        if longer:
            used = len(spec.job.rpartition("-")[2])
            spec = replace(spec, job=new_id(spec.phase, used + _LONGER))
        if store.create(keys.spec(spec.job), codec.dump(spec)):
            return spec
    raise SubmitError(f"no free id for a job of {spec.phase} in {store.root}", left="nothing was submitted")


def _refuse_busy(store: FolderStore, spec: JobSpec) -> None:
    """Again, now that nobody else can submit: two commands may have been planned at the same time."""
    if not spec.outputs:
        return
    theirs = busy.paths(store, spec.place.workspace)
    theirs = {path: task for path, task in theirs.items() if task.rpartition(":")[0] not in spec.after}
    found: list[Objection] = one_path.check(Facts(spec=spec, tasks=fill(spec), busy=theirs))
    if found:
        raise Refused(found[0].message, left=f"{spec.phase} was not submitted", hint=found[0].hint)


def _give_up(store: FolderStore, executor: Executor, spec: JobSpec, error: SubmitError) -> None:
    """What carries our tag nowhere is released, so that nobody waits for it. Where that cannot be said for certain the
    allocations stay open, for reconcile to look again."""
    _event(store, spec.job, "submit failed", {"error": str(error)})
    try:
        exists = {granted.allocation for granted in executor.find(spec.job)}
    except LaunchError:
        return
    now = time.time()
    for allocation in records_of.allocations(store, spec.job):
        if allocation not in exists:
            gone = records.Released(records.SCHEMA, allocation, now, who(), lost=f"never submitted: {error.tried}")
            store.create(keys.released(spec.job, allocation), codec.dump(gone))
    if not exists:
        error.left = f"nothing runs; job {spec.job} is kept as a record of the attempt"


def _event(store: FolderStore, job: str, kind: str, data: dict[str, Any]) -> None:
    now = time.time()
    event = records.Event(records.SCHEMA, kind, now, who(), data)
    store.create(keys.event(job, now, secrets.token_hex(4)), codec.dump(event))


def private_folder(root: Path) -> None:
    """Make a store's folder, for its owner alone. A `.launch` in a project tells git to look away. Raises StoreError."""
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    for folder in reversed(missing):
        try:
            folder.mkdir(mode=0o700)
            if folder.name == keys.WORKSPACE:
                (folder / ".gitignore").write_text("*\n", encoding="ascii")
        except FileExistsError:
            continue  # another submit was first
        except OSError as error:
            raise StoreError(
                f"making the store {root}",
                came_back=f"{error.strerror or error}: {folder}",
                left="nothing was submitted",
            ) from None


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Submits to one store from this host wait for one another while they look and store. A lock dies with its process."""
    descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for_lock(descriptor, root)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, root: Path) -> None:
    """Raises StoreError where another submit does not get on: a disk that hangs under it, or somebody who suspended it."""
    limit = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                raise StoreError(
                    f"waiting for another submit to {root}",
                    came_back=f"it has held {root / LOCK} for {LOCK_WAIT_S:g} s",
                    left="nothing was submitted",
                    hint="see which `launch submit` still runs; a suspended one goes on with `fg`",
                    transient=True,
                ) from None
        except OSError:
            return None  # a filesystem without locks: the ids stay exclusive all the same
        time.sleep(LOCK_PAUSE_S)


def _report(job: PlannedJob, spec: JobSpec, native_ids: Mapping[str, str], *, job_id: Optional[str]) -> SubmittedJob:
    notes = [objection.message for objection in job.objections if not objection.fatal]
    notes += [f"not taken along: {path} ({why})" for path, why in job.code.left_out]
    if spec.code.kind == "here":
        notes.append(f"the job runs in {spec.code.folder} itself: what changes there changes under it")
    return SubmittedJob(
        phase=spec.phase,
        job=job_id,
        tasks=tuple(task.index for task in spec.tasks) if job_id is not None else (),
        profile=spec.place.profile,
        executor=spec.place.executor,
        store=Path(spec.place.store),
        native_ids=native_ids,
        smoke=spec.smoke if job_id is not None else (),
        reduced=job.reduced,
        reused=job.reused,
        warnings=tuple(notes),
        after=spec.after,
    )
