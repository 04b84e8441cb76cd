"""The observer on real children: a busy one, a silent one, one that spins, and sources that hang."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.model.job import Code, JobSpec, Place, TaskSpec
from launcher.model.outcome import Outcome
from launcher.model.phase import Checkpoints, Resources, Watch, Watches
from launcher.store import keys
from launcher.store.processes import descendants
from launcher.supervisor.observer import Judgement, Observer, Sample, Watched
from tests.waiting import until

BEAT = 0.1


def spec(**changes: Any) -> JobSpec:
    plain = JobSpec(
        schema=1,
        job="watched-aaaa",
        phase="watched",
        name="watched",
        submitted_at=0.0,
        submitted_by="somebody@here",
        version="0",
        place=Place("local", "local", {}, "/nowhere", "/nowhere"),
        code=Code("here", ""),
        kit="",
        command=("true",),
        shell=False,
        params={},
        tasks=(TaskSpec(0),),
        resources=(Resources(),),
        beat=BEAT,
        watch=Watches(stall_after=1.0),
    )
    return replace(plain, **changes)


class Look:
    """A child, and an observer that beats until something is seen."""

    def __init__(self, folder: Path, code: str, job: JobSpec, **watched: Any) -> None:
        environ = {
            **os.environ,
            "LAUNCH_PROGRESS": str(folder / keys.PROGRESS),
            "LAUNCH_METRICS": str(folder / keys.METRICS),
            "PYTHONUNBUFFERED": "1",
        }
        with open(folder / keys.LOG, "ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-c", code], stdout=log, stderr=log, start_new_session=True, env=environ
            )
        given = {
            "spec": job,
            "task": job.tasks[0],
            "attempt": 1,
            "folder": folder,
            "checkpoints": None,
            "disks": (folder,),
            "gpus": (),
            "started_at": time.time(),
            "price": None,
            "pids": lambda: descendants([self.child.pid]),
        }
        self.observer = Observer(Watched(**{**given, **watched}))
        self.observer.start()
        self.sample: Sample | None = None
        self.judgement = Judgement()

    def beat(self) -> Sample:
        time.sleep(BEAT)
        self.sample = self.observer.sample(time.monotonic(), time.time())
        self.judgement = self.observer.judge(self.sample)
        return self.sample

    def until(self, condition: Callable[[Sample], object], what: str, deadline: float = 20.0) -> Sample:
        def look() -> Sample | None:
            sample = self.beat()
            return sample if condition(sample) else None

        found = until(look, deadline, lambda: f"{what}; {self.sample}; {self.judgement}")
        assert found is not None
        return found

    def codes(self) -> set[str]:
        return {finding.code for finding in self.judgement.findings}

    def end(self) -> None:
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait(10)
        self.observer.close()


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Callable[..., Look]]:
    begun: list[Look] = []

    def begin(code: str, job: JobSpec | None = None, **watched: Any) -> Look:
        folder = tmp_path / "an attempt's\nfolder"
        folder.mkdir()
        begun.append(Look(folder, code, job or spec(), **watched))
        return begun[-1]

    yield begin
    for one in begun:
        one.end()


TELLING = """
import sys, time
sys.path.insert(0, {here!r})
from launcher import task
x = 0
for step in range(100000):
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        x += 1
    task.progress(step, 100000, stage="train")
    task.metric(step, loss=1 / (step + 1))
    print(f"step {{step}} loss={{1 / (step + 1):.4f}}", flush=True)
