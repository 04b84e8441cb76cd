"""The end of an attempt: outputs collected and committed, the verdict, the exit record, then what is of no use any more."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

from launcher.errors import LaunchError
from launcher.model import codec
from launcher.model.outcome import Outcome, State
from launcher.model.records import SCHEMA, ExitRecord
from launcher.model.units import show_size
from launcher.store import keys, processes
from launcher.supervisor import hardware, verdict
from launcher.supervisor.aside import Aside
from launcher.supervisor.attempt import Attempt
from launcher.supervisor.beats import say
from launcher.supervisor.faults import CommitFailed
from launcher.supervisor.outputs import commit, leftovers
from launcher.supervisor.start import child
from launcher.supervisor.start.child import Ended
from launcher.supervisor.start.program import output_of
from launcher.supervisor.starting import NotStarted, Started
from launcher.supervisor.verdict import Facts, Verdict

QUERY_WAIT_S = 3.0
CONTAINER_S = 20.0
PRUNING_S = 600.0
"""A large checkpoint takes a network disk minutes to delete."""
WRITE_FOR_S = 60.0
"""How long to go on trying to write the exit record on a disk that refuses it, before the agent starts another supervisor."""


@dataclass(frozen=True)
class Finished:
    """What became of the working tree and the outputs."""

    verdict: Verdict
    left: leftovers.Left
    kept: tuple[str, ...]


def end(attempt: Attempt, started: Union[Started, NotStarted], ended: Optional[Ended]) -> int:
    """0 once the exit record lies in the store. Raises StoreError where it cannot be written."""
    if attempt.observer is not None:
        attempt.observer.final_log_scan()
    facts = _facts(attempt, started, ended)
    checkpoint = attempt.checkpoint()  # now: while they are moved they may seem to be gone
    attempt.enter("commit", State.STOPPING if attempt.asked is not None else State.RUNNING)
    if attempt.query is not None:
        limit = time.monotonic() + QUERY_WAIT_S
        query = attempt.query
        attempt.until(lambda: query.poll(time.monotonic()) or time.monotonic() > limit, every=0.05)
        query.end()
    machine = (
        hardware.of_host(attempt.sample.host, attempt.sample.gpus) if attempt.sample else hardware.of_host(None, None)
    )
    finishing = Aside(lambda: _finish(attempt, started, facts, machine), "finish")
    attempt.until(finishing.done, every=0.05)
    finished = finishing.result()
    _tell_left(attempt, finished)
    _close_eyes(attempt)
    record = _record(attempt, finished, facts, ended, machine, checkpoint)
    _write(attempt, record)
    _afterwards(attempt, started, finished)
    return 0


def _facts(attempt: Attempt, started: Union[Started, NotStarted], ended: Optional[Ended]) -> Facts:
    observer = attempt.observer
    if observer is not None:
        attempt.beat(time.monotonic())
    if isinstance(started, NotStarted):
        return Facts(start=started.reason, stop=attempt.asked)
    status = ended or Ended(None)
    note = attempt.places.start_note
    if status.status != 0 and note.exists():
        text = note.read_text(encoding="utf-8", errors="replace").strip()
        return Facts(start=text, stop=attempt.asked)
    if status.status is None and commit.begun(attempt.places):
        status = Ended(0)
    progress = attempt.sample.progress if attempt.sample is not None else None
    complete = progress is not None and None not in (progress.step, progress.total) and progress.step >= progress.total  # type: ignore[operator]
    free = [disk.free for disk in (attempt.sample.disks or () if attempt.sample else ()) if disk.free is not None]
    return Facts(
        code=status.code,
        signal=status.signal,
        stop=attempt.asked,
        declared=observer.declared() if observer is not None else None,
        declared_first=attempt.declared_first,
        oom_kills=attempt.oom_kills(),
        signs=tuple(verdict.Sign(sign.code, sign.line) for sign in (observer.signs() if observer is not None else ())),
        disk_free=min(free, default=None),
        complete=complete,
    )


def _finish(attempt: Attempt, started: Union[Started, NotStarted], facts: Facts, machine: dict[str, Any]) -> Finished:
    """Runs beside the loop: hashing and moving may take long."""
    places = attempt.places
    if isinstance(started, Started) and started.at_end:
        output_of(started.at_end, CONTAINER_S)
    if attempt.observer is not None and attempt.observer.keeper is not None:
        attempt.observer.keeper.stop_pruning(PRUNING_S)
    try:
        leftovers.collect(places)
        facts = replace(facts, missing=commit.missing(places))
        if isinstance(started, Started) and verdict.may_commit(facts):
            sample = attempt.sample
            commit.commit(
                places,
                commit.Facts(
                    command=started.command,
                    inputs=attempt.inputs.wait() if attempt.inputs is not None else (),
                    metrics=dict(sample.metrics) if sample is not None else {},
                    hardware=machine,
                    seconds=attempt.elapsed(),
                    cost=attempt.cost(),
                ),
                time.time(),
            )
    except CommitFailed as error:
        reason = f"{error.outcome.value} while committing: {error!s}".replace("\n", "; ")
        facts = replace(facts, commit=Verdict(error.outcome, reason))
    except (OSError, LaunchError) as error:
        facts = replace(
            facts, commit=Verdict(Outcome.FAILED, f"collecting the outputs: {error}; all is in {places.data}")
        )
    judged = verdict.judge(facts)
    try:
        left = leftovers.sweep(places, int(places.spec.submitted_at))
        outputs = places.data / "outputs"
        kept = [str(outputs)] if leftovers.holds_files(outputs) else []
    except OSError as error:
        say(f"{places.attempt_id}: tidying {places.work}: {error}")
        left, kept = leftovers.Left(0, 0, ()), [str(places.data)]
    if left.files:
        kept.append(str(places.work))
    return Finished(judged, left, tuple(kept))


def _tell_left(attempt: Attempt, finished: Finished) -> None:
    left = finished.left
    if left.files:
        names = ", ".join(left.examples)
        attempt.finding(
            "code",
            "code.undeclared_files",
            "notice",
            f"{left.files} files ({show_size(left.size)}) were written outside of the declared outputs and are kept in "
            f"{attempt.places.work}: {names}",
            "declare them as outputs, or write them to LAUNCH_SCRATCH",
        )


def _close_eyes(attempt: Attempt) -> None:
    """From here on whatever descends from us is the attempt's."""
    if attempt.observer is not None:
        for event in attempt.observer.events():
            attempt.beats.event(str(event.pop("kind", "observed")), time.time(), event)
        attempt.observer.close()
    if attempt.members is not None:
        attempt.members.alone = True
        attempt.end_survivors()


