"""GPUs through NVIDIA's own client on a library that plays readings, and through a program named nvidia-smi."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.supervisor.readings import nvidia_smi
from launcher.supervisor.readings.gpus import throttle_names
from launcher.supervisor.readings.sources import Unavailable

ROOT = Path(__file__).parent.parent

H100 = """count 2
events 1
0.name NVIDIA H100 80GB HBM3
0.uuid GPU-11111111-aaaa-bbbb-cccc-000000000000
0.util 100
0.memory_total 85899345920
0.memory_used 79000000000
0.power 71500
0.power_limit 700000
0.temperature 41
0.throttle 0x61
0.ecc 0
1.name NVIDIA H100 80GB HBM3
1.uuid GPU-22222222-aaaa-bbbb-cccc-000000000000
1.util unsupported
1.memory_total 85899345920
1.memory_used 1000
1.power unsupported
1.temperature 30
1.throttle 0x4
1.ecc unsupported
"""

READING = """
import json, sys
from launcher.model.codec import encode
from launcher.supervisor.readings.gpus import NvmlReader
from launcher.supervisor.readings.sources import Unavailable
reader = NvmlReader(json.loads(sys.argv[1]))
for line in sys.stdin:
    try:
        print(json.dumps(encode(reader.read())), flush=True)
    except Unavailable as error:
        print(json.dumps(str(error)), flush=True)
"""


@pytest.fixture(scope="module", params=["new", "old"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the library, of a driver of now or of one before 535."""
    folder = tmp_path_factory.mktemp(f"driver {request.param}")
    source = ROOT / "tests" / "nvml" / "fake_nvml.c"
    options = ["-DOLD_DRIVER"] if request.param == "old" else []
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-Wall",
        "-Werror",
        *options,
        "-o",
        str(folder / "libnvidia-ml.so.1"),
        str(source),
    ]
    subprocess.run(command, check=True, timeout=60)
    return folder


