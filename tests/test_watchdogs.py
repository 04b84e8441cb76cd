"""The judges of disk and metrics on recorded series: what happened in real projects, and what must not be mistaken for it."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from launcher.model.outcome import Outcome
from launcher.model.phase import Checkpoints, Watch, Watches
from launcher.model.records import DiskReading, Progress
from launcher.supervisor.readings.disks import Usage, within
from launcher.supervisor.readings.quota import Quota, parse, tightest
from launcher.supervisor.readings.sample import CheckpointReading, MetricPoint, Sample
from tests.recorded import ALL_STOP, GB, Series, at, board, codes, disk, first, levels, play

# --- disk ---------------------------------------------------------------------------------------------------------------


def step_9000() -> Iterator[Sample]:
    """100 GB, 20 of it data; a checkpoint of 9 GB each 1000 steps, which take an hour; nothing is deleted although three
    were to be kept (environment-quantized-base-and-disk-full.md)."""
    for minute in range(0, 9 * 60, 5):
        step = minute * 1000 / 60
        count = int(step // 1000)
        saved = CheckpointReading(
            complete=tuple(f"/data/checkpoint-{1000 * n}" for n in range(1, count + 1)),
            sizes=(9 * GB,) * count,
            times=tuple(1.7e9 + 3600.0 * n for n in range(1, count + 1)),
        )
        rate = 9 * GB / 3600 if minute >= 90 else None
        yield at(
            minute * 60.0,
            disks=(disk((20 + 9 * count) * GB, rate=rate),),
            checkpoints=saved,
            progress=Progress(step=step, total=28000.0, at=1.7e9 + minute * 60),
        )


def test_the_disk_that_was_full_at_step_9000_is_seen_hours_before() -> None:
    rules = Checkpoints(path="out", keep_last=3, every=3600.0)
    played = play(board(checkpoints=rules), step_9000())
    assert levels(played, "disk.full") == ["notice", "warning", "act"]
    sample, finding = first(played, "disk.too_many_checkpoints")
    assert sample.elapsed <= 5 * 3600 and "keep_last is 3" in finding.message
    sample, stop = next((sample, one.stop) for sample, one in played if one.stop)
    assert stop.outcome is Outcome.OUT_OF_DISK
    assert sample.disks and sample.disks[0].free is not None and sample.disks[0].free > 0, "before it is full"
    warned = play(board(Watches(disk=Watch.WARN), checkpoints=rules), step_9000())
    assert not any(one.stop for _, one in warned)
    assert "disk.no_room_for_checkpoint" in codes(warned[-1][1])


def test_the_forecast_names_the_next_checkpoint() -> None:
    saved = CheckpointReading(("/data/a",), (GB,), (1.7e9,))
    rules = Checkpoints(path="out", every=1320.0)
    series = [at(600.0 * n, disks=(disk(40 * GB, rate=60 * GB / 840),), checkpoints=saved) for n in range(2)]
    _, finding = first(play(board(checkpoints=rules), series), "disk.filling")
    assert finding.message == "/data is full in 14m at 71.4MB/s, before the next checkpoint in 22m"


def test_a_disk_that_others_have_filled_and_that_stays_so_ends_nothing() -> None:
    full = disk(3_700 * GB, total=4_000 * GB)
    played = play(board(), [at(10.0 * n, disks=(full,)) for n in range(5)])
    assert levels(played, "disk.full") == ["act"]
    assert not any(one.stop for _, one in played)


def test_a_disk_that_wavers_about_a_mark_is_one_finding() -> None:
    series = [at(10.0 * n, disks=(disk((80.5 if n % 2 else 79.5) * GB),)) for n in range(20)]
    played = play(board(), series)
    assert levels(played, "disk.full") == ["notice", "warning"]
    since = {finding.since for _, one in played for finding in one.findings if finding.code == "disk.full"}
    assert since == {series[0].wall}


def test_two_paths_on_one_disk_are_one_finding_and_few_inodes_another() -> None:
    same = disk(85 * GB)
    bare = replace(same, inodes_free=50)
    (_, judgement), *_ = play(board(), [at(0, disks=(same, replace(same, path="/data/out")))])
    assert [one.code for one in judgement.findings] == ["disk.full"]
    (_, judgement), *_ = play(board(), [at(0, disks=(bare,))])
    assert judgement.stop is not None and "inodes" in judgement.stop.reason


def test_a_quota_is_a_disk_of_its_own_size() -> None:
    """The disk has room for a year, the user's quota for one more checkpoint."""
    plenty = Usage(used=10 * GB, free=990 * GB, total=1000 * GB, inodes_free=10**6, inodes_total=10**7)
    limit = Quota(used=95 * GB, limit=100 * GB, inodes_used=500, inodes_limit=None)
    assert within(plenty, None) == plenty and not plenty.quota
    assert within(plenty, Quota(5, None, 5, None)) == plenty, "a quota without a limit limits nothing"
    roomy = Quota(used=1, limit=10_000 * GB, inodes_used=5, inodes_limit=None)
    assert within(plenty, roomy) == plenty, "one that leaves more than the disk has says nothing"
    seen = within(plenty, limit)
    assert (seen.used, seen.free, seen.total, seen.quota) == (95 * GB, 5 * GB, 100 * GB, True)
    reading = DiskReading("/home", seen.used, seen.free, seen.total, seen.inodes_free, seen.inodes_total, quota=True)
    _, finding = first(play(board(), [at(10.0, disks=(reading,))]), "disk.full")
    assert finding.level == "act" and finding.message == "the quota on /home is 95 % full, 5GB left"
    files = within(plenty, Quota(used=1, limit=None, inodes_used=990, inodes_limit=1000))
    assert (files.inodes_free, files.inodes_total) == (10, 1000)


