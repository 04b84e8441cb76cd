"""A store in a folder: whole files or none, write-once, exclusive claims, and clear words for what the disk refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import BadRecord, StoreError
from launcher.model import codec
from launcher.model.outcome import Outcome
from launcher.model.records import EndedTask, Event, Order, Released
from launcher.store import keys, records
from launcher.store.folder import FolderStore
from tests.waiting import until

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def store(odd_path: Path) -> FolderStore:
    return FolderStore(odd_path / "store")


def test_what_is_absent_is_none(store: FolderStore) -> None:
    assert store.read("jobs/x/spec.json") is None
    assert not store.exists("jobs/x")
    assert store.names("jobs") == []
    store.remove("jobs/x/spec.json")
    store.replace("a", b"1")
    assert store.read("a/b") is None, "a file where a folder would be"
    assert store.names("a") == []


def test_replace_and_read(store: FolderStore) -> None:
    for content in (b"one", b"", b"three" * 100_000):
        store.replace("jobs/x/heartbeat.json", content)
        assert store.read("jobs/x/heartbeat.json") == content
    store.replace("jobs/x/heartbeat.json", b"quick", sync=False)
    assert store.read("jobs/x/heartbeat.json") == b"quick"
    assert store.names("jobs/x") == ["heartbeat.json"]
    assert os.listdir(store.path("jobs/x")) == ["heartbeat.json"]
    assert store.path("jobs/x/heartbeat.json").stat().st_mode & 0o777 == 0o600
    assert store.path("jobs/x").stat().st_mode & 0o077 == 0


def test_create_once(store: FolderStore) -> None:
    assert store.create("spec.json", b"first")
    assert not store.create("spec.json", b"second")
    assert store.read("spec.json") == b"first"
    assert os.listdir(store.root) == ["spec.json"]


def test_append_whole_lines(store: FolderStore) -> None:
    def write(name: int) -> None:
        for n in range(200):
            store.append("events.jsonl", f"{name} {n} {'x' * 300}\n".encode())

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (store.read("events.jsonl") or b"").splitlines()
    assert sorted(lines) == sorted(f"{name} {n} {'x' * 300}".encode() for name in range(4) for n in range(200))


def together(act: Callable[[int], bool], count: int = 16) -> list[bool]:
    """What `count` threads that begin at one moment get for an answer."""
    barrier = threading.Barrier(count)
    found: list[bool] = []

    def one(number: int) -> None:
        barrier.wait()
        found.append(act(number))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_one_of_many_gets_the_claim_and_one_creates(store: FolderStore) -> None:
    for round_ in range(20):
        assert sorted(together(lambda _, r=round_: store.claim(f"tasks/{r:04d}/01"))) == [False] * 15 + [True]  # type: ignore[misc]
        won = together(lambda n, r=round_: store.create(f"{r}.json", str(n).encode()))  # type: ignore[misc]
        assert sum(won) == 1
    assert not [name for name in os.listdir(store.root) if name.startswith(".tmp-")]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a/.", "a\0b"])
def test_a_key_cannot_leave_the_store(store: FolderStore, key: str) -> None:
    for act in (store.read, store.exists, store.names, store.claim, store.remove):
        with pytest.raises(StoreError, match="no key of a store"):
            act(key)
    with pytest.raises(StoreError, match="no key of a store"):
        store.replace(key, b"x")
    assert not store.root.exists()


@given(st.text(max_size=30))
def test_any_key_stays_inside(key: str) -> None:
    root = Path("/nowhere/store")
    try:
        path = FolderStore(root).path(key)
    except StoreError:
        return
    assert Path(os.path.normpath(path)) == path
    assert path.is_relative_to(root)
    assert path != root


WRITER = """
import sys
from pathlib import Path
from launcher.store.folder import FolderStore
store, size = FolderStore(Path(sys.argv[1])), int(sys.argv[2])
print("ready", flush=True)
n = 0
while True:
    n += 1
    store.replace("heartbeat.json", b"%d" % (n % 10) * size, sync=n % 2 == 0)
"""


@pytest.mark.parametrize("wait", [0.0, 0.003, 0.011, 0.03, 0.07, 0.13])
def test_kill_during_replace_leaves_the_old_or_the_new(store: FolderStore, wait: float) -> None:
    """A reader looks all the while; the writer is killed in the middle of what it does."""
    size = 300_000
    store.replace("heartbeat.json", b"0" * size)
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, store.root, str(size)], env=environ, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    killer = threading.Timer(wait, writer.send_signal, [signal.SIGKILL])
    killer.start()
    whole(store, size)
    while writer.poll() is None:
        whole(store, size)
    whole(store, size)
    writer.stdout.close()
    assert writer.returncode == -signal.SIGKILL
    store.replace("heartbeat.json", b"after")
    assert store.read("heartbeat.json") == b"after"


def whole(store: FolderStore, size: int) -> None:
    content = store.read("heartbeat.json")
    assert content is not None
    assert len(content) == size
    assert content == content[:1] * size


def test_what_a_killed_writer_left_is_not_listed(store: FolderStore) -> None:
    store.replace("jobs/a", b"x")
    (store.root / "jobs/.tmp-0123456789ab").write_bytes(b"half")
    assert store.names("jobs") == ["a"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from launcher.errors import StoreError
from launcher.store.folder import FolderStore
store = FolderStore(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for act in (store.replace, store.create, store.append):
    try:
        act("record.json" if act == store.replace else "new.json", b"y" * 5000)
    except StoreError as error:
        print(type(error).__name__, "File too large" in str(error))
"""