"""


def telling() -> str:
    return TELLING.format(here=str(Path(__file__).parent.parent))


def test_a_busy_child_is_seen_to_work(look: Callable[..., Look]) -> None:
    seen = look(telling(), spec(resources=(Resources(time=3600.0),)), price=3600.0)
    sample = seen.until(
        lambda one: (
            one.tree and one.tree.cpu and one.progress and one.progress.rate and one.log and one.disks and one.host
        ),
        "all readings of a busy child",
    )
    assert sample.tree and sample.progress and sample.log and sample.disks and sample.host
    assert sample.tree.cpu is not None and 0.05 < sample.tree.cpu < 2
    assert sample.tree.memory is not None and sample.tree.memory > 1 << 20
    assert sample.progress.total == 100000 and sample.progress.stage == "train"
    assert sample.progress.left is not None and sample.progress.left > 0
    assert sample.log.last_line is not None and sample.log.last_line.startswith("step ")
    assert 0 < sample.metrics["loss"] <= 1
    assert sample.disks[0].free is not None
    assert sample.gpus is None or isinstance(sample.gpus, tuple)
    assert sample.cost is not None and abs(sample.cost - sample.elapsed) < 1e-6  # $3600 an hour is $1 a second
    seen.until(lambda one: one.elapsed > 2.5, "twice the time after which silence is a stall")
    assert not {code for code in seen.codes() if code.startswith("stall")}
    assert seen.judgement.stop is None
    assert seen.observer.peaks().memory is not None


def test_a_silent_idle_child_is_stalled_and_ended_only_where_that_is_asked_for(look: Callable[..., Look]) -> None:
    watches = Watches(stall_after=1.0, stall=Watch.STOP)
    seen = look("print('loading', flush=True)\nimport time\ntime.sleep(600)", spec(watch=watches))
    evidence: list[bool] = []

    def stopped(_: Sample) -> bool:
        evidence.append(seen.judgement.evidence)
        return seen.judgement.stop is not None

    seen.until(stopped, "the stall to be acted on")
    assert seen.judgement.stop is not None
    assert seen.judgement.stop.outcome is Outcome.STALLED
    assert seen.judgement.stop.finding.code == "stall.stalled"
    assert any(evidence), "evidence comes before the end"


def test_a_silent_busy_child_is_not_called_dead(look: Callable[..., Look]) -> None:
    watches = Watches(stall_after=1.0, stall=Watch.STOP)
    seen = look("x = 0\nwhile True: x += 1", spec(watch=watches))
    seen.until(lambda _: "stall.silent_but_busy" in seen.codes(), "silent but busy")
    for _ in range(10):
        seen.beat()
        assert seen.judgement.stop is None
        assert "stall.stalled" not in seen.codes()


def test_a_child_whose_steps_stand_still_while_it_is_busy_spins(look: Callable[..., Look]) -> None:
    code = telling().split("for step")[0] + (
        "for step in range(8):\n    time.sleep(0.15)\n    task.progress(step, 100)\n"
        "while True:\n    print('still alive', flush=True)\n    x = sum(range(2000000))\n"
    )
    seen = look(code, spec(watch=Watches(stall_after=1.5, stall=Watch.STOP)))
    seen.until(lambda _: seen.judgement.stop is not None, "spinning to be acted on")
    assert seen.judgement.stop is not None
    assert seen.judgement.stop.finding.code == "stall.spinning"
    assert "at step 7" in seen.judgement.stop.reason


def test_what_is_said_at_the_very_end_is_read(look: Callable[..., Look]) -> None:
    code = telling().split("x = 0")[0] + (
        "time.sleep(0.5)\nprint('CUDA out of memory. Tried to allocate 2 GiB', flush=True)\n"
        "task.metric(3, val_loss=0.25)\ntask.fail('out of memory', 'the batch is too large')\n"
    )
    seen = look(code)
    seen.beat()
    seen.child.wait(20)
    seen.observer.final_log_scan()
    declared = seen.observer.declared()
    assert declared is not None
    assert declared.outcome is Outcome.OUT_OF_MEMORY
    assert "cuda_out_of_memory" in {sign.code for sign in seen.observer.signs()}
    assert seen.beat().metrics["val_loss"] == 0.25


def test_checkpoints_are_pruned_and_the_newest_is_named(look: Callable[..., Look], tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for number in range(1, 5):
        (folder / f"step-{number}").mkdir()
        (folder / f"step-{number}" / "state.json").write_text(json.dumps({"step": number}))
    seen = look(
        "import time; time.sleep(600)",
        spec(checkpoints=Checkpoints(path="checkpoints", keep_last=2), code=Code("snapshot", "")),
        checkpoints=folder,
    )
    seen.until(lambda _: sorted(path.name for path in folder.iterdir()) == ["step-3", "step-4"], "two to be left")
    seen.until(lambda _: seen.observer.newest_checkpoint() == folder / "step-4", "the newest to be named")
    pruned = [event["path"] for event in seen.observer.events() if event["kind"] == "pruned"]
    assert pruned == [str(folder / "step-1"), str(folder / "step-2")]


def test_a_series_for_plots_is_left_behind(look: Callable[..., Look]) -> None:
    seen = look(telling())
    path = seen.observer._watched.folder / keys.TELEMETRY
    seen.until(lambda _: path.exists(), "telemetry to be written")
    points = [json.loads(line) for line in path.read_text().splitlines()]
    assert points and all(point["t"] > 0 for point in points)
    assert any("cpu" in point for point in points)


HANGING = """
import os, sys, threading, time
from pathlib import Path
from launcher.supervisor.readings import disks
forever = threading.Event()
def hang(path):
    forever.wait()
disks._statvfs = hang
from tests.test_observer import spec
from launcher.supervisor.observer import Observer, Watched
job = spec()
observer = Observer(Watched(job, job.tasks[0], 1, Path(sys.argv[1]), None, (Path(sys.argv[1]),), (), time.time(), None,
                            lambda: [os.getpid()]))
observer.start()
longest, seen = 0.0, None
limit = time.monotonic() + 20
while time.monotonic() < limit:
    before = time.monotonic()
    seen = observer.sample(before, time.time())
    observer.judge(seen)
    longest = max(longest, time.monotonic() - before)
    if any(name.startswith("disk") for name in seen.missing):
        break
    time.sleep(0.1)
assert any(name.startswith("disk") for name in seen.missing), seen
assert seen.tree and seen.host and seen.log, seen
assert longest < 1.0, longest
events = observer.events()
assert any(event["kind"] == "source missing" for event in events), events
observer.close()
print("went on")
"""


def test_a_statvfs_that_never_returns_holds_up_neither_readings_nor_the_end(tmp_path: Path) -> None:
    begun = time.monotonic()
    answer = subprocess.run(
        [sys.executable, "-c", HANGING, str(tmp_path)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.stdout == "went on\n", answer.stderr
    assert answer.returncode == 0
    assert time.monotonic() - begun < 60