def test_what_the_kernel_says_of_a_quota() -> None:
    """struct if_dqblk: limits in blocks of 1 KiB, usage in bytes. The call itself is made for real, whatever it answers."""
    record = struct.pack("=8QI", 2048, 1024, 3000, 100, 50, 7, 0, 0, 63)
    assert parse(record) == Quota(3000, 2048 * 1024, 7, 100)
    assert parse(struct.pack("=8QI", 0, 1024, 3000, 0, 50, 7, 0, 0, 63)) == Quota(3000, 1024 * 1024, 7, 50)
    assert parse(struct.pack("=8QI", 0, 0, 3000, 0, 0, 7, 0, 0, 63)) == Quota(3000, None, 7, None)
    found = tightest(Path.home())
    assert found is None or found.used >= 0
    assert tightest(Path("/nowhere at all")) is None


def test_a_checkpoint_that_is_larger_than_the_others_is_told() -> None:
    saved = CheckpointReading(("/c/1", "/c/2", "/c/3"), (GB, GB, 3 * GB), (1.0, 2.0, 3.0))
    _, finding = first(play(board(checkpoints=Checkpoints("c")), [at(0, checkpoints=saved)]), "disk.checkpoint_larger")
    assert "3GB" in finding.message and "1GB" in finding.message
    few = CheckpointReading(("/c/9", "/c/10"), (2, 3), (1.0, 2.0))
    assert not play(board(checkpoints=Checkpoints("c")), [at(0, checkpoints=few)])[0][1].findings


# --- metrics --------------------------------------------------------------------------------------------------------------


def losses(*values: float, name: str = "loss") -> Series:
    return [at(10.0 * n, points=(MetricPoint(name, value, float(n)),)) for n, value in enumerate(values)]


