"""The machine's ledger with real processes that claim, wait and die: never over-committed, never leaked, first in first out."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.agent.machine import Busy, Ledger, folder
from launcher.agent.shares import Entry, Need, Taken
from launcher.errors import StoreError
from launcher.store.machine import Capacity, capacity, visible
from launcher.store.processes import host
from tests.waiting import until

TWO = Capacity(("0", "1"), 2, None)
REPOSITORY = Path(__file__).parent.parent

HOLDER = """
import os, subprocess, sys
from pathlib import Path
from launcher.agent.machine import Ledger
from launcher.agent.shares import Need
from launcher.store.machine import Capacity
ledger = Ledger(Path(sys.argv[1]), Capacity(("0", "1"), 2, None), (1.0, "a"))
taken = ledger.advance([Need("dead", (0,), gpus=2)]).granted[0]
os.set_inheritable(taken.descriptor, True)
print(subprocess.Popen(["sleep", "60"], close_fds=False).pid, flush=True)
sys.stdin.read()
"""

NOTE = """
import json, os, time
def note(log, place, what, gpus):
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (json.dumps([time.monotonic(), place, what, gpus]) + "\\n").encode())
    os.close(descriptor)
"""

CHILD = (
    NOTE
    + """
import sys
time.sleep(float(sys.argv[4]))
note(sys.argv[2], float(sys.argv[3]), "gave", json.loads(sys.argv[1]))
"""
)

CLAIMANT = (
    NOTE
    + """
import random, subprocess, sys
from pathlib import Path
from launcher.agent.machine import Busy, Ledger
from launcher.agent.shares import Need
from launcher.store.machine import Capacity
root, place, seed, rounds, log, child = Path(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:]
chance = random.Random(int(seed))
ledger = Ledger(root, Capacity(("0", "1"), 2, None), (place, "j%d" % place))
over = []
for number in range(int(rounds)):
    need = Need("j%d" % place, (number,), gpus=chance.choice([1, 1, 2]))
    while True:
        try:
            advance = ledger.advance([need], over=over)
        except Busy:
            time.sleep(0.002)
            continue
        over = []
        if advance.granted:
            break
        time.sleep(0.01)
    (taken,) = advance.granted
    note(log, place, "took", taken.gpus)
    os.set_inheritable(taken.descriptor, True)
    command = [sys.executable, "-S", "-c", child, json.dumps(taken.gpus), log, str(place), str(chance.uniform(0, 0.05))]
    running = subprocess.Popen(command, close_fds=False)
    os.set_inheritable(taken.descriptor, False)
    if chance.random() < 0.25:
        os.kill(os.getpid(), 9)
    running.wait()
    over = [taken]
"""
)


def ledger(root: Path, at: float = 1.0, machine: Capacity = TWO) -> Ledger:
    return Ledger(root, machine, (at, f"j{at}"))


def take(one: Ledger, **need: Any) -> Taken:
    (found,) = one.advance([Need("j", (0,), **need)]).granted
    return found


def test_two_agents_share_the_machine_and_the_one_that_came_first_goes_first(tmp_path: Path) -> None:
    first, second, third = ledger(tmp_path, 1), ledger(tmp_path, 2), ledger(tmp_path, 3)
    share = take(first, gpus=2)
    assert share.gpus == ("0", "1")
    assert "taken by j" in (second.advance([Need("b", (0,), gpus=1)]).waiting_for or "")
    assert third.advance([Need("c", (0,), gpus=1)]).granted == ()
    again = first.advance([Need("j", (1,), gpus=1), Need("j", (2,), gpus=1)], over=[share])
    assert [one.gpus for one in again.granted] == [("0",), ("1",)], "an earlier submission keeps its place in the queue"
    assert first.advance([], over=again.granted[:1]).granted == ()
    assert third.advance([Need("c", (0,), gpus=1)]).granted == (), "the second waits, and came before"
    assert [one.gpus for one in second.advance([Need("b", (0,), gpus=1)]).granted] == [("0",)]
    names = {(entry.need.job, entry.waits) for entry in third.entries()}
    assert names == {("j", False), ("b", False), ("c", True)}


def test_a_need_that_can_never_be_met_is_told_and_does_not_stop_the_others(tmp_path: Path) -> None:
    found = ledger(tmp_path).advance([Need("j", (0,), gpus=3), Need("j", (1,), gpus=1)])
    assert [(need.tasks, why) for need, why in found.never] == [((0,), "3 GPUs are asked for, this machine offers 2")]
    assert [one.need.tasks for one in found.granted] == [(1,)]


def test_a_share_lasts_as_long_as_a_process_that_inherited_its_lock(tmp_path: Path) -> None:
    """The agent is killed; its child has the descriptor and keeps the GPUs until it ends."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    agent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert agent.stdout is not None
    child = int(agent.stdout.readline())
    agent.kill()
    agent.wait()
    mine = ledger(tmp_path, 2)
    assert "taken by dead" in (mine.advance([Need("j", (0,), gpus=1)]).waiting_for or "")
    os.kill(child, signal.SIGKILL)
    until(lambda: mine.advance([Need("j", (0,), gpus=1)]).granted, 5, "the share of a dead child")
    assert [entry.need.job for entry in mine.entries()] == ["j"]


