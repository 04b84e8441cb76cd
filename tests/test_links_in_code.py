"""A project whose code holds links to data elsewhere: what an attempt makes and uses never reaches through them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.model.outcome import Outcome
from launcher.model.phase import Checkpoints
from tests.supervising import Stage

MAKE = "import os; os.makedirs('results/model', exist_ok=True); open('results/model/w', 'w').write('new')"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def linked(stage: Stage, name: str) -> Path:
    """A folder elsewhere, to which the project's code and the workspace both link under `name`."""
    elsewhere = stage.root / "big disk" / name
    elsewhere.mkdir(parents=True)
    for place in (stage.project, stage.workspace):
        (place / name).symlink_to(elsewhere)
    return elsewhere


def test_an_input_below_a_link_is_not_removed(stage: Stage) -> None:
    data = linked(stage, "data")
    (data / "train.csv").write_text("the only copy")
    (data / "deep").mkdir()
    (data / "deep" / "states.bin").write_text("hours of work")
    stage.job(
        "print(open('data/train.csv').read(), open('data/deep/states.bin').read(), open('data/other').read())",
        inputs={"table": "data/train.csv", "states": "data/deep"},
    )
    (data / "other").write_text("undeclared, and read all the same")
    record = stage.run()
    assert record.outcome is Outcome.SUCCEEDED, (record.reason, stage.output())
    assert "the only copy hours of work undeclared" in stage.output()
    assert (data / "train.csv").read_text() == "the only copy"
    assert (data / "deep" / "states.bin").read_text() == "hours of work"
    assert not (data / "train.csv").is_symlink()


@pytest.mark.parametrize("ending, outcome", [("", Outcome.SUCCEEDED), ("; raise SystemExit(3)", Outcome.FAILED)])
def test_an_earlier_result_below_a_link_is_set_aside_and_not_deleted(
    stage: Stage, ending: str, outcome: Outcome
) -> None:
    results = linked(stage, "results")
    (results / "model").mkdir()
    (results / "model" / "w").write_text("earlier")
    stage.job(MAKE + ending, outputs={"model": "results/model"})
    record = stage.run()
    assert record.outcome is outcome, record.reason
    kept = [path.read_text() for path in stage.root.rglob("w") if path.is_file()]
    assert "earlier" in kept and "new" in kept
    assert (results / "model" / "w").read_text() == ("new" if outcome is Outcome.SUCCEEDED else "earlier")


def test_checkpoints_below_a_link_are_the_attempts_own(stage: Stage) -> None:
    runs = linked(stage, "runs")
    (runs / "ckpt" / "step-1").mkdir(parents=True)
    (runs / "ckpt" / "step-1" / "state.json").write_text("{}")
    stage.job(
        "import os; os.makedirs('runs/ckpt/step-2'); open('runs/ckpt/step-2/state.json', 'w').write('[]')",
        checkpoints=Checkpoints(path="runs/ckpt", pattern="step-*"),
    )
    assert stage.run().outcome is Outcome.SUCCEEDED
    assert os.listdir(runs / "ckpt") == ["step-1"]
    assert (runs / "ckpt" / "step-1" / "state.json").read_text() == "{}"