class Reading:
    """A process in which the client has loaded the library; each look is one reading."""

    def __init__(self, library: Path | None, told: Path, wanted: tuple[str, ...] = ()) -> None:
        environ = {**os.environ, "FAKE_NVML": str(told), "PYTHONPATH": str(ROOT)}
        environ["LD_LIBRARY_PATH"] = str(library) if library else "/nonexistent"
        self.process = subprocess.Popen(
            [sys.executable, "-c", READING, json.dumps(wanted)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )

    def __enter__(self) -> Reading:
        return self

    def look(self) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


@pytest.fixture
def told(tmp_path: Path) -> Path:
    path = tmp_path / "readings"
    path.write_text(H100)
    return path


def test_every_reading_of_a_gpu_and_none_for_what_it_does_not_have(library: Path, told: Path) -> None:
    with Reading(library, told) as reading:
        first, second = reading.look()
    assert first == {
        "index": 0,
        "name": "NVIDIA H100 80GB HBM3",
        "uuid": "GPU-11111111-aaaa-bbbb-cccc-000000000000",
        "utilisation": 1.0,
        "memory_used": 79000000000,
        "memory_total": 85899345920,
        "power": 71.5,
        "power_limit": 700.0,
        "temperature": 41.0,
        "throttled": ["sw_thermal_slowdown", "hw_thermal_slowdown"],
        "ecc_errors": 0,
        "xid_errors": [],
        "lost": False,
    }
    assert second["index"] == 1 and second["throttled"] == ["sw_power_cap"]
    assert not {"utilisation", "power", "power_limit", "ecc_errors"} & set(second)


@pytest.mark.parametrize(
    "wanted",
    [("1",), ("GPU-22222222-aaaa-bbbb-cccc-000000000000",), ("GPU-22222222",)],
    ids=["index", "uuid", "prefix"],
)
def test_only_the_gpus_of_the_attempt_are_read(library: Path, told: Path, wanted: tuple[str, ...]) -> None:
    with Reading(library, told, wanted) as reading:
        assert [gpu["index"] for gpu in reading.look()] == [1]


def test_a_gpu_that_is_lost_is_said_to_be_and_the_others_are_read_on(library: Path, told: Path) -> None:
    with Reading(library, told, ("0", "1")) as reading:
        assert [gpu["lost"] for gpu in reading.look()] == [False, False]
        told.write_text(H100.replace("0.util 100", "0.util lost"))
        first, second = reading.look()
    assert first["lost"] and "utilisation" not in first
    assert not second["lost"] and second["memory_used"] == 1000
    told.write_text(H100 + "0.handle lost\n")
    with Reading(library, told, ("0", "1")) as reading:
        assert [gpu["lost"] for gpu in reading.look()] == [True, False]


def test_an_xid_error_is_kept_once_it_has_happened(library: Path, told: Path) -> None:
    with Reading(library, told) as reading:
        assert reading.look()[0]["xid_errors"] == []
        told.write_text(H100 + "0.xid 79\nxid_serial 1\n")
        assert reading.look()[0]["xid_errors"] == [79]
        told.write_text(H100)
        first, second = reading.look()
    assert first["xid_errors"] == [79] and second["xid_errors"] == []
    told.write_text(H100.replace("events 1\n", ""))
    with Reading(library, told) as reading:
        assert "xid_errors" not in reading.look()[0], "not available is not none"


def test_a_driver_that_does_not_start_and_one_that_is_not_there_are_not_available(library: Path, told: Path) -> None:
    with Reading(None, told) as reading:
        assert "NVML does not start" in reading.look()
    told.write_text(H100 + "init 9\n")
    with Reading(library, told) as reading:
        assert "NVML does not start" in reading.look()
        told.write_text(H100)
        assert len(reading.look()) == 2, "it is asked again"


OBSERVING = """
import os, sys, time
from pathlib import Path
from tests.test_observer import spec
from launcher.supervisor.observer import Observer, Watched
job, folder = spec(), Path(sys.argv[1])
observer = Observer(Watched(job, job.tasks[0], 1, folder, None, (folder,), ("0",), time.time(), None, lambda: [os.getpid()]))
observer.start()
limit = time.monotonic() + 20
while time.monotonic() < limit:
    sample = observer.sample(time.monotonic(), time.time())
    if sample.gpus and sample.tree:
        break
    time.sleep(0.1)
print(sample.gpus[0].power if sample.gpus else sample.missing)
"""


def test_where_nvml_hangs_nvidia_smi_is_asked(library: Path, told: Path, tmp_path: Path) -> None:
    told.write_text(H100.replace("0.memory_total 85899345920", "0.memory_total hang"))
    programs = tmp_path / "programs"
    programs.mkdir()
    smi = programs / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho '0, NVIDIA H100, GPU-11111111, 100, 79000, 81559, 68.25, 700.00, 41, 0x1, 0'\n")
    smi.chmod(0o755)
    environ = {
        **os.environ,
        "FAKE_NVML": str(told),
        "LD_LIBRARY_PATH": str(library),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    command = [sys.executable, "-c", OBSERVING, str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)
    assert answer.stdout == "68.25\n", answer.stdout + answer.stderr


RECORDED = """0, NVIDIA A100-SXM4-80GB, GPU-5c1c5bd2-11d0-2a5e, 97, 70321, 81920, 312.45, 400.00, 63, 0x0000000000000004, 0
1, NVIDIA A100-SXM4-80GB, GPU-9e7d2bb1-0bd5-3f8e, [N/A], 3, 81920, [Unknown Error], [N/A], 34, 0x0000000000000001, [N/A]
2, Tesla V100, 32 GB, GPU-0a0a0a0a-0000-0000-0000-000000000000, [Not Supported], 5, 32768, [GPU is lost], 300.00, ERR!, [N/A], 2
Unable to determine the device handle for GPU 0000:3B:00.0: Unknown Error
"""


def test_recorded_output_of_nvidia_smi_with_its_ways_to_say_nothing() -> None:
    first, second, third = nvidia_smi.parse(RECORDED)
    assert (first.utilisation, first.memory_used, first.power) == (0.97, 70321 << 20, 312.45)
    assert first.throttled == ("sw_power_cap",) and first.ecc_errors == 0 and not first.lost
    assert (second.utilisation, second.power, second.power_limit, second.ecc_errors) == (None, None, None, None)
    assert second.throttled == () and second.temperature == 34
    assert third.name == "Tesla V100, 32 GB" and third.lost and third.temperature is None and third.ecc_errors == 2
    assert [one.index for one in nvidia_smi.chosen([first, second, third], ("2", "GPU-9e7d2bb1"))] == [2, 1]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'NVIDIA-SMI has failed because it could not communicate with the driver.'; exit 9", "ended with 9"),
        ("exec sleep 600", "did not answer within"),
        ("head -c 100000 /dev/urandom", "ended with 0"),
        ("exec yes 0,1,2", "did not answer|ended with"),
    ],
    ids=["fails", "hangs", "garbage", "endless"],
)
def test_a_program_that_fails_or_hangs_is_not_available(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{script}\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    begun = time.monotonic()
    with pytest.raises(Unavailable, match=said):
        nvidia_smi.SmiReader(deadline=1.0).read()
    assert time.monotonic() - begun < 8


@given(st.text())
def test_no_output_of_nvidia_smi_raises(text: str) -> None:
    nvidia_smi.parse(text)
    nvidia_smi.parse(", ".join([text] * len(nvidia_smi.FIELDS)))
    nvidia_smi.parse(f"0, {text}, GPU-1, " + ", ".join(["1e400", "nan", "-1", "0x", "inf", "9" * 400, "0xzz", text]))


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_every_reason_has_a_name(bits: int) -> None:
    assert all(name for name in throttle_names(bits))
