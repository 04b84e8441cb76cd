"""From a request to all that would be stored and sent: configuration, checks, earlier results, packing. Changes nothing."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

import launcher
from launcher.archives import kit as kits
from launcher.archives import snapshot
from launcher.archives.snapshot import Snapshot
from launcher.checks import facts, fits, inputs, table
from launcher.checks.facts import Facts, Objection, TaskPaths
from launcher.config import phases, profiles, project, resolve
from launcher.config.meaning import known_params
from launcher.config.phases import LoadedPhase
from launcher.config.sets import with_sets
from launcher.executors import registry
from launcher.executors.contract import Executor, Inventory, Submission
from launcher.model import template
from launcher.model.job import Code, JobSpec, Packing, pack
from launcher.model.names import job_id
from launcher.operations import busy, chain, neighbours, protect, results
from launcher.operations.parts import parts
from launcher.operations.protect import Answer, Coming, Decision
from launcher.operations.request import SubmitRequest
from launcher.operations.signature import who
from launcher.store.folder import FolderStore

SALT = 4  # characters; more where that id is taken
Ask = Callable[[str, tuple[Decision, ...]], Answer]
"""Asked with a phase's name and the decisions that are open; answers for all of them."""


@dataclass(frozen=True)
class Tree:
    """Where a phase's code lies: all of a project's folder, or one folder that `launch` ships (`only`). `without` are
    paths of data inside."""

    root: Path
    only: Optional[str] = None
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PlannedJob:
    """One phase of a command. `spec` holds the tasks that would run (all of them where none would), `reduced` says for
    tasks that became smoke tasks unasked what the place lacks. `submission` is None where every task is reused."""

    spec: JobSpec
    tree: Tree
    code: Snapshot
    decisions: tuple[Decision, ...]
    objections: tuple[Objection, ...]
    reduced: Mapping[int, str]
    packing: Packing = field(default_factory=lambda: Packing(()))
    submission: Optional[Submission] = None

    @property
    def reused(self) -> tuple[Decision, ...]:
        return tuple(decision for decision in self.decisions if decision.action == "reuse")

    @property
    def undecided(self) -> tuple[Decision, ...]:
        return tuple(decision for decision in self.decisions if decision.action == "ask")


@dataclass(frozen=True)
class Plan:
    """In the order in which they would be submitted. `following`: phases that need what these make."""

    jobs: tuple[PlannedJob, ...]
    kit: kits.Kit
    following: tuple[str, ...]


class _Command:
    """What the phases of one command have in common, each thing looked up once, and what the earlier ones will make."""

    def __init__(self, request: SubmitRequest, ask: Optional[Ask]) -> None:
        self.request = request
        self.ask = ask
        self.project = project.find(request.folder)
        self.profile = profiles.load(self.project, request.profile, registry.OptionTypes())
        self.store = FolderStore(self.profile.store)
        self.kit = kits.build()
        self.jobs: dict[str, PlannedJob] = {}
        self.making: dict[str, str] = {}  # path to the phase of this command that makes it
        self.busy = busy.paths(self.store, os.fspath(self.profile.workspace))
        self.executor: Optional[Executor] = None
        self.inventory = Inventory()

    def place(self, spec: JobSpec) -> Executor:
        """The executor; asked for its inventory once."""
        if self.executor is None:
            self.executor = registry.create(spec.place)
            self.inventory = self.executor.inventory()
        return self.executor


def plan(request: SubmitRequest, ask: Optional[Ask] = None) -> Plan:
    """Everything that a submit of `request` would store and send. With `ask`, somebody is there to say what becomes of
    earlier results; without, that stays open in the decisions.

    Raises ConfigError, UsageError, NotFound and Refused.
    """
    command = _Command(request, ask)
    read = _with_sets([phases.load(command.project, word) for word in request.phases], request.sets)
    chain.refuse_twice([one.name for one in read])
    loaded = {one.name: one for one in read}
    known: Collection[str] = ()
    if any(one.phase.after for one in loaded.values()):
        known = [found.name for found in phases.available(command.project)]
    for one in loaded.values():
        chain.refuse_unknown(one.file, one.phase.after, known)
    for name in chain.order({name: one.phase.after for name, one in loaded.items()}):
        command.jobs[name] = _plan_phase(command, loaded[name])
    following = (
        neighbours.following(command.project, command.jobs) if any(job.reused for job in command.jobs.values()) else ()
    )
    return Plan(tuple(command.jobs.values()), command.kit, following)


def _with_sets(read: list[LoadedPhase], sets: Sequence[str]) -> list[LoadedPhase]:
    """In a chain, a parameter is set for the phases that have it; every other word is for all of them."""
    known = [known_params(one.shape) for one in read]
    named = {word: word.partition("=")[0].strip().removeprefix("params.") for word in sets}
    somewhere = {name for name in named.values() if any(name in params for params in known)}
    return [
        with_sets(one, [word for word in sets if named[word] in params or named[word] not in somewhere])
        for one, params in zip(read, known, strict=True)
    ]


