"""Records in a store to a view: few files are read, garbage is said and harms nothing, and what is shown is safe to show."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from launcher.cli.as_json import job_json
from launcher.cli.escapes import plain
from launcher.cli.grid import Line, paint, width
from launcher.cli.render_job import job_lines
from launcher.cli.render_jobs import jobs_lines
from launcher.errors import EXIT_CANCELLED, EXIT_FAILED, EXIT_FINE, EXIT_NOT_FINISHED, BadRecord, NotFound
from launcher.model.outcome import Outcome, State
from launcher.model.records import Finding, GpuReading, LogReading, Progress
from launcher.model.view import JobView, TaskView
from launcher.operations import stores
from launcher.operations.gather import gather
from launcher.operations.status import Overview, overview, status
from launcher.operations.wait import over, verdict, wait
from launcher.store import keys, processes
from launcher.store.folder import FolderStore
from tests.waiting import until
from tests.written_jobs import Written, dead, large, me, spec

JOB = "train-k3f9"


def job(root: Path, tasks: int = 1, name: str = JOB, **changes: Any) -> Written:
    store = root / ".launch" / "store"
    return Written(FolderStore(store), spec(name, store, tasks, **changes)).submitted()


def text(lines: list[Line]) -> str:
    return "\n".join(paint(line, False) for line in lines)


# --- gather ---------------------------------------------------------------------------------------------------------------


def test_a_job_from_submit_to_end(odd_path: Path) -> None:
    made = job(odd_path, 2)
    assert gather(made.store, JOB, observe=False).state is State.PENDING
    made.allocated().viewed()
    assert gather(made.store, JOB, observe=False).state is State.SUBMITTED
    made.claimed(0)
    assert gather(made.store, JOB, observe=False).tasks[0].state is State.STARTING, "claimed; the view is older"
    made.beat(0).viewed()
    view = gather(made.store, JOB, observe=False)
    assert (view.state, [t.state for t in view.tasks]) == (State.RUNNING, [State.RUNNING, State.SUBMITTED])
    made.exited(0).noted(0).claimed(1).exited(1, Outcome.STALLED)
    view = gather(made.store, JOB, observe=False)
    assert (view.state, view.outcome) == (State.ENDED, Outcome.STALLED)
    made.noted(1, Outcome.STALLED).released()
    assert gather(made.store, JOB, observe=False).outcome is Outcome.STALLED


def test_where_evidence_and_uncommitted_work_lie_is_shown_to_be_copied(odd_path: Path) -> None:
    made = job(odd_path, 3).allocated()
    kept: dict[str, Any] = {"evidence": "evidence", "kept": ("/work space/outputs",)}
    made.claimed(0).exited(0, Outcome.STALLED, **kept).claimed(1).exited(1, kept=("/tree",))
    stalled = Finding("stall", "stall.stalled", "warning", "nothing moves", 1.0)
    made.claimed(2).beat(2, findings=(stalled,)).viewed()
    folder = made.store.path(keys.of_attempt(JOB, 2, 1, keys.EVIDENCE))
    folder.mkdir()
    (folder / "stacks.txt").touch()
    assert gather(made.store, JOB, observe=False, detail=9).tasks[2].evidence is None, "nothing was captured yet"
    (folder / "01-stacks.txt").touch()
    view = gather(made.store, JOB, observe=False, detail=9)
    assert view.tasks[2].evidence == str(folder)
    named = made.store.path(keys.of_attempt(JOB, 0, 1, "evidence"))
    for room in (None, 60):
        said = text(job_lines(view, time.time(), room))
        assert "task 0  kept: /work space/outputs" in said and "/tree" not in said
        assert f"task 0  evidence: {plain(str(named))}" in said and f"task 2  evidence: {plain(str(folder))}" in said
    told = job_json(view)["tasks"][0]
    assert told["evidence"] == str(named) and told["kept"] == ["/work space/outputs"]


def test_an_unknown_job_and_one_without_a_readable_spec(tmp_path: Path) -> None:
    made = job(tmp_path)
    with pytest.raises(NotFound):
        gather(made.store, "train-zzzz")
    made.store.replace(keys.spec(JOB), b"{")
    with pytest.raises(BadRecord):
        gather(made.store, JOB)


def test_processes_of_this_host_are_looked_at(tmp_path: Path) -> None:
    made = job(tmp_path).allocated().claimed(0).viewed(agent=dead())
    made.beat(0, supervisor=dead(), child=dead(), host=processes.host())
    found = gather(made.store, JOB, observe=False).tasks[0]
    assert (found.outcome, found.why) == (Outcome.NODE_LOST, "its agent is dead")
    made.beat(0, supervisor=me(), child=dead(), host=processes.host())
    assert gather(made.store, JOB, observe=False).tasks[0].state is State.RUNNING


def test_silence_is_measured_by_this_readers_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [5000.0]
    monkeypatch.setattr("launcher.operations.gather.time.monotonic", lambda: now[0])
    made = job(tmp_path).allocated().claimed(0).viewed()
    skewed = time.time() + 86400
    made.beat(0, at=skewed)
    assert gather(made.store, JOB, observe=False).tasks[0].silent is None
    now[0] += 100
    assert gather(made.store, JOB, observe=False).tasks[0].silent == 100
    made.beat(0, seq=2, at=skewed)
    assert gather(made.store, JOB, observe=False).tasks[0].silent is None
    now[0] += 7
    found = gather(made.store, JOB, observe=False).tasks[0]
    assert (found.silent, found.seen) == (None, 7)


def test_a_cache_of_sightings_that_is_garbage_or_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = job(tmp_path).allocated().claimed(0).beat(0).viewed()
    gather(made.store, JOB, observe=False)
    files = list((tmp_path / "cache").rglob("sightings/*"))
    assert files
    for content in (
        b"",
        b"\xff",
        b"[]",
        b'{"boot": 1}',
        b'{"boot":"%s","seen":{"task/0/1":[1]}}' % processes.boot_id().encode(),
    ):
        files[0].write_bytes(content)
        assert gather(made.store, JOB, observe=False).tasks[0].state is State.RUNNING
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert gather(made.store, JOB, observe=False).tasks[0].state is State.RUNNING


def test_a_retry_is_a_newer_order(tmp_path: Path) -> None:
    made = job(tmp_path, 2).allocated().noted(0, Outcome.FAILED).exited(0, Outcome.FAILED).noted(1).exited(1).released()
    later = made.next_order("a2", (0,))
    found = gather(made.store, JOB, observe=False)
    assert [t.state for t in found.tasks] == [State.PENDING, State.ENDED]
    assert "attempt 1 failed" in (found.tasks[0].why or "")
    later.claimed(0, 2).viewed().beat(0, 2)
    found = gather(made.store, JOB, observe=False)
    assert (found.tasks[0].state, found.tasks[0].attempt) == (State.RUNNING, 2)
    later.exited(0, attempt=2).noted(0, attempt=2)
    assert gather(made.store, JOB, observe=False).outcome is Outcome.SUCCEEDED


def test_a_torn_line_of_the_agent_is_read_from_the_exit_record(tmp_path: Path) -> None:
    made = job(tmp_path, 2).allocated().noted(0).exited(0).noted(1).exited(1, Outcome.OUT_OF_DISK)
    segment = made.store.path(keys.ended_segment(JOB, "a1"))
    segment.write_bytes(segment.read_bytes()[:-9])
    made.viewed()
    found = gather(made.store, JOB, observe=False)
    assert [t.outcome for t in found.tasks] == [Outcome.SUCCEEDED, Outcome.OUT_OF_DISK]
    assert found.problems == ()


def test_a_record_that_belongs_elsewhere_is_no_testimony(tmp_path: Path) -> None:
    made = job(tmp_path, 2).allocated().claimed(0).viewed()
    made.exited(1)
    os.rename(
        made.store.path(keys.of_attempt(JOB, 1, 1, keys.EXIT)), made.store.path(keys.of_attempt(JOB, 0, 1, keys.EXIT))
    )
    found = gather(made.store, JOB, observe=False)
    assert found.tasks[0].state is not State.ENDED
    assert "of attempt 1 of task 1" in found.problems[0]


def test_upstream_jobs(tmp_path: Path) -> None:
    first = job(tmp_path, name="collect-2222").allocated()
    then = job(tmp_path, after=("collect-2222", "gone-3333")).allocated()
    assert gather(then.store, JOB, observe=False).tasks[0].why == "waiting for collect-2222"
    first.noted(0, Outcome.FAILED).exited(0, Outcome.FAILED).released()
    found = gather(then.store, JOB, observe=False)
    assert "upstream collect-2222 failed" in (found.tasks[0].why or "")
    assert "gone-3333" in found.problems[0]
    endless = replace(then.spec, after=(JOB,))
    Written(then.store, endless).submitted()
    assert gather(then.store, JOB, observe=False).tasks[0].why == f"waiting for {JOB}"


def test_cost_counts_attempts_that_were_followed_by_another(tmp_path: Path) -> None:
    made = job(tmp_path, 2).allocated().noted(0, Outcome.FAILED, cost=1.0).claimed(0, 2).beat(0, 2, cost=0.25).viewed()
    assert gather(made.store, JOB, observe=False).cost == 1.25
    assert gather(job(tmp_path, name="free-2222").store, "free-2222", observe=False).cost is None


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """The files that are opened for reading, by an audit hook."""
    found: list[str] = []
    active = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if active[0] and event == "open":
            found.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else "")

    sys.addaudithook(hook)
    try:
        yield found
    finally:
        active[0] = False


def test_a_large_job_is_read_in_few_files(tmp_path: Path) -> None:
    made = large(tmp_path / "store", "sweep-2222", 2000, 5)
    with opened_files() as files:
        view = status(made.store, "sweep-2222", observe=False)
    read = [name for name in files if str(made.store.root) in name]
    assert view.counts() == {"succeeded": 1988, "failed": 2, "running": 5, "submitted": 5}
    assert len(read) < 40, read


# --- garbage --------------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**18, 10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
RECORDS = (
    keys.of_attempt(JOB, 0, 1, keys.HEARTBEAT),
    keys.of_attempt(JOB, 0, 1, keys.CLAIM),
    keys.of_attempt(JOB, 1, 1, keys.EXIT),
    keys.of_attempt(JOB, 1, 1, keys.HEARTBEAT),
    keys.agent_view(JOB, "a1"),
    keys.order(JOB, "a1"),
    keys.ended_segment(JOB, "a1"),
    keys.released(JOB, "a1"),
    keys.stop(JOB, 1.0, "s1"),
    keys.event(JOB, 1.0, "e1"),
)


def written(root: Path) -> Written:
    made = job(root, 3).allocated().claimed(0)
    made.beat(
        0,
        gpus=(GpuReading(0, "H100", None, 0.5, 10**9),),
        findings=(Finding("disk", "disk.filling", "warning", "filling", 1.0, "free some"),),
        metrics={"loss": 0.5},
    )
    made.noted(1).exited(1).beat(1).viewed()
    return made


def shown(view: JobView) -> None:
    """Everything that a person or a program is shown can be shown."""
    for room in (None, 20, 80, 160):
        for line in (*job_lines(view, time.time(), room), *jobs_lines(Overview((view,), 1), time.time(), room)):
            paint(line, True).encode()
    json.loads(json.dumps(job_json(view), allow_nan=False))
    verdict(view.tasks)


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))


def changed(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = changed(data[path[0]], path[1:], value)
    return copy


FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(
    st.sampled_from(RECORDS), st.binary(max_size=60) | JSON.map(lambda v: json.dumps(v).encode()), st.integers(0, 400)
)
@example(RECORDS[0], b"[" * 100_000, 0)
@example(RECORDS[2], b"\xff\xfe", 0)
def test_garbage_in_a_record(tmp_path: Path, key: str, content: bytes, kept: int) -> None:
    made = written(tmp_path)
    whole = made.store.read(key) or b""
    made.store.replace(key, whole[:kept] + content, sync=False)
    view = gather(made.store, JOB, observe=False, detail=64)
    shown(view)
    made.store.remove(key)


@FUZZ
@given(st.data())
def test_a_wrong_value_in_a_record(tmp_path: Path, data: st.DataObject) -> None:
    made = written(tmp_path)
    key = data.draw(st.sampled_from([one for one in RECORDS if made.store.read(one)]))
    record = json.loads((made.store.read(key) or b"").splitlines()[0])
    path = data.draw(st.sampled_from(list(leaves(record))))
    content = json.dumps(changed(record, path, data.draw(JSON))).encode() + b"\n"
    made.store.replace(key, content, sync=False)
    view = gather(made.store, JOB, observe=False, detail=64)
    shown(view)
    assert all(t.outcome is not Outcome.SUCCEEDED for t in view.tasks if t.index != 1)
    made.store.remove(key)


def test_folders_where_records_should_be(tmp_path: Path) -> None:
    made = written(tmp_path)
    for key in RECORDS:
        made.store.remove(key)
        made.store.path(key).mkdir(parents=True, exist_ok=True)
    view = gather(made.store, JOB, observe=False)
    shown(view)
    assert view.problems


# --- all jobs -------------------------------------------------------------------------------------------------------------


def test_all_jobs_newest_first_and_one_that_is_garbage(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    made = job(tmp_path, name="old-2222")
    for place, name in enumerate(("old-2222", "new-2222", "bad-2222")):
        job(tmp_path, name=name)
        if name == "bad-2222":
            made.store.replace(keys.spec(name), b"{}")
        os.utime(made.store.path(keys.spec(name)), (place + 100, place + 100))
    made.store.claim(keys.job("torn-2222"))
    found = overview(tmp_path, observe=False)
    jobs, older = found.jobs, found.older
    assert [view.job for view in jobs] == ["bad-2222", "new-2222", "old-2222", "torn-2222"]
    assert older == 0
    assert jobs[0].state is State.UNKNOWN
    assert jobs[0].problems
    for view in jobs:
        shown(view)
    assert [view.job for view in overview(tmp_path, 1, observe=False).jobs] == ["bad-2222"]
    assert overview(tmp_path, 1, observe=False).older == 3


# --- wait -----------------------------------------------------------------------------------------------------------------


def test_wait_ends_with_the_job(tmp_path: Path) -> None:
    made = job(tmp_path, 2).allocated().claimed(0).viewed()
    assert not over(wait(made.store, JOB, timeout=0.0))
    looks: list[JobView] = []

    def look(view: JobView) -> None:
        looks.append(view)
        if len(looks) == 2:
            made.exited(0).claimed(1).exited(1, Outcome.CANCELLED)

    view = wait(made.store, JOB, timeout=30, on_look=look)
    assert (len(looks), verdict(view.tasks)) == (3, EXIT_CANCELLED)
    assert verdict(wait(made.store, JOB, task=0).tasks[:1]) == EXIT_FINE


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([Outcome.SUCCEEDED, Outcome.SUCCEEDED], EXIT_FINE),
        ([Outcome.SUCCEEDED, Outcome.STALLED], EXIT_FAILED),
        ([Outcome.CANCELLED, Outcome.FAILED], EXIT_FAILED),
        ([Outcome.SUCCEEDED, Outcome.CANCELLED], EXIT_CANCELLED),
        ([Outcome.UNKNOWN], EXIT_FAILED),
        ([Outcome.SUCCEEDED, None], EXIT_NOT_FINISHED),
        ([], EXIT_NOT_FINISHED),
    ],
)
def test_the_verdict_is_an_exit_code(outcomes: list[Outcome | None], code: int) -> None:
    tasks = [TaskView(i, State.RUNNING if o is None else State.ENDED, o) for i, o in enumerate(outcomes)]
    assert verdict(tasks) == code


# --- what is shown --------------------------------------------------------------------------------------------------------


def busy(root: Path) -> JobView:
    made = job(root, 4).allocated().claimed(0).claimed(1)
    log = LogReading(9, "\x1b[2J\x1b[31mstep 4\x1b[0m 漢字 " + "long " * 60, 1.0)
    made.beat(0, log=log, cost=1.5, progress=Progress(41, 100, "generate", left=300.0))
    made.beat(1, findings=(Finding("disk", "disk.filling", "act", "/data is 93% full", 1.0, "free some"),))
    made.noted(2, Outcome.OUT_OF_MEMORY).exited(2, Outcome.OUT_OF_MEMORY, reason="CUDA out of memory")
    return status(made.viewed(waiting_for="a GPU").store, JOB, observe=False)


@pytest.mark.parametrize("room", [40, 80, 120, 160, 240])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, room: int) -> None:
    view = busy(tmp_path)
    lines = [
        paint(line, False)
        for line in (*job_lines(view, time.time(), room), *jobs_lines(Overview((view,), 3, 2), time.time(), room))
    ]
    for line in lines[2:] if room < 80 else lines:
        assert width(line) <= room, line
    assert "\x1b" not in "".join(lines)


def test_a_pipe_gets_whole_cells_without_drawings(tmp_path: Path) -> None:
    found = text(job_lines(busy(tmp_path), time.time(), None))
    assert "long " * 59 + "long" in found
    assert "41%" in found
    assert "━" not in found
    assert "✘ out of memory" in found
    assert "hint: free some" in found
    assert "a GPU" in found


def test_many_tasks_are_grouped_and_the_interesting_ones_shown(tmp_path: Path) -> None:
    made = large(tmp_path / "store", "sweep-2222", 1100, 50)
    view = status(made.store, "sweep-2222", observe=False)
    found = text(job_lines(view, time.time(), None))
    assert "0-4,6-999" in found
    assert "and 39 more of these" in found
    assert len(found.splitlines()) < 40
    assert len(text(job_lines(view, time.time(), None, everything=True)).splitlines()) > 1100


def test_the_projects_own_jobs_are_shown_and_others_counted(tmp_path: Path) -> None:
    """Two projects that were both used from here; a folder without any job sees all that are known."""
    for name, jobs in (("near", 2), ("far", 3)):
        (tmp_path / name / "jobs").mkdir(parents=True)
        made = FolderStore(tmp_path / name / ".launch" / "store")
        stores.remember(made.root)
        for number in range(jobs):
            made.create(keys.spec(f"{name}-{number}222"), b"{}")
    near = overview(tmp_path / "near", observe=False)
    assert ({view.job for view in near.jobs}, near.older, near.elsewhere) == ({"near-0222", "near-1222"}, 0, 3)
    assert "and 3 of other projects; all of them: launch status --all" in text(jobs_lines(near, time.time(), None))
    assert len(overview(tmp_path / "near", everywhere=True, observe=False).jobs) == 5
    (tmp_path / "empty" / "jobs").mkdir(parents=True)
    nowhere = overview(tmp_path / "empty", 4, observe=False)
    assert (len(nowhere.jobs), nowhere.older, nowhere.elsewhere) == (4, 1, 0)


def test_watch_draws_until_the_job_has_ended(tmp_path: Path) -> None:
    """On a real terminal of a known size."""
    (tmp_path / "jobs").mkdir()
    made = job(tmp_path, 1).allocated().claimed(0).beat(0).viewed()
    session = f"test-{os.getpid()}"
    out = tmp_path / "left on screen"
    line = f"{shlex.quote(sys.executable)} -m launcher.cli.main status {JOB} --watch; echo code $?; sleep 100"
    tmux = ["tmux", "-L", session]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run(
        [*tmux, "new-session", "-d", "-x", "100", "-y", "20", line], cwd=tmp_path, env=environment, check=True
    )

    def screen() -> str:
        found = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True).stdout
        out.write_text(found)
        return found

    try:
        until(lambda: "● running" in screen(), 20, screen)
        made.exited(0).noted(0).released()
        until(lambda: "code 0" in screen(), 20, screen)
        assert "✔ succeeded" in screen()
        assert screen().count(f"{JOB}  on local") == 1, "one picture is left"
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
