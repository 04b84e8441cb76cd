"""The judges of stalls, GPUs, memory, time and budget on recorded series, and of samples of any kind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.model.outcome import Outcome
from launcher.model.phase import Checkpoints, Resources, Watch, Watches
from launcher.model.records import DiskReading, Finding, GpuReading, HostReading, LogReading, Progress, TreeReading
from launcher.supervisor.readings.sample import CheckpointReading, Judgement, MetricPoint, Sample
from tests.recorded import ALL_STOP, GB, all_of, at, board, codes, disk, first, levels, play

# --- stall ----------------------------------------------------------------------------------------------------------------


def gpu(used: float, power: float = 500.0, **more: Any) -> GpuReading:
    plain: dict[str, Any] = {
        "index": 0,
        "utilisation": used,
        "power": power,
        "power_limit": 700.0,
        "memory_used": 30 * GB,
    }
    return GpuReading(**{**plain, "memory_total": 80 * GB, **more})


def silent(start: float, end: float, **given: Any) -> Iterator[Sample]:
    for n in range(int((end - start) / 10)):
        yield at(start + 10.0 * n, **{"log": LogReading(100, "loading"), **given})


def stepping(count: int, every: float, **given: Any) -> Iterator[Sample]:
    """Steps of `every` seconds, looked at each 10 s."""
    for n in range(int(count * every / 10)):
        yield at(10.0 * n, **{"progress": Progress(step=float(10 * n // every), total=500.0), **given})


def test_the_buffered_job_that_looks_dead_is_silent_but_busy() -> None:
    played = play(board(), silent(0, 7200, tree=TreeReading(1, 1.0, GB), gpus=(gpu(0.8),)))
    assert levels(played, "stall.silent_but_busy") == ["notice"]
    assert not any(one.stop for _, one in played)
    sample, finding = first(played, "stall.silent_but_busy")
    assert 100 <= sample.elapsed <= 140
    assert "CPU 1.00 cores" in finding.message and "GPU 80 %" in finding.message


def test_the_70b_model_that_hangs_in_generate_is_stalled_with_evidence_before_the_end() -> None:
    hang = silent(0, 3600, tree=TreeReading(1, 0.001, GB), gpus=(gpu(0.0, 70.0),), progress=Progress(stage="generate"))
    played = play(board(), hang)
    assert levels(played, "stall.stalled") == ["act"]
    sample, _ = first(played, "stall.stalled")
    assert 900 <= sample.elapsed <= 920
    evidence = [sample.elapsed for sample, one in played if one.evidence]
    stops = [sample.elapsed for sample, one in played if one.stop]
    assert evidence and stops and evidence[0] <= stops[0]
    assert len(evidence) <= 5
    warned = play(board(Watches()), silent(0, 3600, tree=TreeReading(1, 0.001, GB)))
    assert not any(one.stop for _, one in warned) and len([1 for _, one in warned if one.evidence]) == 1


def test_a_collective_that_waits_at_full_use_and_idle_power_spins() -> None:
    """All ranks beat on for half an hour at 100 % and 70 W (marin#7344, soperator#796)."""
    before = list(stepping(60, 10.0, gpus=(gpu(0.98),)))
    stuck = [
        at(600.0 + 10 * n, gpus=(gpu(1.0, 71.0),), progress=Progress(step=59.0, total=500.0), log=LogReading(6000))
        for n in range(200)
    ]
    played = play(board(gpus=1), [*before, *stuck])
    sample, finding = first(played, "stall.spinning")
    assert sample.elapsed < 900, "learnt from steps of 10 s, long before the general limit"
    assert "10 % of its power" in finding.message
    assert finding.level == "warning"
    stop = next((sample, one.stop) for sample, one in played if one.stop)
    assert stop[0].elapsed >= 590 + 900 and stop[1].outcome is Outcome.STALLED


def test_progress_that_stands_still_while_the_log_beats_on_spins() -> None:
    before = list(stepping(60, 10.0))
    stuck = [at(600.0 + 10 * n, progress=Progress(step=59.0, total=500.0, stage=None)) for n in range(120)]
    played = play(board(), [*before, *stuck])
    _, finding = first(played, "stall.spinning")
    assert "at step 59" in finding.message and "steps took 10s" in finding.message


def test_steps_of_fifteen_minutes_are_work_once_they_are_known() -> None:
    """236B, mostly on the CPU: 5 to 15 minutes a step (70b-hang-in-generate.md)."""
    played = play(board(Watches(stall=Watch.STOP, stall_after=600.0)), stepping(12, 880.0, log=LogReading(1)))
    late = [one for sample, one in played if sample.elapsed > 6 * 880]
    assert not any(one.stop for one in late)
    assert not any(code == "stall.spinning" for one in late for code in codes(one))


def test_a_model_that_is_loaded_from_a_slow_disk_is_busy() -> None:
    series = [replace(one, io_bytes=int(one.elapsed * 5e6)) for one in silent(0, 3600, tree=TreeReading(1, 0.01, GB))]
    played = play(board(), series)
    assert levels(played, "stall.silent_but_busy") == ["notice"]


def test_nothing_known_about_cpu_and_gpu_is_called_unknown_and_ends_nothing() -> None:
    played = play(board(), silent(0, 7200, tree=None))
    assert levels(played, "stall.silent") == ["notice"]
    assert not any(one.stop for _, one in played)
    blind = play(board(), silent(0, 7200, log=None, tree=TreeReading(1, 0.0, GB)))
    assert not any(one.findings for _, one in blind), "a log that cannot be read is no silent log"


def test_a_finding_ends_when_life_returns() -> None:
    life = [at(2000.0 + 10 * n, log=LogReading(1000 + n)) for n in range(10)]
    played = play(board(Watches()), [*silent(0, 2000, tree=TreeReading(1, 0.0, GB)), *life])
    assert "stall.stalled" in codes(played[-11][1])
    assert "stall.stalled" not in codes(played[-1][1])


# --- gpu, memory, time, budget ---------------------------------------------------------------------------------------------


def test_a_gpu_that_is_full_before_generation_begins() -> None:
    full = gpu(0.9, memory_used=74 * GB)
    load = [at(10.0 * n, gpus=(full,), progress=Progress(stage="move")) for n in range(3)]
    generate = [
        at(30.0 + 10.0 * n, gpus=(full,), progress=Progress(stage="generate", step=float(n))) for n in range(12)
    ]
    played = play(board(gpus=1), [*load, *generate])
    _, finding = first(played, "gpu.memory_before_generation")
    assert finding.level == "warning" and "92 % full (6GB left)" in finding.message
    assert "gpu.memory_before_generation" not in codes(played[-1][1])
    training = play(board(gpus=1), [at(10.0 * n, gpus=(full,)) for n in range(5)])
    assert not any(one.findings for _, one in training)


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        (gpu(0.9, ecc_errors=3), gpu(0.9, ecc_errors=4), "gpu.ecc"),
        (gpu(0.9, xid_errors=()), gpu(0.9, xid_errors=(79,)), "gpu.xid"),
        (gpu(0.9), gpu(0.9, lost=True), "gpu.lost"),
    ],
)
def test_a_gpu_that_breaks(before: GpuReading, after: GpuReading, code: str) -> None:
    played = play(board(gpus=1), [at(0, gpus=(before,)), at(10, gpus=(after,))])
    assert not played[0][1].findings
    assert code in codes(played[1][1])
    assert played[1][1].stop is not None


