"""Earlier results: reused where nothing changed, asked about where something did, run where there is none or a poor one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import DecisionNeeded, Refused, UsageError
from launcher.model import codec
from launcher.model.outcome import Outcome
from launcher.model.phase import Output
from launcher.model.records import Manifest
from launcher.operations import results
from launcher.operations.plan import plan
from launcher.operations.protect import Decision
from launcher.operations.submit import Submitted, submit
from launcher.operations.wait import wait
from launcher.store import keys, records
from tests.projects import project, request, store_of


def _finish(root: Path, done: Submitted) -> None:
    for job in done.jobs:
        if job.job is not None:
            view = wait(store_of(root), job.job, timeout=60)
            assert view.outcome is Outcome.SUCCEEDED, view


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose two phases have succeeded, for real; tests take copies of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        root = project(tmp_path_factory.mktemp("made") / "a 'project'\nhere")
        _finish(root, submit(request(root, "collect", "train")))
    return root


@pytest.fixture
def done(made: Path, tmp_path: Path) -> Path:
    root = tmp_path / made.name
    shutil.copytree(made, root, symlinks=True)
    return root


def _decide(root: Path, *phases: str, **said: Any) -> dict[tuple[str, int], Decision]:
    found = plan(request(root, *phases, **said)).jobs
    return {(job.spec.phase, decision.task): decision for job in found for decision in job.decisions}


def _edit(root: Path, path: str, change: Callable[[Manifest], Manifest]) -> None:
    file = root / keys.workspace_manifest(path)
    file.write_bytes(codec.dump(change(codec.load(Manifest, file.read_bytes(), "m"))))


def test_nothing_changed_so_everything_is_reused(done: Path) -> None:
    before = store_of(done).names(keys.JOBS)
    submitted = submit(request(done, "collect"))
    assert [job.job for job in submitted.jobs] == [None]
    assert submitted.following == ("train",)
    assert [decision.action for decision in submitted.jobs[0].reused] == ["reuse"]
    assert store_of(done).names(keys.JOBS) == before
    assert {d.action for d in _decide(done, "collect", "train").values()} == {"reuse"}


def test_yes_never_means_to_make_results_again(done: Path) -> None:
    assert submit(request(done, "collect", yes=True)).jobs[0].job is None
    (done / "make.py").write_text((done / "make.py").read_text() + "# changed\n")
    with pytest.raises(DecisionNeeded):
        submit(request(done, "collect", yes=True))


def test_changed_code_is_asked_about_with_the_names_of_the_files(done: Path) -> None:
    (done / "make.py").write_text((done / "make.py").read_text() + "# changed\n")
    (done / "new.py").write_text("")
    with pytest.raises(DecisionNeeded) as needed:
        submit(request(done, "collect"))
    text = str(needed.value)
    assert needed.value.exit_code == 4
    assert "make.py, new.py changed since" in text and "states/data.txt" in text and "fidelity 0.9" in text
    assert "models/1/model.txt (train)" in text  # what would no longer be up to date
    assert needed.value.hint is not None and "--reuse" in needed.value.hint and "--rerun" in needed.value.hint


def test_results_and_other_phases_files_are_no_code(done: Path) -> None:
    (done / "jobs" / "train.yaml").write_text((done / "jobs" / "train.yaml").read_text() + "# a remark\n")
    (done / "jobs" / "other.yaml").write_text("command: 'true'\n")
    assert _decide(done, "collect")["collect", 0].action == "reuse"
    assert _decide(done, "train")["train", 0].action == "ask"


def test_changed_parameters_are_named(done: Path) -> None:
    decision = _decide(done, "collect", sets=["seed=7"])["collect", 0]
    assert decision.action == "ask" and decision.changed == ("parameters: seed 1 -> 7",)
    assert decision.seconds is not None and decision.seconds > 0


def test_a_changed_command_is_seen(done: Path) -> None:
    file = done / "jobs" / "collect.yaml"
    file.write_text(file.read_text().replace('"{outputs.states}"]', '"{outputs.states}", make.py]'))
    assert "the command" in _decide(done, "collect")["collect", 0].changed


def test_a_changed_input_is_named_for_the_tasks_that_read_it(done: Path) -> None:
    (done / "states" / "data.txt").write_text("other")
    decisions = _decide(done, "train")
    assert {d.changed for d in decisions.values()} == {("input states (states/data.txt)",)}


def test_an_upstream_that_runs_again_is_a_changed_input(done: Path) -> None:
    decisions = _decide(done, "collect", "train", sets=["fidelity=0.95"])
    assert decisions["collect", 0].action == "ask"
    assert decisions["train", 0].changed[-1] == "input states (phase collect makes it anew)"


@pytest.mark.parametrize(
    ("fidelity", "action"),
    [(0.9, "reuse"), (0.85, "reuse"), (0.8, "ask"), (0.69, "run"), (None, "ask"), (float("nan"), "ask")],
)
def test_quality_decides(done: Path, fidelity: float | None, action: str) -> None:
    metrics = {} if fidelity is None else {"fidelity": fidelity}
    _edit(done, "states/data.txt", lambda m: replace(m, metrics=metrics))
    assert _decide(done, "collect")["collect", 0].action == action


@pytest.mark.parametrize(
    ("good", "poor", "value", "wanted"),
    [
        (0.85, 0.7, 0.9, "good"), (0.85, 0.7, 0.7, "fair"), (0.85, 0.7, 0.69, "poor"),
        (0.1, 0.5, 0.05, "good"), (0.1, 0.5, 0.5, "fair"), (0.1, 0.5, 0.6, "poor"),
        (None, 0.5, 0.6, "good"), (None, 0.5, 0.4, "poor"), (0.5, None, 0.4, "fair"), (None, None, 0.4, None),
    ],
)  # fmt: skip
def test_thresholds(good: float | None, poor: float | None, value: float, wanted: str | None) -> None:
    assert results.quality(Output("o", "m", good, poor), {"m": value}) == wanted


def test_files_that_are_gone_damaged_or_foreign(done: Path) -> None:
    (done / "states" / "data.txt").write_text("x" * len((done / "states" / "data.txt").read_text()))
    assert "holds something else" in _decide(done, "collect")["collect", 0].reason
    (done / "states" / "data.txt").write_text("short")
    assert "bytes instead of" in _decide(done, "collect")["collect", 0].reason
    (done / "states" / "data.txt").unlink()
    assert _decide(done, "collect")["collect", 0].action == "run"
    shutil.rmtree(done / ".launch" / "manifests" / "states")
    (done / "states" / "data.txt").write_text("mine")
    decision = _decide(done, "collect")["collect", 0]
    assert decision.action == "ask" and "was not made by a job" in decision.reason


@pytest.mark.parametrize("garbage", [b"", b"{}", b"\xff", b"[" * 99_999, b'{"schema": 1}'])
def test_a_garbage_manifest_is_no_manifest(done: Path, garbage: bytes) -> None:
    (done / keys.workspace_manifest("states/data.txt")).write_bytes(garbage)
    assert _decide(done, "collect")["collect", 0].action == "ask"
    assert {d.action for d in _decide(done, "train").values()} == {"reuse"}


def test_an_earlier_snapshot_that_is_gone_is_said(done: Path) -> None:
    (done / "make.py").write_text("changed")
    shutil.rmtree(store_of(done).root / "snapshots")
    assert "which files is not known" in _decide(done, "collect")["collect", 0].reason


def test_the_answers(done: Path) -> None:
    (done / "make.py").write_text((done / "make.py").read_text() + "# changed\n")
    asked: list[tuple[str, tuple[int, ...]]] = []

    def keep(phase: str, undecided: tuple[Decision, ...]) -> str:
        asked.append((phase, tuple(one.task for one in undecided)))
        return "reuse"

    assert submit(request(done, "train"), keep).jobs[0].job is None  # type: ignore[arg-type]
    assert asked == [("train", (0, 1))]
    assert submit(request(done, "train", reuse=True)).jobs[0].job is None
    with pytest.raises(UsageError):
        request(done, "train", reuse=True, rerun=True)


def test_only_what_is_missing_runs(done: Path) -> None:
    shutil.rmtree(done / "models" / "2")
    submitted = submit(request(done, "train"))
    assert submitted.jobs[0].tasks == (1,)
    assert [one.task for one in submitted.jobs[0].reused] == [0]
    _finish(done, submitted)
    assert {d.action for d in _decide(done, "train").values()} == {"reuse"}


def test_a_rerun_sets_the_old_aside(done: Path) -> None:
    before = (done / "states" / "data.txt").read_bytes()
    submitted = submit(request(done, "collect", rerun=True, sets=["seed=9"]))
    _finish(done, submitted)
    assert json.loads((done / "states" / "data.txt").read_text())["seed"] == 9
    old = [p for p in (done / ".launch" / "superseded").rglob("data.txt") if p.is_file()]
    assert [p.read_bytes() for p in old] == [before]
    decisions = _decide(done, "train")
    assert {d.action for d in decisions.values()} == {"ask"}


def test_a_phase_whose_upstream_never_ran_is_refused_with_the_command(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    with pytest.raises(Refused) as refused:
        submit(request(root, "train"))
    assert refused.value.hint == "launch submit collect train"
    assert records.jobs(store_of(root)) == []