def _record(
    attempt: Attempt,
    finished: Finished,
    facts: Facts,
    ended: Optional[Ended],
    machine: dict[str, Any],
    checkpoint: Optional[str],
) -> ExitRecord:
    places, observer, sample = attempt.places, attempt.observer, attempt.sample
    peaks = observer.peaks() if observer is not None else None
    progress = sample.progress if sample is not None else None
    memory = [size for size in (ended.memory if ended else None, peaks.memory if peaks else None) if size is not None]
    said = attempt.query.answer if attempt.query is not None else {}
    driver = hardware.nvidia_driver()
    return ExitRecord(
        schema=SCHEMA,
        job=places.spec.job,
        task=places.task.index,
        attempt=places.attempt,
        allocation=places.allocation,
        outcome=finished.verdict.outcome,
        reason=finished.verdict.reason,
        started_at=attempt.started_at,
        ended_at=time.time(),
        host=processes.host(),
        exit_code=facts.code,
        signal=facts.signal,
        declared=facts.declared,
        step=progress.step if progress else None,
        total=progress.total if progress else None,
        metrics=dict(sample.metrics) if sample is not None else {},
        peak_memory=max(memory, default=None),
        peak_gpu_memory=peaks.gpu_memory if peaks else None,
        cpu_seconds=ended.cpu if ended else None,
        log_size=_size(attempt),
        cost=attempt.cost(),
        code=places.spec.code.hash,
        hardware=machine,
        versions={**said, **({"nvidia_driver": driver} if driver else {}), "launch": places.spec.version},
        findings=attempt.all_findings(),
        checkpoint=checkpoint,
        kept=finished.kept,
        evidence=attempt.capturing.folder if attempt.capturing is not None else None,
    )


def _size(attempt: Attempt) -> Optional[int]:
    try:
        return os.stat(attempt.places.folder / keys.LOG).st_size
    except OSError:
        return None


def _write(attempt: Attempt, record: ExitRecord) -> None:
    """A full disk may have room again in a moment; the ballast has been given up by now."""
    key, content = attempt.places.key(keys.EXIT), codec.dump(record)
    limit = time.monotonic() + WRITE_FOR_S
    while True:
        try:
            attempt.places.store.create(key, content)
            return
        except LaunchError as error:
            if time.monotonic() > limit:
                raise
            say(f"{attempt.places.attempt_id}: {error}")
            _pause(attempt, 1.0)


def _pause(attempt: Attempt, seconds: float) -> None:
    limit = time.monotonic() + seconds
    attempt.until(lambda: time.monotonic() >= limit, every=seconds)


def _afterwards(attempt: Attempt, started: Union[Started, NotStarted], finished: Finished) -> None:
    """Nothing here can change the verdict."""
    attempt.state = State.ENDED
    attempt.stage = "ended"
    attempt.observer = None
    attempt.beat(time.monotonic())
    if isinstance(started, Started) and started.fresh:
        child.reap(started.child.pid)
    try:
        commit.forget(attempt.places)
        for note in attempt.places.data.glob("start-failed*"):
            note.unlink()
        leftovers.tidy(attempt.places)
        leftovers.remove_unused(attempt.places.folder / keys.STACKS)
    except (OSError, LaunchError) as error:
        say(f"{attempt.places.attempt_id}: tidying up: {error}")