def _plan_phase(command: _Command, loaded: LoadedPhase) -> PlannedJob:
    upstream, waits = _upstream(command, loaded)
    identity = _identity(command, loaded)
    spec, reduced = _resolve(command, loaded, identity, upstream + waits)
    tasks = facts.fill(spec)
    tree = _tree(command, loaded, spec, tasks)
    here = loaded.phase.code == "here"
    code = snapshot.take(tree.root, without=tree.without, only=tree.only, limit=None if here else snapshot.LIMIT)
    spec = replace(spec, code=Code("here", code.hash, os.fspath(tree.root)) if here else Code("snapshot", code.hash))
    decisions = _decisions(command, spec, tasks, code)
    to_run = {decision.task for decision in decisions if decision.action != "reuse"}
    if not to_run:
        return PlannedJob(spec, tree, code, decisions, (), {})
    spec = replace(
        spec,
        tasks=tuple(task for task in spec.tasks if task.index in to_run),
        smoke=tuple(index for index in spec.smoke if index in to_run),
    )
    tasks = tuple(paths for paths in tasks if paths.task.index in to_run)
    reduced = {index: why for index, why in reduced.items() if index in to_run}
    objections = _objections(command, spec, tasks, code, waits)
    for paths in tasks:
        command.making.update(dict.fromkeys(paths.outputs.values(), spec.phase))
    packing = pack(spec)
    submission = command.place(spec).render(spec, packing, parts(spec, packing, command.place(spec)))
    return PlannedJob(spec, tree, code, decisions, objections, reduced, packing, submission)


def _upstream(command: _Command, loaded: LoadedPhase) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Jobs to wait for: those of this command, and earlier ones that have not ended."""
    here, waits = [], []
    for needed in loaded.phase.after:
        if needed in command.jobs:
            planned = command.jobs[needed]
            if planned.submission is not None:
                here.append(planned.spec.job)
        else:
            job = chain.earlier(command.store, command.profile.workspace, loaded.name, needed)
            if job is not None:
                waits.append(job)
    return tuple(here), tuple(waits)


def _identity(command: _Command, loaded: LoadedPhase) -> resolve.Identity:
    return resolve.Identity(
        job=new_id(loaded.name, SALT),
        name=command.request.name or loaded.name,
        submitted_at=time.time(),
        submitted_by=who(),
        version=launcher.__version__,
    )


def new_id(phase: str, length: int) -> str:
    """A job id that is free in all likelihood; storing the spec decides."""
    return job_id(phase, [secrets.randbelow(1 << 30) for _ in range(length)])


def _resolve(
    command: _Command, loaded: LoadedPhase, identity: resolve.Identity, after: tuple[str, ...]
) -> tuple[JobSpec, dict[int, str]]:
    """The spec, and which of its tasks became smoke tasks because the place lacks GPUs, with what it lacks."""
    request = command.request
    alone = len(request.phases) == 1  # in a chain, --array is for the phases that have one

    def build(smoke: resolve.Smoke) -> JobSpec:
        return resolve.job(
            loaded,
            command.profile,
            array=request.array if alone or loaded.phase.array or loaded.phase.matrix else None,
            smoke=smoke,
            identity=identity,
            code=Code("snapshot", ""),
            kit=command.kit.hash,
            pack=request.pack or 1,
            budget=request.budget,
            after=after,
        )

    spec = build("all" if request.smoke else ())
    command.place(spec)
    if request.smoke or not loaded.phase.smoke.without_gpus:
        return spec, {}
    small = fits.without_gpus(spec, command.inventory)
    if not small:
        return spec, {}
    lacking = fits.lacking(spec, command.inventory)
    return build(small), {index: "; ".join(map(str, lacking[index])) for index in small}


def _tree(command: _Command, loaded: LoadedPhase, spec: JobSpec, tasks: tuple[TaskPaths, ...]) -> Tree:
    if loaded.shipped:
        return Tree(loaded.file.parent.parent, loaded.file.parent.name)
    root = command.project.root
    try:
        inside = os.path.relpath(command.profile.workspace, root)
    except ValueError:
        return Tree(root)
    if inside.startswith(".."):
        return Tree(root)
    data = set(results.paths(command.profile.workspace))
    for paths in tasks:
        data.update(paths.outputs.values(), paths.inputs.values())
        if spec.checkpoints is not None:
            data.add(template.fill(spec.checkpoints.path, template.values_of(spec, paths.task)))
    return Tree(root, None, frozenset(facts.clean(f"{inside}/{path}") for path in data if not path.startswith("/")))


def _decisions(command: _Command, spec: JobSpec, tasks: tuple[TaskPaths, ...], code: Snapshot) -> tuple[Decision, ...]:
    request = command.request
    answer: Optional[Answer] = "reuse" if request.reuse else "rerun" if request.rerun else None
    found = protect.decide(spec, tasks, code.entries, Coming(command.making), answer)
    undecided = tuple(decision for decision in found if decision.action == "ask")
    if undecided and command.ask is not None:
        return protect.settle(found, command.ask(spec.phase, undecided))
    return found


def _objections(
    command: _Command, spec: JobSpec, tasks: tuple[TaskPaths, ...], code: Snapshot, waits: tuple[str, ...]
) -> tuple[Objection, ...]:
    theirs = {path: task for path, task in command.busy.items() if task.rpartition(":")[0] in waits}
    world = Facts(
        spec=spec,
        tasks=tasks,
        inventory=command.inventory,
        files={path: entry.mode for path, entry in code.entries.items()},
        environ=os.environ,
        busy={**command.busy, **{path: f"phase {phase}" for path, phase in command.making.items()}},
        coming=frozenset(theirs) | frozenset(command.making),
        here=command.place(spec).capabilities.shares_machine,
    )
    found = table.run(world)
    if any(objection.check == inputs.NAME for objection in found):
        found = table.run(
            replace(world, makers=neighbours.makers(command.project))
        )  # to name the phase that makes what is missing
    return found