def test_a_disk_that_takes_no_more(store: FolderStore) -> None:
    """A limit on the size of files fails a write in its middle, as a full disk does."""
    store.replace("record.json", b"old")
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, store.root], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["StoreError True"] * 3, done.stderr
    assert store.read("record.json") == b"old"
    assert sorted(os.listdir(store.root)) == ["new.json", "record.json"]
    assert store.read("new.json") == b"", (
        "what was appended in part is taken back: the next try shall not follow half a line"
    )


def test_folders_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        store = FolderStore(tmp_path / "deep" / "store")
        store.replace("a/b/c", b"x")
        store.append("d/e/f", b"x")
        store.create("g/h/i", b"x")
        store.claim("j/k/l")
    finally:
        os.umask(before)
    for path in (tmp_path / "deep").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_link_whose_answer_was_lost_was_made(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system repeats a request, and tells of the repetition."""
    real = os.link

    def twice(*names: Path) -> None:
        real(*names)
        real(*names)

    monkeypatch.setattr(os, "link", twice)
    assert store.create("claim.json", b"mine")
    monkeypatch.undo()
    assert not store.create("claim.json", b"another's")
    assert store.read("claim.json") == b"mine"


def test_a_folder_that_refuses(store: FolderStore) -> None:
    store.replace("file", b"x")
    for act in (
        lambda: store.replace("file/below", b"x"),
        lambda: store.create("file/below", b"x"),
        lambda: store.append("file/below", b"x"),
        lambda: store.claim("file/below"),
    ):
        with pytest.raises(StoreError) as caught:
            act()
        assert "Not a directory" in str(caught.value) or "File exists" in str(caught.value)
        assert "file/below" in str(caught.value)
    with pytest.raises(StoreError, match="Is a directory"):
        FolderStore(store.root.parent).read("store")


def test_records_in_and_out(store: FolderStore) -> None:
    assert records.read_released(store, "j", "a0") is None
    released = Released(1, "a0", 5.0, "me", "its host is gone")
    store.replace(keys.released("j", "a0"), codec.dump(released))
    assert records.read_released(store, "j", "a0") == released
    order = Order(1, "a0", "j", (0, 1), 5.0, "me")
    assert store.create(keys.order("j", "a0"), codec.dump(order))
    assert records.allocations(store, "j") == ["a0"]
    assert records.read_order(store, "j", "a0") == order
    for number in (1, 2, 10):
        assert store.claim(keys.attempt("j", 7, number))
    assert (records.attempts(store, "j", 7), records.tasks_with_attempts(store, "j")) == ([1, 2, 10], [7])
    assert records.jobs(store) == ["j"]


def test_events_come_in_the_order_of_time(store: FolderStore) -> None:
    times = [1.7e9 + n for n in (3, 0, 2.5, 1)]
    for number, at in enumerate(times):
        assert store.create(keys.event("j", at, f"e{number}"), codec.dump(Event(1, f"e{number}", at, "me")))
    assert [event.at for event in records.read_events(store, "j")] == sorted(times)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"schema": 1}', b"[" * 99999])
def test_a_record_that_is_garbage(store: FolderStore, content: bytes) -> None:
    for key, read in (
        (keys.spec("j"), lambda: records.read_spec(store, "j")),
        (keys.of_attempt("j", 0, 1, keys.HEARTBEAT), lambda: records.read_heartbeat(store, "j", 0, 1)),
        (keys.of_attempt("j", 0, 1, keys.EXIT), lambda: records.read_exit(store, "j", 0, 1)),
        (keys.of_attempt("j", 0, 1, keys.CLAIM), lambda: records.read_claim(store, "j", 0, 1)),
        (keys.of_attempt("j", 0, 1, keys.MANIFEST), lambda: records.read_manifests(store, "j", 0, 1)),
        (keys.agent_view("j", "a"), lambda: records.read_view(store, "j", "a")),
    ):
        store.replace(key, content)
        with pytest.raises(BadRecord) as caught:
            read()
        assert str(store.root / key) in str(caught.value)


def test_the_ended_segment(store: FolderStore) -> None:
    ended = [EndedTask(n, 1, Outcome.SUCCEEDED, "", 1.0, 2.0) for n in range(3)]
    for one in ended:
        store.append(keys.ended_segment("j", "a"), codec.dump(one))
    assert records.read_ended(store, "j", "a") == ended
    store.append(keys.ended_segment("j", "a"), codec.dump(ended[0])[:-9])
    assert records.read_ended(store, "j", "a") == ended, "a torn last line is left out"
    store.append(keys.ended_segment("j", "a"), b"\n")
    with pytest.raises(BadRecord, match="no ended task"):
        records.read_ended(store, "j", "a")
    assert records.read_ended(store, "j", "none") == []


def test_a_reader_sees_a_replacement_at_once(store: FolderStore) -> None:
    store.replace("x", b"1")
    thread = threading.Thread(target=lambda: store.replace("x", b"2"))
    thread.start()
    until(lambda: store.read("x") == b"2", 10, "the new content")
    thread.join()