def test_what_a_gpu_says_without_being_broken() -> None:
    own_fault = play(board(gpus=1), [at(10.0 * n, gpus=(gpu(0.9, xid_errors=(13,)),)) for n in range(3)])
    assert levels(own_fault, "gpu.xid") == ["warning"] and not any(one.stop for _, one in own_fault)
    capped = play(board(gpus=1), [at(10.0 * n, gpus=(gpu(0.9, throttled=("sw_power_cap",)),)) for n in range(9)])
    assert not any(one.findings for _, one in capped)
    hot = play(board(gpus=1), [at(10.0 * n, gpus=(gpu(0.9, throttled=("hw_slowdown",)),)) for n in range(9)])
    assert not hot[1][1].findings and levels(hot, "gpu.throttled") == ["warning"]
    gone = play(board(gpus=2), [at(0, gpus=(gpu(0.9), gpu(0.9, index=1))), at(10, gpus=(gpu(0.9),)), at(20, gpus=None)])
    assert "1 of 2 GPUs answer" in [one.message for one in gone[1][1].findings]


def test_memory_that_runs_out_and_a_kill_that_was_counted() -> None:
    def host(part: float, kills: int = 0) -> HostReading:
        return HostReading(40 * GB, 100 * GB, int(part * 64 * GB), 64 * GB, kills, 1.0)

    series = [at(10.0 * n, host=host(0.8 + 0.02 * n)) for n in range(10)]
    played = play(board(), series)
    assert levels(played, "memory.limit") == ["warning", "act"]
    stop = next(one.stop for _, one in played if one.stop)
    assert stop.outcome is Outcome.OUT_OF_MEMORY
    (_, judgement), *_ = play(board(), [at(0, host=host(0.3, kills=2))])
    assert "2 times" in judgement.findings[0].message
    assert not play(board(), [at(0, host=HostReading())])[0][1].findings


