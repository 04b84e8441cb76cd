"""tail: not a byte twice, not a byte lost, attempt after attempt."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.cli.tail import visible
from launcher.errors import NotFound, StoreError, UsageError
from launcher.model.outcome import Outcome, State
from launcher.model.view import JobView, TaskView
from launcher.operations import tail as stream
from launcher.operations.tail import Finished, Item, Line, Note, TailRequest
from launcher.store import keys, logs
from launcher.store.folder import FolderStore

JOB = "walk-k3f9"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "a store's \n folder")


def write(store: FolderStore, task: int, attempt: int, content: bytes, mode: str = "ab") -> None:
    path = store.path(keys.of_attempt(JOB, task, attempt, keys.LOG))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode) as log:
        log.write(content)


def view(*tasks: TaskView) -> JobView:
    over = all(task.state is State.ENDED for task in tasks)
    outcome = Outcome.SUCCEEDED if over else None
    return JobView(JOB, "walk", "walk", "local", "local", 0.0, State.ENDED if over else State.RUNNING, outcome, tasks)


def running(task: int, attempt: int = 1) -> TaskView:
    return TaskView(task, State.RUNNING, attempt=attempt)


def ended(task: int, attempt: int = 1, outcome: Outcome = Outcome.SUCCEEDED) -> TaskView:
    return TaskView(task, State.ENDED, outcome, attempt=attempt)


def follow(store: FolderStore, steps: list[tuple[JobView, Callable[[], None]]], request: TailRequest) -> list[Item]:
    """Play a job: each look at the records sees the next view, and its act is done between two looks at the logs."""
    looks = iter(steps)
    act: list[Callable[[], None]] = []

    def look(_store: FolderStore, _job: str) -> JobView:
        seen, then = next(looks)
        act.append(then)
        return seen

    def sleep(_seconds: float) -> None:
        while act:
            act.pop(0)()

    return list(stream.tail(store, JOB, request, look=look, sleep=sleep))


def text_of(items: list[Item], task: int = 0, attempt: int | None = None) -> bytes:
    lines = [i for i in items if isinstance(i, Line) and i.task == task and not i.bar and attempt in (None, i.attempt)]
    return b"".join(line.content + (b"\n" if line.ended else b"") for line in lines)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LOOK", 0.01)
    monkeypatch.setattr(stream, "POLL", 0.0)


def test_a_log_that_grows_comes_whole_and_once(store: FolderStore) -> None:
    write(store, 0, 1, b"one\ntw")
    items = follow(
        store,
        [
            (view(running(0)), lambda: write(store, 0, 1, b"o\nthree\n")),
            (view(running(0)), lambda: write(store, 0, 1, b"no newline at the end")),
            (view(ended(0)), lambda: None),
        ],
        TailRequest(),
    )
    assert text_of(items) == b"one\ntwo\nthree\nno newline at the end"
    assert isinstance(items[-1], Finished)


def test_the_end_of_an_attempt_is_read_before_the_next_one_begins(store: FolderStore) -> None:
    """Attempt 1 writes on after the last look, attempts 2 and 3 start and 2 ends before the next one."""

    def between() -> None:
        write(store, 0, 1, b"last words of one\n")
        write(store, 0, 2, b"two\n")
        write(store, 0, 3, b"three\n")

    write(store, 0, 1, b"first\n")
    items = follow(store, [(view(running(0)), between), (view(ended(0, 3)), lambda: None)], TailRequest(lines=5))
    assert text_of(items, attempt=1) == b"first\nlast words of one\n"
    assert text_of(items, attempt=2) == b"two\n"
    assert text_of(items, attempt=3) == b"three\n"


def test_a_task_that_starts_later_is_followed_from_its_first_line(store: FolderStore) -> None:
    pending = TaskView(1, State.PENDING, why="waiting for a GPU")
    for n in range(100):
        write(store, 0, 1, b"%d\n" % n)
    items = follow(
        store,
        [
            (view(running(0), pending), lambda: write(store, 1, 1, b"".join(b"line %d\n" % n for n in range(50)))),
            (view(running(0), running(1)), lambda: None),
            (view(ended(0), ended(1)), lambda: None),
        ],
        TailRequest(lines=2),
    )
    assert text_of(items, 0) == b"98\n99\n"
    assert text_of(items, 1).count(b"\n") == 50
    assert any(isinstance(item, Note) and "waiting for a GPU" in item.text for item in items)


def test_pending_tasks_that_wait_for_the_same_are_one_note(store: FolderStore) -> None:
    tasks = [TaskView(index, State.PENDING, why="waiting for 1 cpu") for index in range(500)]
    items = follow(store, [(view(*tasks), lambda: None)], TailRequest(follow=False))
    notes = [item for item in items if isinstance(item, Note)]
    assert [note.text for note in notes] == ["tasks 0-499: waiting for 1 cpu"]


def test_without_follow_the_job_as_it_stands_is_shown_and_nothing_waited_for(store: FolderStore) -> None:
    write(store, 0, 1, b"a\nb\nc\n")
    items = follow(store, [(view(running(0)), lambda: None)], TailRequest(lines=2, follow=False))
    assert text_of(items) == b"b\nc\n"
    assert isinstance(items[-1], Finished) and items[-1].job.state is State.RUNNING


def test_all_lines_include_those_of_earlier_attempts(store: FolderStore) -> None:
    write(store, 0, 1, b"one\n")
    write(store, 0, 2, b"two\n")
    items = follow(store, [(view(ended(0, 2)), lambda: None)], TailRequest(follow=False))
    assert text_of(items) == b"one\ntwo\n"


def test_only_and_grep_and_tasks_choose(store: FolderStore) -> None:
    write(store, 0, 1, b"fine\n")
    write(store, 1, 1, b"loss=nan\nother\n")
    seen = view(ended(0), ended(1, outcome=Outcome.FAILED))
    failed = follow(store, [(seen, lambda: None)], TailRequest(only="failed", follow=False))
    assert text_of(failed, 0) == b"" and text_of(failed, 1) == b"loss=nan\nother\n"
    matched = follow(store, [(seen, lambda: None)], TailRequest(grep="loss=(nan|inf)", follow=False))
    assert text_of(matched, 1) == b"loss=nan\n"
    one = follow(store, [(seen, lambda: None)], TailRequest(tasks=frozenset({0}), follow=False))
    assert text_of(one, 0) == b"fine\n" and text_of(one, 1) == b""
    with pytest.raises(UsageError, match="no regular expression"):
        list(stream.tail(store, JOB, TailRequest(grep="("), look=lambda *_: seen))


def test_a_store_that_does_not_answer_is_said_once_and_the_stream_goes_on(store: FolderStore) -> None:
    write(store, 0, 1, b"one\n")
    answers: list[JobView | StoreError] = [
        view(running(0)),
        StoreError("reading", came_back="stale file handle"),
        StoreError("reading", came_back="stale file handle"),
        view(ended(0)),
    ]

    def look(_store: FolderStore, _job: str) -> JobView:
        answer = answers.pop(0)
        if isinstance(answer, StoreError):
            raise answer
        return answer

    items = list(stream.tail(store, JOB, TailRequest(), look=look, sleep=lambda _: None))
    notes = [item.text for item in items if isinstance(item, Note) and "cannot be read" in item.text]
    assert len(notes) == 1
    assert text_of(items) == b"one\n"


def test_a_log_that_somebody_cut_is_shown_again_and_said(store: FolderStore) -> None:
    write(store, 0, 1, b"a long first line\n")
    items = follow(
        store,
        [
            (view(running(0)), lambda: write(store, 0, 1, b"new\n", "wb")),
            (view(running(0)), lambda: None),
            (view(ended(0)), lambda: None),
        ],
        TailRequest(),
    )
    assert text_of(items) == b"a long first line\nnew\n"
    assert any(isinstance(item, Note) and "was cut" in item.text for item in items)


def test_a_progress_bar_shows_its_newest_state_and_comes_whole_when_its_line_ends(store: FolderStore) -> None:
    bar = b"".join(b"\r%3d%%" % n for n in range(100))
    write(store, 0, 1, bar)
    items = follow(
        store,
        [
            (view(running(0)), lambda: None),
            (view(running(0)), lambda: write(store, 0, 1, b"\r100%\n")),
            (view(ended(0)), lambda: None),
        ],
        TailRequest(),
    )
    assert [item.content for item in items if isinstance(item, Line) and item.bar] == [b" 99%"]
    assert text_of(items) == bar + b"\r100%\n"
    assert visible(bar + b"\r100%") == b"100%"
    assert visible(b"50%\r") == b"50%"
    assert visible(b"\r\r") == b""


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(0, 8))
@settings(max_examples=60, deadline=None)
def test_any_bytes_in_any_pieces_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], more: int
) -> None:
    store = FolderStore(tmp_path_factory.mktemp("any"))
    write(store, 0, 1, b"")
    steps = [(view(running(0)), lambda piece=piece: write(store, 0, 1, piece)) for piece in pieces]
    steps += [(view(running(0)), lambda: None)] * more + [(view(ended(0)), lambda: None)]
    assert text_of(follow(store, steps, TailRequest())) == b"".join(pieces)


@given(st.lists(st.sampled_from([b"", b"a", b"\n", b"line\n", b"x" * 70_000]), max_size=12), st.integers(0, 6))
@settings(max_examples=80, deadline=None)
def test_the_last_lines_are_the_last_lines(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], lines: int
) -> None:
    store = FolderStore(tmp_path_factory.mktemp("last"))
    content = b"".join(pieces)
    write(store, 0, 1, content)
    offset = logs.offset_of_last(store, keys.of_attempt(JOB, 0, 1, keys.LOG), lines)
    expected = content.splitlines(keepends=True)
    assert content[offset:] == b"".join(expected[max(0, len(expected) - lines) :])


def test_since_goes_by_the_sizes_in_the_telemetry(store: FolderStore) -> None:
    write(store, 0, 1, b"old\nhalf a li")
    write(store, 0, 1, b"ne\nnew\n")
    points = b'{"t":100.0,"log":4}\n{"t":110.0,"log":13}\n{"t":120.0,"log":20}\n{"torn'
    store.append(keys.of_attempt(JOB, 0, 1, keys.TELEMETRY), points)
    assert logs.offset_since(store, JOB, 0, 1, 105.0) == 4
    assert logs.offset_since(store, JOB, 0, 1, 115.0) == 4, "a line that was half written belongs to what is new"
    assert logs.offset_since(store, JOB, 0, 1, 125.0) == 20
    assert logs.offset_since(store, JOB, 0, 1, 50.0) == 0
    path = store.path(keys.of_attempt(JOB, 0, 1, keys.LOG))
    os.utime(path, (1000, 1000))
    assert logs.offset_since(store, JOB, 0, 1, 2000.0) == path.stat().st_size, "nothing was written since"


def test_attempts_of_tasks_that_had_ended_before_are_shown_when_a_retry_starts(store: FolderStore) -> None:
    write(store, 0, 1, b"died\n")
    again = replace(running(0), attempt=2)
    items = follow(
        store,
        [
            (view(ended(0, outcome=Outcome.FAILED), running(1)), lambda: write(store, 0, 2, b"again\n")),
            (view(again, running(1)), lambda: None),
            (view(ended(0, 2), ended(1)), lambda: None),
        ],
        TailRequest(lines=10),
    )
    assert text_of(items, 0) == b"died\nagain\n"


def test_one_task_is_followed_to_its_own_end(store: FolderStore) -> None:
    """Its neighbours may go on for days."""
    write(store, 0, 1, b"mine\n")
    steps: list[tuple[JobView, Callable[[], None]]] = [
        (view(running(0), running(1)), lambda: None),
        (view(ended(0), running(1)), lambda: pytest.fail("nothing more of task 0 is to come")),
    ]
    items = follow(store, steps, TailRequest(tasks=frozenset({0})))
    assert text_of(items, 0) == b"mine\n" and isinstance(items[-1], Finished)


def test_tasks_that_the_job_does_not_have(store: FolderStore) -> None:
    """Silence and the verdict of nothing would look like an answer."""
    with pytest.raises(NotFound, match="has no task 7-8"):
        follow(store, [(view(running(0)), lambda: None)], TailRequest(tasks=frozenset({0, 7, 8})))


def test_the_verdict_of_a_task_stands_below_its_last_line(store: FolderStore) -> None:
    write(store, 0, 1, b"first\n")
    steps: list[tuple[JobView, Callable[[], None]]] = [
        (view(running(0), running(1)), lambda: None),
        (view(running(0), running(1)), lambda: write(store, 0, 1, b"no newline at the end")),
        (view(ended(0), running(1)), lambda: None),
        (view(ended(0), ended(1)), lambda: None),
    ]
    items = [item for item in follow(store, steps, TailRequest()) if getattr(item, "task", None) == 0]
    assert [item.content if isinstance(item, Line) else getattr(item, "text", None) for item in items] == [
        b"first", b"no newline at the end", "succeeded",
    ]  # fmt: skip