def test_nan_at_micro_step_8() -> None:
    played = play(board(), losses(10.8, 10.7, 10.9, 10.6, 10.8, 10.7, 10.7, 10.6, math.nan, math.nan))
    sample, finding = first(played, "metrics.not_finite")
    assert sample.points[0].step == 8
    assert finding.level == "act"
    assert finding.message == "loss is NaN at step 8; its last finite value was 10.6 at step 7"
    assert played[8][1].stop is not None and played[8][1].stop.outcome is Outcome.FAILED
    assert not any(one.findings for _, one in played[:8])
    assert play(board(Watches()), losses(1.0, math.nan))[-1][1].stop is None


def test_a_nan_between_two_samples_is_told_though_the_newest_value_is_finite() -> None:
    points = (MetricPoint("loss", math.nan, 8), MetricPoint("loss", 2.0, 9))
    (_, judgement), *_ = play(board(), [at(0, points=points)])
    assert [(one.code, one.level) for one in judgement.findings] == [("metrics.not_finite", "warning")]
    assert judgement.stop is None


def test_a_gradient_that_overflows_in_mixed_precision_is_no_end() -> None:
    played = play(board(), losses(1.0, math.inf, 1.0, name="grad_norm"))
    assert levels(played, "metrics.not_finite") == ["warning"]
    assert not any(one.stop for _, one in played)


def test_a_loss_of_exactly_nothing_in_training_and_validation() -> None:
    """Some hundred steps down to 0.0 in both (zero-loss-and-apple-silicon.md)."""

    def series() -> Iterator[Sample]:
        for n in range(30):
            loss = max(0.0, 1.4 - 0.1 * n)
            points = [MetricPoint("train_loss", 0.0 if loss < 1e-9 else loss, 20.0 * n)]
            if n % 5 == 0:
                points.append(MetricPoint("val_loss", 0.0 if n > 20 else loss + 0.01, 20.0 * n))
            yield at(10.0 * n, points=tuple(points))

    played = play(board(), series())
    assert levels(played, "metrics.zero_loss") == ["warning", "act"]
    stop = next(one.stop for _, one in played if one.stop)
    assert stop.reason == "train_loss and val_loss are exactly 0.0"
    small = play(board(), losses(*[1e-9] * 10))
    assert not any(one.findings for _, one in small)


def test_divergence_is_told_and_noise_is_not() -> None:
    calm = [2.0 + 0.4 * math.sin(n) - 0.01 * n for n in range(60)]
    assert not any(one.findings for _, one in play(board(), losses(*calm)))
    rising = [*calm, *[1.6 * 1.35**n for n in range(20)]]
    played = play(board(), losses(*rising))
    assert levels(played, "metrics.divergence") == ["warning", "act"]
    converged = [10.0 * 0.5**n for n in range(30)] + [1e-4, 3e-4, 1e-3, 4e-3, 2e-3, 1e-3, 3e-3]
    assert not any(one.findings for _, one in play(board(), losses(*converged)))


def test_the_users_own_rules() -> None:
    watch = replace(ALL_STOP, rules=("val_loss < 0.01", "nonsense", "acc >= 1e"))
    played = play(board(watch), losses(0.5, 0.02, 0.009, name="val_loss"))
    assert "metrics.rule" not in codes(played[1][1])
    stop = played[2][1].stop
    assert stop is not None and stop.reason == "val_loss is 0.009 at step 2: val_loss < 0.01"
    assert "metrics.bad_rule" in codes(played[0][1])


def test_every_rule_that_a_phase_may_have_is_understood_here() -> None:
    watch = replace(ALL_STOP, rules=("loss isnan", "isnan(val/loss)", "grad_norm >= inf", "lr != 0.1"))
    names = {"loss": math.nan, "val/loss": math.nan, "grad_norm": math.inf, "lr": 0.2}
    points = tuple(MetricPoint(name, value, 1.0) for name, value in names.items())
    found = play(board(watch), [at(0, points=points)])[0][1].findings
    assert sum(one.code == "metrics.rule" for one in found) == 4
    assert all(one.code != "metrics.bad_rule" for one in found)
