"""Earlier results are not made again, nor superseded, by mistake: per task reuse, run or ask."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Optional

from launcher.archives import snapshot
from launcher.archives.digests import Digests
from launcher.checks.facts import TaskPaths, enclosing
from launcher.errors import LaunchError
from launcher.model import template
from launcher.model.job import JobSpec
from launcher.model.records import Fingerprint, Manifest
from launcher.operations import results
from launcher.operations.results import Existing
from launcher.store import keys
from launcher.store.folder import FolderStore

Action = Literal["run", "reuse", "ask"]
Answer = Literal["reuse", "rerun"]
_NAMED = 5
_CONFIGURATION = ("jobs/", "cluster_profiles/")


@dataclass(frozen=True)
class Decision:
    """What is to happen with one task, and why. `changed` and `invalidates` in words; `seconds` and `cost` (dollars) are
    what the existing results took to make, None where their manifests do not say."""

    task: int
    action: Action
    reason: str
    existing: tuple[Existing, ...] = ()
    changed: tuple[str, ...] = ()
    invalidates: tuple[str, ...] = ()
    seconds: Optional[float] = None
    cost: Optional[float] = None


@dataclass(frozen=True)
class Coming:
    """What is made before the job starts, by phases of the same command: path to the phase that makes it."""

    makers: Mapping[str, str] = field(default_factory=dict)

    def maker(self, path: str) -> Optional[str]:
        return next((self.makers[above] for above in enclosing(path) if above in self.makers), None)


def decide(
    spec: JobSpec,
    tasks: Sequence[TaskPaths],
    entries: Mapping[str, snapshot.Entry],
    coming: Coming,
    answer: Optional[Answer] = None,
) -> tuple[Decision, ...]:
    """One decision for each task, in their order. `entries` are the files of the code as it is now. With an answer nothing
    is left to ask. Reads the workspace; changes nothing in it."""
    scene = _Scene(spec, entries, coming)
    found = tuple(_answered(_decide(scene, paths), answer) for paths in tasks)
    scene.digests.save()
    return found


def settle(decisions: Sequence[Decision], answer: Answer) -> tuple[Decision, ...]:
    """An answer to what was open; what needed no answer stays."""
    return tuple(_answered(one, answer) if one.action == "ask" else one for one in decisions)


class _Scene:
    """What several tasks have in common, read once."""

    def __init__(self, spec: JobSpec, entries: Mapping[str, snapshot.Entry], coming: Coming) -> None:
        self.spec = spec
        self.coming = coming
        self.workspace = Path(spec.place.workspace)
        self.digests = Digests(self.workspace / keys.WORKSPACE / "artifacts")
        self._entries = entries
        self.code_changes = functools.cache(self._code_changes)
        self.input_hash = functools.cache(lambda path: results.input_hash(self.workspace, path, self.digests))

    def _code_changes(self, code: str) -> Optional[str]:
        """None where the code is the same, or differs only in the configuration of other phases."""
        if code == self.spec.code.hash:
            return None
        store = FolderStore(Path(self.spec.place.store))
        try:
            content = store.read(keys.snapshot_index(code))
            before = None if content is None else snapshot.read_index(content, keys.snapshot_index(code))
        except LaunchError:
            before = None
        if before is None:
            return "the code (which files is not known: the earlier snapshot is not in this store)"
        changed = [p for p in snapshot.changed(before, dict(self._entries)) if not _others_configuration(p, self.spec)]
        return f"the code: {_some(changed)}" if changed else None

    @functools.cached_property
    def readers(self) -> dict[tuple[str, str], list[str]]:
        """Path and hash of an artifact as it was read, to what was made from it."""
        found: dict[tuple[str, str], list[str]] = {}
        for manifest in results.manifests(self.workspace):
            for used in manifest.inputs:
                found.setdefault((used.path, used.hash), []).append(f"{manifest.path} ({manifest.phase})")
        return found


def _decide(scene: _Scene, paths: TaskPaths) -> Decision:
    spec, index = scene.spec, paths.task.index
    found = {
        name: results.look(scene.workspace, name, spec.outputs[name], p, scene.digests)
        for name, p in paths.outputs.items()
    }
    existing = tuple(one for one in found.values() if one is not None)
    if not existing:
        return Decision(index, "run", "no earlier result")
    manifests = [one.manifest for one in existing if one.manifest is not None]
    decision = Decision(
        index,
        "ask",
        "",
        existing,
        seconds=_largest(m.seconds for m in manifests),
        cost=_largest(m.cost for m in manifests),
    )
    torn = _torn(spec, found)
    if torn:
        return _asking(scene, decision, torn, ())
    qualities = {one.quality for one in existing}
    if "poor" in qualities:
        return replace(decision, action="run", reason="the earlier result is poor; it will be set aside")
    changed = tuple(dict.fromkeys(c for manifest in manifests for c in _changes(scene, paths, manifest)))
    if changed:
        return _asking(scene, decision, f"{'; '.join(changed)} changed since", changed)
    if "fair" in qualities or "unknown" in qualities:
        word = "is not known" if "unknown" in qualities else "is between poor and good"
        return _asking(scene, decision, f"nothing changed, but the quality of the earlier result {word}", ())
    return replace(decision, action="reuse", reason="complete, and made from the same inputs, code and parameters")


def _asking(scene: _Scene, decision: Decision, reason: str, changed: tuple[str, ...]) -> Decision:
    invalidated = [
        reader
        for one in decision.existing
        if one.manifest is not None
        for reader in scene.readers.get((one.path, one.manifest.hash), [])
    ]
    return replace(decision, reason=reason, changed=changed, invalidates=tuple(dict.fromkeys(invalidated)))


def _answered(decision: Decision, answer: Optional[Answer]) -> Decision:
    if answer is None or not decision.existing:
        return decision
    if answer == "rerun":
        return replace(decision, action="run", reason="--rerun; the earlier result will be set aside")
    return replace(decision, action="reuse", reason=f"--reuse ({decision.reason})" if decision.reason else "--reuse")


def _torn(spec: JobSpec, found: Mapping[str, Optional[Existing]]) -> Optional[str]:
    """In words, what keeps the existing outputs from being a complete result of this task."""
    foreign = [one.path for one in found.values() if one is not None and one.manifest is None]
    if foreign:
        return f"{_some(foreign)} is there and has no manifest: it was not made by a job, or never completed"
    wrong = [text for one in found.values() if one is not None for text in one.wrong]
    if wrong:
        return f"the earlier result is damaged: {_some(wrong)}"
    absent = [name for name, one in found.items() if one is None and not spec.outputs[name].optional]
    if absent:
        return f"the earlier result is incomplete: output {_some(absent)} is missing"
    return None


def _changes(scene: _Scene, paths: TaskPaths, manifest: Manifest) -> list[str]:
    """What differs between then and now, in words."""
    spec = scene.spec
    changed = []
    now, then = spec.params_of(paths.task), manifest.params
    params = [
        f"{k} {then.get(k)!r} -> {now.get(k)!r}" for k in sorted(now.keys() | then.keys()) if now.get(k) != then.get(k)
    ]
    if params:
        changed.append(f"parameters: {_some(params)}")
    elif not _same_command(spec, paths, manifest):
        changed.append("the command")
    code = scene.code_changes(manifest.code)
    if code is not None:
        changed.append(code)
    used = {fingerprint.path: fingerprint for fingerprint in manifest.inputs}
    for name, path in paths.inputs.items():
        change = _input_change(scene, name, path, used.get(path))
        if change is not None:
            changed.append(change)
    return changed


def _input_change(scene: _Scene, name: str, path: str, used: Optional[Fingerprint]) -> Optional[str]:
    maker = scene.coming.maker(path)
    if maker is not None:
        return f"input {name} (phase {maker} makes it anew)"
    now = scene.input_hash(path)
    if used is None:
        return f"input {name} (not used then)" if now is not None else None
    return None if now == used.hash else f"input {name} ({path})"


def _same_command(spec: JobSpec, paths: TaskPaths, manifest: Manifest) -> bool:
    """Filled as it was for the earlier job. Which Python runs it, and what stands around it (torchrun, a container), is the
    place's affair: what was run ends with the arguments that the phase gave."""
    then = spec if not any("{job}" in part for part in spec.command) else replace(spec, job=manifest.job)
    program, *arguments = template.command_of(then, paths.task)
    if spec.shell:
        return program in manifest.command
    around = len(manifest.command) - len(arguments)
    if around < 0 or list(manifest.command[around:]) != arguments:
        return False
    name = os.path.basename(program)
    return name.startswith("python") or name in {os.path.basename(part) for part in manifest.command[:around]}


def _others_configuration(path: str, spec: JobSpec) -> bool:
    """Phases and profiles are read at submit; what they changed for this phase is in its command, parameters and inputs."""
    if path in ("launch.yaml", "launch.yml"):
        return True
    folder, _, name = path.rpartition("/")
    stem, _, suffix = name.rpartition(".")
    return f"{folder}/" in _CONFIGURATION and suffix in ("yaml", "yml") and (folder != "jobs" or stem != spec.phase)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _largest(values: Iterable[Optional[float]]) -> Optional[float]:
    """All outputs of one attempt carry the same figure: the whole attempt's."""
    known = [v for v in values if v is not None]
    return max(known) if known else None