def test_a_task_that_takes_more_memory_than_it_asked_for() -> None:
    asked = (Resources(memory=GB),)
    played = play(
        board(resources=asked),
        [at(10.0, tree=TreeReading(3, 1.0, GB // 2)), at(20.0, tree=TreeReading(3, 1.0, 6 * GB))],
    )
    sample, finding = first(played, "memory.more_than_asked")
    assert sample.elapsed == 20.0 and finding.message == "the task uses 6GB of memory and asked for 1GB"
    assert played[-1][1].stop is None, "the others are told; the job goes on"
    silent = play(board(resources=asked), [at(10.0, tree=None), at(20.0, tree=TreeReading(3, 1.0, None))])
    assert not any(codes(judgement) for _, judgement in silent), "not available is not nothing"


def test_the_time_limit_leaves_room_for_saving() -> None:
    series = [at(60.0 * n) for n in range(61)]
    played = play(board(resources=(Resources(time=3600.0),)), series)
    sample, _ = first(played, "time.near")
    assert sample.elapsed == 3240
    sample, finding = first(played, "time.limit")
    assert 3570 <= sample.elapsed <= 3600 and finding.level == "act"
    needs = [at(600.0 + n, progress=Progress(step=1.0, total=10.0, left=9000.0)) for n in range(2)]
    assert "time.too_short" in codes(play(board(resources=(Resources(time=3600.0),)), needs)[0][1])
    assert not any(one.findings for _, one in play(board(), series))


def test_the_budget_counts_what_the_rest_of_the_job_has_cost() -> None:
    series = [at(600.0 * n, cost=0.5 * n, spent=5.0) for n in range(12)]
    played = play(board(budget=10.0), series)
    stop = next((sample, one.stop) for sample, one in played if one.stop)
    assert stop[0].cost == 5.0 and stop[1].outcome is Outcome.OVER_BUDGET
    assert stop[1].reason == "$10.00 of the budget of $10.00 are spent"
    assert not any(one.findings for _, one in play(board(budget=10.0), [at(60.0 * n) for n in range(3)]))


def test_a_watchdog_that_is_off_says_nothing() -> None:
    off = all_of(Watch.OFF)
    everything = at(
        1e6,
        disks=(disk(99.99 * GB, rate=1e9),),
        points=(MetricPoint("loss", math.nan),),
        gpus=(gpu(1.0, lost=True),),
        host=HostReading(0, GB, GB, GB, 4),
        cost=1e6,
    )
    assert play(board(off, resources=(Resources(time=1.0),), budget=1.0), [everything])[0][1] == Judgement()


# --- whatever comes --------------------------------------------------------------------------------------------------------

NUMBER = st.none() | st.floats() | st.integers(-(2**70), 2**70)
COUNT = st.none() | st.integers(-(2**70), 2**70)
NAME = st.sampled_from(["loss", "val_loss", "train_loss", "acc", "", "\x00 odd"]) | st.text(max_size=5)
SAMPLE = st.builds(
    Sample,
    mono=st.floats(0, 1e9),
    wall=st.floats(0, 1e12),
    log=st.none() | st.builds(LogReading, size=st.integers(0, 2**60)),
    progress=st.none()
    | st.builds(
        Progress, step=st.none() | st.floats(), total=st.none() | st.floats(), stage=st.none() | NAME, left=NUMBER
    ),
    tree=st.none() | st.builds(TreeReading, processes=st.integers(0, 9), cpu=st.none() | st.floats(), memory=COUNT),
    io_bytes=COUNT,
    gpus=st.none()
    | st.lists(
        st.builds(
            GpuReading,
            index=st.integers(0, 3),
            utilisation=NUMBER,
            memory_used=COUNT,
            memory_total=COUNT,
            power=NUMBER,
            power_limit=NUMBER,
            temperature=st.none() | st.floats(),
            throttled=st.none() | st.tuples(NAME),
            ecc_errors=COUNT,
            xid_errors=st.none() | st.tuples(st.integers(0, 200)),
            lost=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    disks=st.none()
    | st.lists(
        st.builds(
            DiskReading, NAME, COUNT, COUNT, COUNT, COUNT, COUNT, st.none() | st.floats(), st.none() | st.floats()
        ),
        max_size=3,
    ).map(tuple),
    host=st.none() | st.builds(HostReading, COUNT, COUNT, COUNT, COUNT, COUNT, NUMBER),
    points=st.lists(st.builds(MetricPoint, NAME, st.floats(), st.none() | st.floats()), max_size=9).map(tuple),
    checkpoints=st.none()
    | st.lists(st.tuples(NAME, st.integers(0, 2**60), st.floats(0, 1e12)), max_size=6).map(
        lambda rows: CheckpointReading(tuple(r[0] for r in rows), tuple(r[1] for r in rows), tuple(r[2] for r in rows))
    ),
    elapsed=st.floats(0, 1e9),
    cost=st.none() | st.floats(),
    spent=st.none() | st.floats(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(SAMPLE, min_size=1, max_size=8), st.booleans())
def test_no_sample_makes_a_judge_raise(samples: list[Sample], checkpoints: bool) -> None:
    judge = board(
        replace(ALL_STOP, rules=("loss < 0.1", "\x00")),
        gpus=2,
        budget=1.0,
        resources=(Resources(time=100.0),),
        checkpoints=Checkpoints("c", every=10.0, size=5) if checkpoints else None,
    )
    known: dict[str, Finding] = {}
    for sample in samples:
        judgement = judge.judge(sample)
        assert len(judgement.findings) <= 50
        for finding in judgement.findings:
            assert finding.level in ("notice", "warning", "act") and finding.message
            assert finding.code.startswith(f"{finding.watch}.")
        if judgement.stop is not None:
            assert judgement.stop.finding in judgement.findings
        known.update({one.code: one for one in judgement.findings})