def test_a_child_that_closed_its_descriptors_is_found_by_its_mark(tmp_path: Path) -> None:
    mine = ledger(tmp_path, 2)
    name = "0123456789abcdef"
    (tmp_path / f"{name}.lock").touch()
    entry = Entry(name, (1.0, "a"), Need("marked-1", (7,), gpus=2), False, ("0", "1"))
    (tmp_path / f"{name}.json").write_text(json.dumps(entry.to_json()))
    child = subprocess.Popen(["sleep", "60"], env={**os.environ, "LAUNCH_ATTEMPT_ID": "marked-1/7/3"})
    assert not mine.advance([Need("j", (0,), gpus=1)]).granted
    assert not mine.advance([Need("j", (0,), gpus=1)]).granted, "and again, from what is remembered of the first look"
    child.kill()
    child.wait()
    assert mine.advance([Need("j", (0,), gpus=1)]).granted
    assert not (tmp_path / f"{name}.json").exists()


def test_garbage_and_torn_files_are_swept_away_when_nobody_holds_them(tmp_path: Path) -> None:
    for name, text in (("a", "{"), ("b", '{"need": 3}'), ("c", None)):
        (tmp_path / f"{name}.lock").touch()
        if text is not None:
            (tmp_path / f"{name}.json").write_text(text)
    take(ledger(tmp_path), gpus=2)
    assert not [path for path in tmp_path.iterdir() if path.name[0] in "abc" and len(path.stem) == 1]


def test_who_finds_the_ledger_in_use_does_not_wait_there(tmp_path: Path) -> None:
    one = ledger(tmp_path)
    with one._locked(), pytest.raises(Busy):
        ledger(tmp_path, 2).advance([Need("j", (0,))])


def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="machine's shares"):
        ledger(tmp_path / "file").advance([Need("j", (0,))])


