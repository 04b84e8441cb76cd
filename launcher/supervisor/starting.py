"""How an attempt gets its child: prepared and forked, or adopted from a supervisor that died; and how its end is seen."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from launcher.errors import LaunchError
from launcher.model import codec, template
from launcher.model.records import SCHEMA, Claim, ProcessId
from launcher.model.signals import STACKS_SIGNAL
from launcher.store import keys, processes
from launcher.supervisor import faults
from launcher.supervisor.attempt import Attempt
from launcher.supervisor.faults import StartFailed
from launcher.supervisor.loop import Loop
from launcher.supervisor.places import Places
from launcher.supervisor.start import child, container, distributed, environment, resume, setup
from launcher.supervisor.start.child import Ended
from launcher.supervisor.start.preparing import Preparing
from launcher.supervisor.start.versions import Query


@dataclass(frozen=True)
class Started:
    """A child that runs or ran. `fresh`: forked by this process. `at_end` is run after its last process."""

    child: ProcessId
    command: tuple[str, ...]
    at: float
    fresh: bool
    at_end: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotStarted:
    """No instruction of the command has run."""

    reason: str


def start(attempt: Attempt) -> Union[Started, NotStarted]:
    """Everything before the child's first instruction. Raises StoreError where the claim cannot be written."""
    places = attempt.places
    attempt.beat(time.monotonic())
    preparing = Preparing(places, os.environ)
    try:
        attempt.until(lambda: _prepared(attempt, preparing), preparing.fileno())
    finally:
        preparing.end()
    if attempt.asked is not None:
        return NotStarted("stopped before it was started")
    result = preparing.result or {}
    if "failed" in result:
        return NotStarted(str(result["failed"]))
    if places.here:
        attempt.finding(
            "code",
            "code.here",
            "notice",
            f"runs in {places.tree} itself: the code may change while it runs, and outputs are written in place",
            "use `code: snapshot` to protect both",
        )
    try:
        return _fork(attempt, Path(result["environment"]) if result.get("environment") else None)
    except (StartFailed, template.UnknownField) as error:
        return NotStarted(faults.in_one_line(error) if isinstance(error, LaunchError) else str(error))


def _prepared(attempt: Attempt, preparing: Preparing) -> bool:
    preparing.read()
    attempt.enter(preparing.stage)
    return preparing.result is not None or attempt.asked is not None


def _fork(attempt: Attempt, made: Optional[Path]) -> Union[Started, NotStarted]:
    places = attempt.places
    resume_from = resume.newest(places, time.time())
    gpus = attempt.gpus or None
    variables = environment.of_child(places, os.environ, gpus, resume_from, STACKS_SIGNAL)
    note = attempt.places.start_note
    note.unlink(missing_ok=True)
    resources = places.spec.resources_of(places.task)
    variables.update(distributed.variables(places.spec.distributed, resources))
    around = setup.around(places, variables, made, note)
    argv = environment.command(places, around.python)
    argv = distributed.wrap(places.spec.distributed, argv, resources, distributed.nodes(os.environ))
    argv = around.wrap(environment.resolved(argv, around.python))
    log = places.folder / keys.LOG
    (places.folder / keys.EVIDENCE).mkdir(
        mode=0o700, exist_ok=True
    )  # where a child that can show its stacks opens their file
    try:
        gated = child.fork(argv, around.environment, places.tree, log, attempt.share)
    except OSError as error:
        return NotStarted(f"starting {argv[0]}: {error.strerror or error}")
    at = time.time()
    claim = Claim(
        schema=SCHEMA,
        job=places.spec.job,
        task=places.task.index,
        attempt=places.attempt,
        allocation=places.allocation,
        at=at,
        supervisor=attempt.supervisor,
        child=gated.process,
        command=argv,
        folder=str(places.tree),
        gpus=attempt.gpus,
        resumed_from=None if resume_from is None else str(resume_from),
    )
    try:
        if not places.store.create(places.key(keys.CLAIM), codec.dump(claim)):
            raise LaunchError("claiming the attempt", came_back="another supervisor has claimed it meanwhile")
    except LaunchError:
        gated.close()  # it ends without having run a single instruction of the command
        raise
    failure = gated.open()
    if failure is not None:
        reason = f"starting {argv[0]} in {places.tree}: {_why(failure, argv[0])}"
        note.write_text(reason, encoding="utf-8", errors="surrogateescape")
        child.reap(gated.process.pid)
        return NotStarted(reason)
    if not around.contained:
        python = around.python or (argv[0] if os.path.basename(argv[0]).startswith("python") else "python3")
        # Its wrapper's notes are not the child's.
        ask = [part if part != str(note) else f"{note}.of-versions" for part in around.wrap((python,))]
        attempt.query = Query(ask, around.environment, places.data / "versions.json", time.monotonic())
    return Started(gated.process, argv, at, True, around.at_end)


def _why(error: OSError, program: str) -> str:
    if error.errno == errno.ENOENT:
        return f"{program} was not found (for a script: or its interpreter was not)"
    if error.errno == errno.ENOEXEC:
        return f"{program} is no program (a script needs a first line like #!/bin/sh)"
    return error.strerror or str(error)


def adopt(places: Places, claim: Claim) -> Started:
    """Go on where another supervisor died."""
    at_end = container.removal(places, os.environ) if places.spec.setup.container is not None else ()
    return Started(claim.child, claim.command, claim.at, False, at_end)


class ExitWatch:
    """Sees the end of a child, ours by birth or by adoption. `ended` stays None while nobody has told the status."""

    def __init__(self, started: Started, loop: Loop) -> None:
        self.ended: Optional[Ended] = None
        self._process = started.child
        self._loop = loop
        self._descriptor = -1
        if processes.alive(started.child):
            try:
                self._descriptor = os.pidfd_open(started.child.pid) if hasattr(os, "pidfd_open") else -1
            except OSError:  # gone meanwhile, or a kernel before 5.3: it is looked at each second
                pass

    def descriptors(self) -> tuple[int, ...]:
        """Readable once it has ended."""
        return (self._descriptor,) if self._descriptor >= 0 else ()

    def over(self) -> bool:
        """Whether it has ended."""
        return self.told() or processes.alive(self._process) is False

    def told(self) -> bool:
        """Whether its status is known: from the kernel for a child of ours, from the agent for an adopted one."""
        if self.ended is None:
            self.ended = self._loop.exited.get(self._process.pid)
        if self.ended is None and self._is_our_child():
            try:
                self.ended = child.peek(self._process.pid)
            except ChildProcessError:
                pass
        return self.ended is not None

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_our_child(self) -> bool:
        found = processes.stat(self._process.pid)
        return found is not None and found.start == self._process.start and found.parent == os.getpid()
