"""`init`: a first phase and a first profile that run as they are. Never overwrites anything."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from launcher.config import shipped
from launcher.errors import LaunchError, UsageError
from launcher.operations import profiles

SCHEMAS = ".launch/schema"
IGNORED = ".launch/"

HELLO_YAML = """\
# yaml-language-server: $schema=../.launch/schema/phase.json
description: A first phase. Two tasks count to ten and write what they found

# Split into words once and never given to a shell. {name} fills in parameters and outputs.
command: python jobs/hello.py

params:
  steps: 10
  seconds_per_step: 0.3
  greeting: hello

# One task for each entry; each may have resources of its own.
array:
  - {name: world}
  - {name: again, resources: {time: 20m}}

resources: {cpus: 1, memory: 200MB, time: 10m}

# Committed when a task succeeds, and protected from then on.
outputs:
  greeting: results/hello/{name}.txt

checkpoints: {path: "checkpoints/hello/{name}", pattern: "step-*"}

smoke:
  params: {steps: 2}
"""

HELLO_PY = '''\
"""A first phase: what it computes, how far it is, and where it can resume from."""

import sys
import time
from pathlib import Path

from launcher import task

params = {"steps": 10, "seconds_per_step": 0.3, "greeting": "hello", "name": "world", **task.params()}
saved = Path("checkpoints/hello", params["name"])
saved.mkdir(parents=True, exist_ok=True)

resume = task.resume_from()
first = int(resume.name.rpartition("-")[2]) if resume else 0
for step in range(first + 1, params["steps"] + 1):
    time.sleep(params["seconds_per_step"])
    print(f"step {step}: {params['greeting']} {params['name']}")
    task.progress(step, params["steps"], stage="count")
    task.metric(step, loss=1 / step)
    checkpoint = saved / f"step-{step}"
    checkpoint.write_text(f"{step}\\n", encoding="utf-8")
    task.checkpoint_saved(checkpoint, step)
    if task.stop_requested():
        print("asked to stop: the next attempt goes on from here")
        sys.exit(task.STOPPED_EXIT_CODE)

result = task.output("greeting", f"results/hello/{params['name']}.txt")
result.write_text(f"{params['greeting']}, {params['name']}\\n", encoding="utf-8")
'''


@dataclass(frozen=True)
class Started:
    """Paths relative to `folder`, in the order of writing."""

    folder: Path
    written: tuple[str, ...]
    left_alone: tuple[str, ...]


def init(folder: Path) -> Started:
    """Write the first files of a project into `folder`, which is made where it does not exist.

    What exists is left as it is. Raises UsageError where `folder` is a file, LaunchError where it cannot be written.
    """
    folder = Path(os.path.abspath(folder))
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"starting a project in {folder}", came_back="it is no folder")
    written: list[str] = []
    left: list[str] = []
    path = folder
    try:
        for name, text in _files():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            (written if _create(path, text) else left).append(name)
        path = folder / ".gitignore"
        (written if _ignore(path) else left).append(path.name)
        (folder / IGNORED).mkdir(mode=0o700, exist_ok=True)
        for kind, text in _schemas():
            path = folder / SCHEMAS / f"{kind}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")  # ours, and of this version: replaced each time
    except (OSError, UnicodeDecodeError) as error:
        raise _failed(path, error, written) from error
    return Started(folder, tuple(written), tuple(left))


def _files() -> list[tuple[str, str]]:
    lying = shipped.folder("cluster_profiles")
    if lying is None or not (lying / "workstation.yaml").is_file():
        raise LaunchError("reading the profile that comes with launch", came_back="this installation has none")
    profile = (lying / "workstation.yaml").read_text(encoding="utf-8").replace("../docs/schema/", f"../{SCHEMAS}/")
    return [
        ("jobs/hello.yaml", HELLO_YAML),
        ("jobs/hello.py", HELLO_PY),
        ("cluster_profiles/workstation.yaml", profile),
    ]


def _schemas() -> list[tuple[str, str]]:
    """What the files' first lines point to, so that an editor knows their keys."""
    texts = {"phase": profiles.schema_of("phase"), "profile": profiles.schema_of("profile")}
    return [(kind, json.dumps(schema, indent=2, ensure_ascii=False) + "\n") for kind, schema in texts.items()]


def _create(path: Path, text: str) -> bool:
    """All or nothing: a full disk leaves no half file that would be left alone next time. False where it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return False
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def _ignore(path: Path) -> bool:
    """Add a line for `.launch/`; False where one is there."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if any(line.strip().strip("/") == IGNORED.strip("/") for line in text.splitlines()):
        return False
    before = "" if not text or text.endswith("\n") else "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{before}{IGNORED}\n")
    return True


def _failed(path: Path, error: Exception, written: list[str]) -> LaunchError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    left = f"written before: {', '.join(written)}" if written else None
    return LaunchError(f"writing {path}", came_back=reason, left=left, hint="launch init can be run again")
