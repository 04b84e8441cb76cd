"""Where everything of one attempt lies: its records in the store, its data in the workspace, its working tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from launcher.model import template
from launcher.model.job import JobSpec, TaskSpec
from launcher.store import keys
from launcher.store.folder import FolderStore
from launcher.supervisor.faults import StartFailed


@dataclass(frozen=True)
class Places:
    """Paths of outputs, inputs and checkpoints are relative to the working tree and, alike, to the workspace."""

    store: FolderStore
    workspace: FolderStore
    spec: JobSpec
    task: TaskSpec
    attempt: int
    allocation: str
    outputs: dict[str, str]
    inputs: dict[str, str]
    checkpoint_path: Optional[str]

    def key(self, name: str) -> str:
        """A record of the attempt in the store."""
        return keys.of_attempt(self.spec.job, self.task.index, self.attempt, name)

    @property
    def attempt_id(self) -> str:
        """What marks every process of the attempt: LAUNCH_ATTEMPT_ID."""
        return f"{self.spec.job}/{self.task.index}/{self.attempt}"

    @property
    def folder(self) -> Path:
        """The attempt's folder in the store."""
        return self.store.root / keys.attempt(self.spec.job, self.task.index, self.attempt)

    @property
    def data_key(self) -> str:
        """The attempt's data, relative to the workspace."""
        return keys.attempt_data(self.spec.job, self.task.index, self.attempt)

    @property
    def data(self) -> Path:
        """The attempt's data before the commit: `work`, `outputs`, `checkpoints`, `scratch`."""
        return self.workspace.root / self.data_key

    @property
    def work(self) -> Path:
        """The unpacked working tree; does not exist for `code: here`."""
        return self.data / "work"

    @property
    def here(self) -> bool:
        """Whether the job runs in the project's own folder, unprotected."""
        return self.spec.code.kind == "here"

    @property
    def tree(self) -> Path:
        """The child's working directory."""
        return Path(self.spec.code.folder or self.workspace.root) if self.here else self.work

    @property
    def scratch(self) -> Path:
        """For what need not outlive the attempt."""
        return self.data / "scratch"

    @property
    def start_note(self) -> Path:
        """Where a wrapper around the child says that it could not start it."""
        return self.data / "start-failed.txt"

    def collected(self, path: str) -> Path:
        """Where an output lies once the child has ended, until it is committed."""
        return self.tree / path if self.here else self.data / "outputs" / path

    @property
    def checkpoints(self) -> Optional[Path]:
        """The folder in which this attempt's checkpoints can be found by one path, during the attempt and afterwards."""
        return self.checkpoints_of(self.attempt)

    def checkpoints_of(self, attempt: int) -> Optional[Path]:
        """The same of another attempt of this task."""
        if self.checkpoint_path is None:
            return None
        if self.here:
            return self.tree / self.checkpoint_path
        data = self.workspace.root / keys.attempt_data(self.spec.job, self.task.index, attempt)
        return data / "checkpoints" / self.checkpoint_path


def of(store: Path, spec: JobSpec, task: TaskSpec, attempt: int, allocation: str) -> Places:
    """Raises StartFailed for a path that leaves the working tree or a field that nothing fills."""
    try:
        values = template.values_of(spec, task)
        outputs = {name: relative("output", path) for name, path in template.paths_of(spec, task).items()}
        given = {name: str(values[f"inputs.{name}"]) for name in spec.inputs}
        inputs = {name: path if path.startswith("/") else relative("input", path) for name, path in given.items()}
        checkpoints = values.get("checkpoints") if spec.checkpoints is not None else None
    except template.UnknownField as error:
        raise StartFailed("filling in the phase's paths", came_back=str(error)) from None
    checkpoint_path = None if checkpoints is None else relative("checkpoints", str(checkpoints))
    workspace = FolderStore(Path(spec.place.workspace))
    return Places(FolderStore(store), workspace, spec, task, attempt, allocation, outputs, inputs, checkpoint_path)


def without_paths(store: Path, spec: JobSpec, task: TaskSpec, attempt: int, allocation: str) -> Places:
    """For an attempt whose paths make no sense: enough to say so in its records."""
    workspace = FolderStore(Path(spec.place.workspace))
    return Places(FolderStore(store), workspace, spec, task, attempt, allocation, {}, {}, None)


def relative(what: str, path: str) -> str:
    """A path that stays inside the tree, in its plain form. Raises StartFailed."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or "\0" in path or ".." in parts or not parts or parts[0] == keys.WORKSPACE:
        raise StartFailed(
            f"using {path!r} as a path of {what}",
            came_back="it is not inside the working tree",
            hint="declare a relative path without '..'",
        )
    return "/".join(parts)
