"""A store with one job, and the real supervisor of its attempts: what the tests of the supervisor stand on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from launcher.archives import snapshot
from launcher.model import codec
from launcher.model.job import Code, JobSpec, Place, TaskSpec
from launcher.model.phase import Input, Output, Resources
from launcher.model.records import ExitRecord, Heartbeat, ManifestList, Order, StopRequest
from launcher.store import keys, records
from launcher.store.folder import FolderStore
from tests.waiting import until

JOB = "phase-k3f9"
ALLOCATION = "a1"
REPOSITORY = Path(__file__).parent.parent


class Stage:
    """A project with its code in `root`, a store and a workspace, and one job `JOB` whose child is a Python script."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "project"
        self.store = FolderStore(root / "store")
        self.workspace = root / "workspace"
        self.project.mkdir()
        self.workspace.mkdir()
        self.process: Optional[subprocess.Popen[bytes]] = None
        self.log = root / "supervisor.log"

    def job(self, script: str = "pass", **changes: Any) -> JobSpec:
        """Write the spec: `script` is main.py of the snapshot, run by this Python unless `command` says otherwise."""
        (self.project / "main.py").write_text(script, encoding="utf-8")
        taken, content = snapshot.archive(self.project, snapshot.take(self.project))
        self.store.create(keys.snapshot(taken.hash), content)
        outputs = {k: v if isinstance(v, Output) else Output(v) for k, v in changes.pop("outputs", {}).items()}
        inputs = {k: v if isinstance(v, Input) else Input(v) for k, v in changes.pop("inputs", {}).items()}
        place = Place("local", "local", {"python": sys.executable}, str(self.store.root), str(self.workspace), None)
        spec = JobSpec(
            schema=1,
            job=JOB,
            phase="phase",
            name="phase",
            submitted_at=time.time() - 5,
            submitted_by="researcher@here",
            version="0",
            place=place,
            code=Code("snapshot", taken.hash),
            kit="0" * 64,
            command=("python", "main.py"),
            shell=False,
            params={},
            tasks=(TaskSpec(0),),
            resources=(Resources(),),
            outputs=outputs,
            inputs=inputs,
            grace=1.0,
            beat=0.2,
        )
        spec = replace(spec, **changes)
        self.store.replace(keys.spec(JOB), codec.dump(spec))
        self.store.replace(keys.order(JOB, ALLOCATION), codec.dump(Order(1, ALLOCATION, JOB, (0,), 1.0, "test")))
        return spec

    def start(
        self,
        attempt: int = 1,
        *extra: str,
        task: int = 0,
        env: Optional[dict[str, str]] = None,
        python: str = sys.executable,
    ) -> subprocess.Popen[bytes]:
        """Claim the attempt and start its supervisor; its standard input is the control pipe."""
        self.store.claim(keys.attempt(JOB, task, attempt))
        argv = [python, "-I", "-S", "-c", _RUN, str(REPOSITORY), "--store", str(self.store.root), "--job", JOB]
        argv += ["--task", str(task), "--attempt", str(attempt), "--allocation", ALLOCATION, "--gpus", "", *extra]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )
        return self.process

    def run(self, attempt: int = 1, **options: Any) -> ExitRecord:
        """From start to exit record."""
        self.start(attempt, **options)
        return self.ended(attempt)

    def ended(self, attempt: int = 1, deadline: float = 30) -> ExitRecord:
        """The exit record, after the supervisor ended with 0."""
        assert self.process is not None
        try:
            code = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the supervisor still runs: {self.said()} {self.heartbeat(attempt)}") from None
        assert code == 0, self.said()
        record = records.read_exit(self.store, JOB, 0, attempt)
        assert record is not None
        return record

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def heartbeat(self, attempt: int = 1) -> Optional[Heartbeat]:
        return records.read_heartbeat(self.store, JOB, 0, attempt)

    def until_log(self, text: str, attempt: int = 1) -> str:
        """The log, once it holds `text`."""
        until(lambda: text in self.output(attempt), 20, lambda: f"{text!r} in {self.output(attempt)!r}; {self.said()}")
        return self.output(attempt)

    def output(self, attempt: int = 1) -> str:
        content = self.store.read(keys.of_attempt(JOB, 0, attempt, keys.LOG))
        return "" if content is None else content.decode("utf-8", "replace")

    def manifests(self, attempt: int = 1) -> Optional[ManifestList]:
        return records.read_manifests(self.store, JOB, 0, attempt)

    def data(self, attempt: int = 1) -> Path:
        return self.workspace / keys.attempt_data(JOB, 0, attempt)

    def stop(self, reason: str = "cancelled", tasks: Optional[tuple[int, ...]] = None) -> None:
        """As the command line asks for it."""
        request = StopRequest(1, time.time(), "researcher@here", reason, tasks)
        self.store.create(keys.stop(JOB, request.at, os.urandom(4).hex()), codec.dump(request))

    def tell(self, **message: Any) -> None:
        """A line on the control pipe."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL to the supervisor."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def environment_of_child(self, attempt: int = 1) -> dict[str, str]:
        """From a child that printed it as JSON on a line of its own."""
        line = next(line for line in self.output(attempt).splitlines() if line.startswith("{"))
        found: dict[str, str] = json.loads(line)
        return found


_RUN = "import sys; sys.path[:0] = [sys.argv.pop(1)]; from launcher.supervisor.main import main; sys.exit(main())"
