"""Small projects with phases that run in a moment, for tests of what stands around them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.operations.request import SubmitRequest
from launcher.store.folder import FolderStore

SCRIPT = """\
import json, os, sys, pathlib
target = pathlib.Path(sys.argv[1])
target.parent.mkdir(parents=True, exist_ok=True)
read = [pathlib.Path(p).read_text() for p in sys.argv[2:]]
target.write_text(os.environ.get("LAUNCH_PARAMS", "") + "".join(read))
with open(os.environ["LAUNCH_METRICS"], "a") as metrics:
    metrics.write(json.dumps({"fidelity": float(json.loads(os.environ["LAUNCH_PARAMS"]).get("fidelity", 0.9))}) + "\\n")
print("done")
"""

COLLECT = """\
command: [python, make.py, "{outputs.states}"]
params: {seed: 1, fidelity: 0.9}
beat: 0.5
grace: 1
outputs:
  states: {path: states/data.txt, metric: fidelity, good: 0.85, poor: 0.7}
"""

TRAIN = """\
command: [python, make.py, "{outputs.model}", "{inputs.states}"]
array:
  - {seed: 1}
  - {seed: 2}
beat: 0.5
grace: 1
after: [collect]
inputs: {states: states/data.txt}
outputs:
  model: "models/{seed}/model.txt"
"""


def project(root: Path, **phases: str) -> Path:
    """A project with `make.py` and these phases; `collect` and `train` where none are given."""
    (root / "jobs").mkdir(parents=True)
    (root / "make.py").write_text(SCRIPT)
    for name, text in (phases or {"collect": COLLECT, "train": TRAIN}).items():
        (root / "jobs" / f"{name}.yaml").write_text(text)
    return root


def request(root: Path, *phases: str, sets: Sequence[str] = (), **said: Any) -> SubmitRequest:
    """What a command line in the project's folder asks for."""
    return SubmitRequest(phases=phases, folder=root, sets=tuple(sets), **said)


def store_of(root: Path) -> FolderStore:
    """The store of the local profile."""
    return FolderStore(root / ".launch" / "store")
