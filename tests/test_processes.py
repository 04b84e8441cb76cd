"""Identity of processes and the finding of a tree's members, on real processes."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.store import keys, leftovers, processes
from tests.waiting import until

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    begun: list[subprocess.Popen[bytes]] = []

    def run(code: str, **options: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **options)  # type: ignore[call-overload]
        begun.append(process)
        return process  # type: ignore[no-any-return]

    yield run
    for process in begun:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(10)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def test_a_process_is_itself_until_it_ends(start: Start) -> None:
    child = start("import sys; sys.stdin.read()", stdin=subprocess.PIPE)
    who = processes.process_id(child.pid)
    assert who is not None
    assert who.boot and who.host == os.uname().nodename
    assert processes.alive(who) is True
    child.kill()
    # Killed and not waited for: a zombie runs nothing, though its pid is still taken.
    until(lambda: processes.alive(who) is False, 10, "the zombie to count as ended")
    assert processes.process_id(child.pid) == who
    assert child.pid not in processes.descendants([child.pid])
    child.wait()
    assert processes.process_id(child.pid) is None
    assert processes.alive(who) is False


def test_a_reused_pid_another_boot_and_another_host_are_told_apart() -> None:
    me = processes.process_id(os.getpid())
    assert me is not None
    assert processes.alive(me) is True
    assert processes.alive(dataclasses.replace(me, start=me.start - 1)) is False
    assert processes.alive(dataclasses.replace(me, boot=str(uuid.uuid4()))) is False
    assert processes.alive(dataclasses.replace(me, host="elsewhere")) is None
    assert processes.alive(dataclasses.replace(me, boot="")) is None


def test_a_name_full_of_brackets_and_newlines_is_no_obstacle(start: Start) -> None:
    name = "a) S 1\n(1"
    code = f"import sys; open('/proc/self/comm', 'w').write({name!r}); print(flush=True); sys.stdin.read()"
    child = start(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    found = processes.stat(child.pid)
    assert found is not None
    assert (found.pid, found.parent, found.group) == (child.pid, os.getpid(), child.pid)
    assert child.pid in processes.descendants([os.getpid()])


def test_descendants_are_the_whole_tree_and_nothing_beside_it(start: Start) -> None:
    code = (
        "import os, sys, time\n"
        "r, w = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0: os.write(w, b'%d\\n' % os.getpid())\n"
        "    time.sleep(60)\n"
        "print(os.read(r, 20).decode(), flush=True)\n"
        "time.sleep(60)\n"
    )
    child = start(code, stdout=subprocess.PIPE)
    other = start("import time; time.sleep(60)")
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    found = processes.descendants([child.pid])
    assert len(found) == 3
    assert {child.pid, grandchild} <= set(found)
    assert other.pid not in found
    assert processes.descendants([]) == []
    assert processes.descendants([2**22 + 1]) == []


def test_a_double_fork_into_another_session_is_found_by_its_mark(start: Start) -> None:
    job = f"test-{uuid.uuid4().hex[:6]}"
    code = (
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        print(os.getpid(), flush=True)\n"
        "        time.sleep(60)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    environ = {**os.environ, processes.ATTEMPT_VARIABLE: f"{job}/0/1"}
    child = start(code, stdout=subprocess.PIPE, env=environ)
    assert child.stdout is not None
    stray = int(child.stdout.readline())
    try:
        child.wait(10)
        assert processes.marked(f"{job}/0/1") == [stray]
        assert processes.marked(f"{job}/0/10") == []
        assert processes.marked(f"{job}/0") == []
    finally:
        os.kill(stray, signal.SIGKILL)


def test_a_process_whose_first_thread_has_left_still_runs(start: Start) -> None:
    code = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=False).start()\n"
        "print(flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    child = start(code, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    who = processes.process_id(child.pid)
    assert who is not None
    until(lambda: (found := processes.stat(child.pid)) and found.state == "Z", 10, "the first thread to leave")
    assert processes.alive(who) is True
    assert processes.descendants([child.pid]) == [child.pid]


@given(st.binary(max_size=300))
def test_no_content_of_stat_raises(content: bytes) -> None:
    found = processes.parse_stat(content)
    assert found is None or isinstance(found.pid, int)


def test_a_truncated_stat_is_no_reading() -> None:
    with open("/proc/self/stat", "rb") as file:
        content = file.read()
    assert processes.parse_stat(content) is not None
    assert processes.parse_stat(content[: content.rfind(b")") + 5]) is None


def test_what_is_left_of_an_attempt_is_that_of_its_own_store(tmp_path: Path) -> None:
    """Two stores, one of them reached through a link, may hold jobs of one id."""
    job = f"same-{os.getpid()}"
    mine, theirs, link = tmp_path / "mine", tmp_path / "theirs", tmp_path / "a link"
    link.symlink_to(mine)
    sleeping = {}
    for store in (mine, theirs):
        stop = store / keys.of_attempt(job, 0, 1, keys.STOP)
        environment = {**os.environ, "LAUNCH_ATTEMPT_ID": f"{job}/0/1", "LAUNCH_STOP_FILE": str(stop)}
        sleeping[store] = subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True)
    try:
        for named in (mine, link):
            until(lambda at=named: leftovers.left_of(at, f"{job}/0/1", None), 10, "it to be found")  # type: ignore[misc]
            assert [one.pid for one in leftovers.left_of(named, f"{job}/0/1", None)] == [sleeping[mine].pid]
    finally:
        for process in sleeping.values():
            process.kill()
            process.wait(10)


def test_a_machine_of_the_same_name_and_a_container_on_this_kernel_are_not_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workstations may both be called `ubuntu`, and share a store: that one does not run here proves nothing."""
    identity = tmp_path / "machine-id"
    monkeypatch.setattr(processes, "MACHINE_ID", str(identity))

    def here(content: str) -> None:
        identity.write_text(content)
        processes.machine.cache_clear()

    here("a" * 32 + "\n")
    mine = processes.process_id(os.getpid())
    assert mine is not None and mine.machine is not None and "a" * 8 not in mine.machine
    gone = dataclasses.replace(mine, pid=2**22 + 1)
    booted = dataclasses.replace(mine, boot="another boot")
    assert [processes.alive(one) for one in (mine, gone, booted)] == [True, False, False]
    here("b" * 32)
    assert [processes.alive(one) for one in (mine, gone, booted)] == [None, None, None]
    here("")  # a container, as most images are: on this kernel, or somewhere after a boot
    assert [processes.alive(one) for one in (mine, gone, booted)] == [None, None, False]
    monkeypatch.undo()
    processes.machine.cache_clear()