def test_each_host_has_its_own_ledger_in_a_shared_home(monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder({"XDG_STATE_HOME": "/s"}) == Path("/s/launch/machine") / host()
    assert folder({"XDG_STATE_HOME": "relative"}) == Path.home() / ".local/state/launch/machine" / host()


@pytest.mark.parametrize("seed", [1, 2])
def test_claimants_that_die_at_random_never_overcommit_and_never_leak(tmp_path: Path, seed: int) -> None:
    log = tmp_path / "log"
    chance = random.Random(seed)
    root = tmp_path / "ledger"
    running: list[subprocess.Popen[bytes]] = []
    for place in range(6):
        arguments = [str(root), str(place), str(chance.randrange(999)), "6", str(log), CHILD]
        running.append(subprocess.Popen([sys.executable, "-c", CLAIMANT, *arguments], cwd=REPOSITORY))
    for process in running:
        process.wait(30)
    last = ledger(root, 99)
    until(lambda: last.advance([Need("j", (0,), gpus=2, cpus=2)]).granted, 10, "the whole machine after all have gone")
    events = sorted(json.loads(line) for line in log.read_text().splitlines())
    busy: set[str] = set()
    for _, _, what, gpus in events:
        if what == "took":
            assert not busy & set(gpus), events
            busy |= set(gpus)
        else:
            busy -= set(gpus)
    assert sum(event[2] == "took" for event in events) >= 6
    files = [path.name for path in root.iterdir() if path.suffix == ".json"]
    assert len(files) == 1, "what is left is ours"


def test_a_killed_ticket_does_not_hold_up_the_queue(tmp_path: Path) -> None:
    share = take(ledger(tmp_path, 1), gpus=2)
    arguments = [str(tmp_path), "2", "1", "1", str(tmp_path / "log"), CHILD]
    waiter = subprocess.Popen([sys.executable, "-c", CLAIMANT, *arguments], cwd=REPOSITORY)
    mine = ledger(tmp_path, 3)
    until(lambda: any(e.waits and e.place[0] == 2 for e in mine.entries()), 10, "its ticket")
    waiter.kill()
    waiter.wait()
    assert not mine.advance([Need("j", (0,), gpus=1)]).granted
    os.close(share.descriptor)
    assert mine.advance([Need("j", (0,), gpus=1)]).granted


# --- what the machine has -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, ("0", "1", "2")),
        ("", ()),
        ("-1", ()),
        ("2,0", ("2", "0")),
        ("0,9,1", ("0",)),
        ("1,1", ("1",)),
        ("GPU-bb", ("1",)),
        ("GPU-", ()),
        ("MIG-1234/5/6", ("MIG-1234/5/6",)),
        ("NoDevFiles", ()),
    ],
)
def test_the_shell_narrows_the_gpus_as_cuda_would(wanted: str | None, found: tuple[str, ...]) -> None:
    assert visible(("0", "1", "2"), wanted, {"GPU-aa-1": "0", "GPU-bb-1": "1"}) == found


def test_limits_of_control_groups_are_the_machine(tmp_path: Path) -> None:
    """Both versions of control groups, a limit above ours, and devices that are none."""
    for name in ("nvidia0", "nvidia11", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / name).touch()
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:       1000 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/user/job\n")
    group = tmp_path / "sys/fs/cgroup/user"
    (group / "job").mkdir(parents=True)
    assert capacity(environment={}, root=tmp_path).memory == 1_024_000
    (group / "job/memory.max").write_text("max\n")
    (group / "memory.max").write_text("500000\n")
    (group / "cpu.max").write_text("50000 100000\n")
    assert capacity(environment={}, root=tmp_path) == Capacity(("0", "2", "11"), 1, 500_000)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/x\n3:cpu,cpuacct:/x\n")
    (tmp_path / "sys/fs/cgroup/memory/x").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory/x/memory.limit_in_bytes").write_text("9223372036854771712\n")
    (tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("400000\n")
    assert capacity(environment={}, root=tmp_path).memory == 400_000


def test_what_a_profile_declares_is_not_looked_for(tmp_path: Path) -> None:
    found = capacity(gpus=(0, 3), cpus=7, memory=5, environment={"CUDA_VISIBLE_DEVICES": "3"}, root=tmp_path)
    assert found == Capacity(("3",), 7, 5)


def test_asking_costs_little_when_many_wait(tmp_path: Path) -> None:
    """Ten thousand shares behind one that does not fit: the first that waits ends the asking."""
    one = ledger(tmp_path)
    take(one, gpus=2)
    begun = time.process_time()
    asked = 0

    def endless() -> Any:
        nonlocal asked
        while True:
            asked += 1
            yield Need("j", (asked,), gpus=1)

    assert one.advance(endless()).waiting_for
    assert asked == 1
    assert time.process_time() - begun < 1
