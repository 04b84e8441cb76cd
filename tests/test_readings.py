"""What is read of log, declarations, processes, host and disks: real files and processes, recorded trees."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.model.outcome import Outcome
from launcher.store.processes import descendants
from launcher.supervisor.readings.declared import DeclaredReader
from launcher.supervisor.readings.disks import Ballast, DiskReader, Usage, red, usage
from launcher.supervisor.readings.host import HostReader
from launcher.supervisor.readings.logscan import LogScan, wanted_names
from launcher.supervisor.readings.logtext import Signs, last_visible, metric_points
from launcher.supervisor.readings.proctree import TreeReader
from launcher.supervisor.readings.sample import Sample
from launcher.supervisor.readings.sources import Source, Unavailable
from launcher.supervisor.readings.telemetry import Telemetry
from tests.waiting import until

# --- sources ---------------------------------------------------------------------------------------------------------------


def test_a_source_that_hangs_is_missing_and_comes_back_when_it_answers() -> None:
    gate = threading.Event()
    gate.set()

    def read() -> int:
        gate.wait()
        return 7

    source = Source("mount", read, deadline=0.2)
    source.start()
    source.ask(time.monotonic())
    until(lambda: source.value(time.monotonic()) == 7, 10, "the first reading")
    answered = time.time()
    gate.clear()
    source.ask(time.monotonic())
    until(lambda: source.missing_since(time.monotonic()) is not None, 10, "the source to be late")
    since = source.missing_since(time.monotonic())
    assert since is not None and since <= answered
    assert source.value(time.monotonic()) is None
    event = source.event(time.monotonic())
    assert event is not None and event["kind"] == "source missing" and source.event(time.monotonic()) is None
    source.ask(time.monotonic())  # no second reading beside the one that hangs
    gate.set()
    until(lambda: source.value(time.monotonic()) == 7, 10, "the source to be back")
    event = source.event(time.monotonic())
    assert event is not None and event["kind"] == "source back"
    source.close()


def test_a_source_that_raises_is_missing_with_its_reason() -> None:
    def read() -> int:
        raise Unavailable("there is no such thing here")

    source = Source("thing", read, deadline=5)
    source.start()
    source.ask(time.monotonic())
    until(lambda: source.missing_since(time.monotonic()) is not None, 10, "the failure to be seen")
    event = source.event(time.monotonic())
    assert event is not None and event["why"] == "there is no such thing here"
    source.close()


def test_a_dear_source_is_read_less_often() -> None:
    def read() -> int:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        return 1

    source = Source("dear", read, deadline=60)
    source.start()
    for _ in range(20):
        source.ask(time.monotonic())
        time.sleep(0.02)
    until(lambda: source.readings >= 1, 10, "the first reading")
    assert source.readings == 1, "50 ms of work allow for one reading in 5 s"
    source.close()


# --- log -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tail", "line"),
    [
        (b"one\ntwo\n\n  \n", "two"),
        (b"\r  0%|    | 0/9\r 11%|#   | 1/9", "11%|#   | 1/9"),
        (b"\x1b[32mgreen\x1b[0m \x1b]0;title\x07text\n", "green text"),
        (b"caf\xe9 \xff\n", "caf� �"),
        (b"a\x00b\x07c\n", "abc"),
        (b"\n\r\n", None),
        (b"x" * 300 + b"\n", "x" * 199 + "…"),
    ],
)
def test_the_last_visible_line(tail: bytes, line: str | None) -> None:
    assert last_visible(tail, whole=True) == line


def values(text: bytes, *names: str) -> list[tuple[str, float, float | None]]:
    return [(one.name, one.value, one.step) for one in metric_points(text, frozenset(names))]


def test_metrics_in_the_forms_that_logs_have() -> None:
    text = (
        b"{'loss': 0.5, 'grad_norm': 1.25, 'learning_rate': 5e-05, 'epoch': 0.1}\n"
        b'{"step": 3, "eval_loss": "Infinity", "note": "x", "deep": {"loss": 9}}\n'
        b"step 4 | step: 4 train/loss=1.5e-3, val loss: 0.25 lr=3\n"
        b"Epoch 1: accuracy = 0.9; fidelity: 98.9 port: 8080\n"
    )
    assert values(text, "fidelity") == [
        ("loss", 0.5, None),
        ("grad_norm", 1.25, None),
        ("eval_loss", math.inf, 3.0),
        ("train/loss", 0.0015, 4.0),
        ("val_loss", 0.25, 4.0),
        ("accuracy", 0.9, None),
        ("fidelity", 98.9, None),
    ]
    assert values(b"custom: 4\n") == [] and values(b"custom: 4\n", "custom") == [("custom", 4.0, None)]
    assert math.isnan(values(b"loss=nan\n")[0][1])
    assert wanted_names(["val_loss < 0.01", "?"], None, "fid") == {"val_loss", "fid"}


def test_signs_are_kept_with_their_line() -> None:
    signs = Signs()
    signs.look(b"fine\nTraceback (most recent call last):\n  File 'a', line 1\n")
    signs.look(b"    x()\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n")
    signs.look(b"OSError: [Errno 28] No space left on device\n[rank3] NCCL WARN Cuda failure\n")
    signs.look(b"safetensors_rust.SafetensorError: I/O error: No space left on device (os error 28)\n")
    found = {sign.code: sign for sign in signs.found()}
    assert found["cuda_out_of_memory"].line.startswith("torch.OutOfMemoryError")
    assert found["exception"].line == "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    assert "SafetensorError" in found["disk_full"].line and found["disk_full"].count == 2
    assert "nccl" in found
    quiet = Signs()
    quiet.look(b"the memory of the model\nno error\nMemoryErrors are rare in nccl-tests\n" * 5)
    assert not quiet.found()


def test_a_log_is_followed_from_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    scan = LogScan(path)
    assert scan.read().reading.size == 0
    path.write_bytes(b"loss=0.5\nlo")
    first = scan.read()
    assert [point.value for point in first.points] == [0.5]
    with open(path, "ab") as log:
        log.write(b"ss=0.25\n")
    second = scan.read()
    assert [point.value for point in second.points] == [0.25]
    assert second.reading.last_line == "loss=0.25" and second.reading.size == 19
    third = scan.read()
    assert third.points == () and third.reading.grew_at == second.reading.grew_at
    path.write_bytes(b"loss=3\n")  # cut, and begun anew
    assert [point.value for point in scan.read().points] == [3.0]
    with open(path, "ab") as log:
        log.write(b"loss=4")
    assert [point.value for point in scan.read_rest().points] == [4.0], "the last line may lack its end"


def test_a_log_of_two_million_lines_costs_its_budget_and_the_newest_part_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    block = b"".join(b"step %d loss=%.4f and some words to make a line\n" % (n, 1 / (n + 1)) for n in range(20_000))
    with open(path, "wb") as log:
        log.writelines([block] * 100)
        log.write(b"CUDA out of memory\nloss=42.0\n")
    scan = LogScan(path)
    before = time.thread_time()
    state = scan.read()
    assert time.thread_time() - before < 1.0
    assert state.skipped > path.stat().st_size // 2
    assert state.points[-1].value == 42.0 and state.reading.last_line == "loss=42.0"
    assert state.reading.size == path.stat().st_size
    assert "cuda_out_of_memory" in {sign.code for sign in state.signs}
    with open(path, "ab") as log:
        log.write(block * 20)
    before = time.thread_time()
    assert scan.read().skipped > 0, "the budget is used up, and comes back with time alone"
    assert time.thread_time() - before < 0.1


def test_a_line_of_megabytes_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"x" * 5_000_000 + b"loss=1")
    state = LogScan(path).read()
    assert state.reading.last_line is not None and len(state.reading.last_line) <= 200
    path.write_bytes(b"[" * 2_000_000 + b"\n" + b"{" * 3000 + b"}" * 3000 + b"\n")
    LogScan(path).read()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=10))
def test_no_bytes_of_a_log_raise(pieces: list[bytes]) -> None:
    signs = Signs()
    for piece in pieces:
        list(metric_points(piece, frozenset({"a"})))
        signs.look(b"Traceback (most recent call last)" + piece)
        last_visible(piece, whole=False)


# --- declarations ----------------------------------------------------------------------------------------------------------


class Declaring:
    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.progress, self.metrics = folder / "progress.jsonl", folder / "metrics.jsonl"
        self.reader = DeclaredReader(self.progress, self.metrics, wall=lambda: self.now)

    def say(self, text: str | bytes, path: Path | None = None) -> None:
        with open(path or self.progress, "ab") as file:
            file.write(text if isinstance(text, bytes) else text.encode())


@pytest.fixture
def declaring(tmp_path: Path) -> Declaring:
    return Declaring(tmp_path)


def test_progress_its_rate_and_what_is_left(declaring: Declaring) -> None:
    assert declaring.reader.read().progress is None
    state = declaring.reader.read()
    for step in range(1, 11):
        declaring.now += 2.0
        declaring.say(json.dumps({"step": step, "total": 100, "stage": "train"}) + "\n")
        state = declaring.reader.read()
    progress = state.progress
    assert progress is not None and (progress.step, progress.total, progress.stage) == (10, 100, "train")
    assert progress.rate == pytest.approx(0.5) and progress.left == pytest.approx(180)
    assert progress.at == declaring.now
    declaring.now += 100.0
    late = declaring.reader.read().progress
    assert late is not None and late.rate is not None and late.rate < 0.2, "a step that takes long slows the rate"


def test_torn_garbage_huge_and_odd_lines(declaring: Declaring) -> None:
    declaring.say('{"step": 1')
    assert declaring.reader.read().progress is None
    declaring.say(', "total": 5}\nnonsense\n\n[1]\n{"step": "many"}\n\xff\xfe\n')
    state = declaring.reader.read()
    assert state.progress is not None and state.progress.step == 1 and state.garbage == 4
    declaring.say(b"[" * 300_000 + b"\n" + b'{"step": ' + b"9" * 5000 + b'}\n{"step": 1e999, "total": -Infinity}\n')
    declaring.say('{"step": 2, "message": "' + "y" * 1000 + '"}\n')
    progress = declaring.reader.read().progress
    assert progress is not None and progress.step == 2 and progress.message is not None and len(progress.message) == 300


def test_metrics_with_numbers_that_are_none(declaring: Declaring) -> None:
    declaring.say('{"step": 3, "loss": "NaN", "acc": 0.5, "name": "x", "ok": true}\n', declaring.metrics)
    declaring.say('{"loss": Infinity}\n{"loss": 1e400}\n', declaring.metrics)
    state = declaring.reader.read()
    assert [(one.name, one.step) for one in state.points] == [
        ("loss", 3.0),
        ("acc", 3.0),
        ("loss", None),
        ("loss", None),
    ]
    assert math.isnan(state.points[0].value) and state.metrics["loss"] == math.inf and state.metrics["acc"] == 0.5
    assert declaring.reader.read().points == ()


def test_outcomes_and_checkpoints(declaring: Declaring) -> None:
    declaring.say('{"outcome": "succeeded", "reason": "trust me"}\n{"outcome": "on holiday"}\n{"checkpoint": 3}\n')
    state = declaring.reader.read()
    assert state.outcome is None and state.garbage == 3
    declaring.say('{"outcome": "stalled", "reason": "the peer is gone"}\n')
    declaring.say('{"checkpoint": "/c/1", "step": 1, "metrics": {"val_loss": 0.5, "name": "x"}}\n')
    state = declaring.reader.read()
    assert state.outcome is not None and state.outcome.outcome is Outcome.STALLED
    assert state.announced[0].path == "/c/1" and state.announced[0].metrics == {"val_loss": 0.5}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.binary(max_size=80)
        | st.builds(
            json.dumps,
            st.recursive(
                st.none() | st.floats() | st.text(max_size=9),
                lambda inner: st.dictionaries(
                    st.sampled_from(["step", "total", "stage", "outcome", "checkpoint", "metrics", "x"]),
                    inner,
                    max_size=3,
                ),
            ),
        ).map(str.encode),
        max_size=8,
    )
)
def test_no_declaration_raises(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    declaring = Declaring(tmp_path_factory.mktemp("declared"))
    for line in lines:
        declaring.say(line + b"\n")
        declaring.say(line + b"\n", declaring.metrics)
        declaring.reader.read()


# --- processes, host, disks ------------------------------------------------------------------------------------------------


def test_cpu_and_memory_of_a_whole_tree() -> None:
    code = (
        "import os, sys\nblock = bytearray(os.urandom(1) * 50_000_000)\nif os.fork() == 0:\n"
        "    while True: pass\nprint(flush=True)\nsys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        reader = TreeReader(lambda: descendants([child.pid]))
        assert reader.read().reading.cpu is None
        time.sleep(0.5)
        state = reader.read()
        assert state.reading.processes == 2
        assert state.reading.cpu is not None and 0.2 < state.reading.cpu < 1.6
        # The block is shared after the fork: counted once, where the kernel tells.
        assert state.reading.memory is not None and 50_000_000 < state.reading.memory < 95_000_000
        assert state.io_bytes is not None and state.io_bytes > 0
    finally:
        os.killpg(child.pid, 9)
        child.communicate(timeout=10)
    gone = reader.read()
    assert gone.reading.processes == 0


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


MEMINFO = "MemTotal:       65536000 kB\nMemFree:         1000 kB\nMemAvailable:   32768000 kB\n"


def test_a_cgroup_of_version_2_and_its_parents(tmp_path: Path) -> None:
    job = "sys/fs/cgroup/system.slice/job.scope"
    root = tree(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/loadavg": "1.50 2 3 1/100 1\n",
            "proc/self/cgroup": "0::/system.slice/job.scope\n",
            f"{job}/memory.current": "3000\n",
            f"{job}/memory.max": "max\n",
            f"{job}/memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n",
            "sys/fs/cgroup/system.slice/memory.current": "9000\n",
            "sys/fs/cgroup/system.slice/memory.max": "10000\n",
            "sys/fs/cgroup/system.slice/memory.stat": "anon 1\ninactive_file 4000\n",
        },
    )
    reader = HostReader(root)
    reading = reader.read()
    assert (reading.memory_total, reading.memory_available) == (65536000 * 1024, 32768000 * 1024)
    assert (reading.cgroup_used, reading.cgroup_limit) == (5000, 10000), "the parent's, less the cache that can go"
    assert reading.oom_kills == 0 and reading.load == 1.5
    (root / job / "memory.events").write_text("oom_kill 3\n")
    assert reader.read().oom_kills == 2


def test_a_cgroup_of_version_1_and_one_that_a_container_hides(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "9:cpu,cpuacct:/x\n8:memory:/docker/abc\n0::/\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "700\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n",
            "sys/fs/cgroup/memory/memory.stat": "cache 1\ntotal_inactive_file 100\n",
            "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
        },
    )
    reader = HostReader(root)
    reading = reader.read()
    assert (reading.cgroup_used, reading.cgroup_limit, reading.oom_kills) == (600, 1000, 0)
    assert reading.memory_total is None and reading.load is None
    (root / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert reader.read().cgroup_limit is None


def test_nothing_of_a_host_is_known(tmp_path: Path) -> None:
    reading = HostReader(tmp_path).read()
    assert {getattr(reading, name) for name in reading.__dataclass_fields__} == {None}


def test_a_disk_that_fills_and_is_emptied(tmp_path: Path) -> None:
    now, used = [0.0], [10_000]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    reader = DiskReader(tmp_path, clock, lambda path: Usage(used[0], 100_000 - used[0], 100_000, None, None))
    reading = reader.read()
    assert reading.rate is None
    for _ in range(20):
        now[0] += 60
        used[0] += 600
        reading = reader.read()
    assert reading.rate == pytest.approx(10.0) and reading.full_in == pytest.approx((100_000 - used[0]) / 10)
    used[0] = 1000
    now[0] += 60
    emptied = reader.read()
    assert emptied.rate is not None and emptied.rate < 0 and emptied.full_in is None


def test_the_disk_of_what_is_not_there_yet(tmp_path: Path) -> None:
    here, there = usage(tmp_path), usage(tmp_path / "not" / "yet" / "there")
    assert there.total == here.total > 0


def test_ballast_is_laid_and_given_up(tmp_path: Path) -> None:
    ballast = Ballast([tmp_path, tmp_path / "not there"], size=1 << 20)
    troubles = ballast.place()
    assert len(troubles) == 1 and "not there" in troubles[0]
    (file,) = ballast.files
    assert file.stat().st_blocks * 512 >= 1 << 20, "real blocks, no hole"
    assert ballast.free() == [file] and not file.exists() and ballast.free() == []
    assert red(99 << 30, 1 << 20, 99 << 30) and not red(95 << 30, 5 << 30, 100 << 30)


# --- telemetry -------------------------------------------------------------------------------------------------------------


def test_telemetry_is_bounded_and_covers_the_whole_time(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    telemetry = Telemetry(path, 10.0, most=100, at_once=5)
    for n in range(5000):
        telemetry.add(Sample(mono=10.0 * n, wall=1e9 + 10.0 * n, metrics={"loss": math.nan}))
    telemetry.close()
    times = [json.loads(line)["t"] for line in path.read_text().splitlines()]
    assert 40 <= len(times) <= 105
    assert times[0] == 1e9 and times[-1] > 1e9 + 48_000 and times == sorted(times)
    assert not list(tmp_path.glob(".tmp*"))
    again = Telemetry(path, 10.0, most=100, at_once=5)
    for n in range(5000, 5600):
        again.add(Sample(mono=10.0 * n, wall=1e9 + 10.0 * n))
    assert len(path.read_text().splitlines()) <= 105, "a supervisor that adopts an attempt goes on with its file"


def test_a_short_attempt_leaves_no_series(tmp_path: Path) -> None:
    telemetry = Telemetry(tmp_path / "telemetry.jsonl", 10.0)
    for n in range(3):
        telemetry.add(Sample(mono=10.0 * n, wall=10.0 * n))
    telemetry.close()
    assert not any(tmp_path.iterdir())


def test_a_full_disk_leaves_whole_points_only(tmp_path: Path) -> None:
    code = (
        "import json, resource, signal, sys\nfrom pathlib import Path\n"
        "from launcher.supervisor.readings.telemetry import Telemetry\nfrom launcher.supervisor.readings.sample import Sample\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "one = Telemetry(Path(sys.argv[1]), 1.0, at_once=1)\n"
        "for n in range(60):\n"
        "    try: one.add(Sample(mono=2.0 * n, wall=2.0 * n))\n"
        "    except OSError: pass\n"
        "for line in open(sys.argv[1]): json.loads(line)\nprint('whole')\n"
    )
    answer: Any = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "t")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parent.parent,
    )
    assert answer.stdout == "whole\n", answer.stderr
