"""Several phases as a chain: their order by `after`, and what a phase waits for."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Optional

from launcher.errors import ConfigError, LaunchError, Problem, Refused, UsageError
from launcher.model.outcome import Outcome, State
from launcher.model.view import JobView
from launcher.operations import results, stores
from launcher.store import records
from launcher.store.folder import FolderStore

_LOOKED_AT = 20  # earlier jobs of an upstream phase


def order(after: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The phases of a command so that each comes after those that it needs; else as they were typed.

    `after` maps each phase of the command to what it needs, which may be outside the command. Raises ConfigError for a
    cycle, naming it.
    """
    done: list[str] = []
    path: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        if name in path:
            cycle = " -> ".join([*path[path.index(name) :], name])
            raise ConfigError([Problem(f"phase {name}", None, "after", f"phases wait for one another: {cycle}")])
        path.append(name)
        for needed in after[name]:
            if needed in after:
                visit(needed)
        path.pop()
        done.append(name)

    for name in after:
        visit(name)
    return tuple(done)


def refuse_twice(phases: Sequence[str]) -> None:
    """Raises UsageError for a phase that is named twice, and for none."""
    if not phases:
        raise UsageError("no phase was named", hint="launch submit PHASE")
    twice = [name for name in dict.fromkeys(phases) if phases.count(name) > 1]
    if twice:
        raise UsageError(f"phase {twice[0]} is named twice in one command")


def refuse_unknown(file: Path, after: Sequence[str], available: Collection[str]) -> None:
    """Raises ConfigError for names in `after` that are no phase."""
    problems = []
    for name in after:
        if name not in available:
            near = difflib.get_close_matches(name, list(available), n=1)
            valid = ", ".join(sorted(available))
            problems.append(Problem(str(file), None, "after", "no such phase", name, valid, near[0] if near else None))
    if problems:
        raise ConfigError(problems)


def earlier(
    store: FolderStore,
    workspace: Path,
    phase: str,
    needed: str,
    look: Optional[Callable[[FolderStore, str], JobView]] = None,
) -> Optional[str]:
    """What `phase` waits for where `needed` is not in its command: a job that has not ended, or None where `needed` has
    succeeded before.

    Raises Refused where neither is so.
    """
    if look is None:
        from launcher.operations.gather import gather

        look = gather
    mine = [job for job in records.jobs(store) if stores.phase_of(job) == needed]
    came_back = "it was never submitted to this store"
    for job in stores.newest(store, mine)[:_LOOKED_AT]:
        view = _view(look, store, job)
        if view is None:
            continue
        if view.state is not State.ENDED:
            return job
        if view.outcome is Outcome.SUCCEEDED:
            return None
        if came_back.startswith("it was never"):
            came_back = f"its newest job {job} ended: {view.outcome.value if view.outcome else 'unknown'}"
    if any(manifest.phase == needed for manifest in results.manifests(workspace)):
        return None
    raise Refused(
        f"phase {phase} needs phase {needed}, which has not succeeded",
        came_back=came_back,
        left="nothing was submitted",
        hint=f"launch submit {needed} {phase}",
    )


def _view(look: Callable[[FolderStore, str], JobView], store: FolderStore, job: str) -> Optional[JobView]:
    with contextlib.suppress(LaunchError):  # a job whose records are garbage proves nothing
        return look(store, job)
    return None


def following(phases: Mapping[str, Sequence[str]], done: Collection[str]) -> tuple[str, ...]:
    """The phases that name one of `done` in their `after`, without those."""
    return tuple(name for name, after in phases.items() if name not in done and any(one in done for one in after))
