"""A phase, a profile and a choice of tasks to the JobSpec that says everything. Nothing later looks up configuration."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Optional, Union

from launcher.config.arrays import Chosen, choose
from launcher.config.filled import check_filled
from launcher.config.limits import check_budget, check_limits, within_time
from launcher.config.paths import tidy
from launcher.config.phases import LoadedPhase
from launcher.config.problems import Problems
from launcher.config.profiles import LoadedProfile
from launcher.config.sets import with_sets
from launcher.model import codec
from launcher.model.job import SCHEMA, Code, JobSpec, Place, TaskSpec
from launcher.model.phase import ArrayEntry, ResourceRequest, Resources, Scalar

Smoke = Union[Collection[int], Literal["all"]]


@dataclass(frozen=True)
class Identity:
    """Who submits what, when, by which version. `submitted_at` is seconds since 1970."""

    job: str
    name: str
    submitted_at: float
    submitted_by: str
    version: str


def job(
    loaded: LoadedPhase,
    profile: LoadedProfile,
    *,
    identity: Identity,
    code: Code,
    kit: str,
    array: Optional[str] = None,
    sets: Sequence[str] = (),
    smoke: Smoke = (),
    limit: Optional[int] = None,
    pack: int = 1,
    budget: Optional[float] = None,
    after: Sequence[str] = (),
) -> JobSpec:
    """The job of these tasks. `smoke`: indices that run with the phase's small parameters, or all; `after`: job ids.

    What is said later wins: profile's defaults, phase, array entry, smoke, `--set`. Every template is filled once for every
    kind of task, and every path for every task. Raises UsageError for `array` and `sets` that make no sense, ConfigError
    for everything else.
    """
    loaded = with_sets(loaded, sets)
    problems = Problems()
    chosen = choose(loaded.phase, loaded.name, array)
    if not chosen.tasks:
        problems.at(loaded.shape, ("matrix",), "excludes every combination, so there is no task", found=None)
    small = frozenset(index for index, _ in chosen.tasks) if smoke == "all" else frozenset(smoke)
    tasks, resources = _tasks(loaded, profile, chosen, small, problems)
    spec = replace(
        _of_phase(loaded, profile, identity, code, kit),
        tasks=tasks,
        resources=resources,
        limit=limit if limit is not None else chosen.limit,
        pack=pack,
        budget=check_budget(loaded, profile, budget, problems),
        after=tuple(after),
        smoke=tuple(index for index, _ in chosen.tasks if index in small),
    )
    _secrets(loaded, profile, problems)
    check_limits(spec, loaded, profile, problems)
    check_filled(spec, loaded, profile, problems)
    problems.stop_if_any()
    return spec


def _of_phase(loaded: LoadedPhase, profile: LoadedProfile, identity: Identity, code: Code, kit: str) -> JobSpec:
    """What does not depend on the choice of tasks."""
    phase = loaded.phase
    return JobSpec(
        schema=SCHEMA,
        job=identity.job,
        phase=loaded.name,
        name=identity.name,
        submitted_at=identity.submitted_at,
        submitted_by=identity.submitted_by,
        version=identity.version,
        place=place(profile),
        code=code,
        kit=kit,
        command=tuple(phase.command),
        shell=phase.shell,
        params=dict(phase.params),
        tasks=(),
        resources=(),
        env={**profile.profile.defaults.env, **phase.env},
        secrets=phase.secrets,
        setup=phase.setup,
        inputs={name: replace(one, path=tidy(one.path)) for name, one in phase.inputs.items()},
        outputs={name: replace(one, path=tidy(one.path)) for name, one in phase.outputs.items()},
        checkpoints=phase.checkpoints and replace(phase.checkpoints, path=tidy(phase.checkpoints.path)),
        watch=phase.watch,
        retry=phase.retry,
        distributed=phase.distributed,
        grace=phase.grace,
        beat=_beat(loaded),
        description=phase.description,
    )


def place(profile: LoadedProfile) -> Place:
    """Where the job runs, in the words of a JobSpec."""
    return Place(
        profile=profile.name,
        executor=profile.profile.executor,
        options=codec.encode(profile.options),
        store=str(profile.store),
        workspace=str(profile.workspace),
        price=profile.profile.price,
    )


def _tasks(
    loaded: LoadedPhase, profile: LoadedProfile, chosen: Chosen, small: frozenset[int], problems: Problems
) -> tuple[tuple[TaskSpec, ...], tuple[Resources, ...]]:
    groups: dict[Resources, int] = {}
    known: dict[tuple[Optional[ResourceRequest], bool], int] = {}
    tasks = []
    for index, entry in chosen.tasks:
        is_small = index in small
        key = (entry.resources, is_small)
        if key not in known:
            found = _resources(loaded, profile, index, entry, is_small, problems)
            known[key] = groups.setdefault(found, len(groups))
        tasks.append(TaskSpec(index, _params(loaded, entry, is_small), known[key]))
    return tuple(tasks), tuple(groups)


def _params(loaded: LoadedPhase, entry: ArrayEntry, is_small: bool) -> dict[str, Scalar]:
    """In what a task differs from the job's own parameters."""
    params = {**entry.params, **loaded.phase.smoke.params} if is_small else entry.params
    sets = loaded.sets.params
    return {name: value for name, value in params.items() if name not in sets} if sets else dict(params)


def _resources(
    loaded: LoadedPhase, profile: LoadedProfile, index: int, entry: ArrayEntry, is_small: bool, problems: Problems
) -> Resources:
    phase = loaded.phase
    requests = [profile.profile.defaults.resources, phase.resources, entry.resources]
    if is_small:
        requests.append(ResourceRequest(gpus=0) if phase.smoke.without_gpus else None)
        requests.append(phase.smoke.resources)
    keys = {key.partition(".")[2] for key in loaded.sets.keys if key.startswith("resources.")}
    said = {name: getattr(phase.resources, name) for name in keys}
    requests.append(ResourceRequest(**said))
    found = Resources.of(*requests)
    unset: dict[str, Any] = {f.name: f.default for f in fields(Resources) if f.name in said and said[f.name] is None}
    found = replace(found, **unset)
    if not found.gpu_memory or found.gpus:
        return within_time(replace(found, gpu_memory=found.gpu_memory or None), profile)
    if all(request is None or request.gpus is None for request in requests):
        where = ("array", index) if entry.resources is not None and entry.resources.gpu_memory else ()
        message = "asks for memory of GPUs, and no gpus are asked for"
        problems.at(loaded.shape, (*where, "resources", "gpu_memory"), message)
    return within_time(replace(found, gpu_memory=None), profile)


def _beat(loaded: LoadedPhase) -> float:
    """Flag or variable, the phase, launch.yaml or config.yaml, the default."""
    setting = loaded.project.settings.get("beat")
    if setting is None or "beat" in loaded.sets.keys:
        return loaded.phase.beat
    if setting.layer in ("flag", "environment") or loaded.shape.child("beat") is None:
        return float(setting.value)
    return loaded.phase.beat


def _secrets(loaded: LoadedPhase, profile: LoadedProfile, problems: Problems) -> None:
    for index, name in enumerate(loaded.phase.secrets):
        if name in profile.profile.defaults.env:
            message = f"is a secret, and profile {profile.name} gives it in the open, in defaults.env"
            problems.at(loaded.shape, ("secrets", index), message)
