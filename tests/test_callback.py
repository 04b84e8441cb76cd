"""`LaunchCallback` in real Trainer runs of a tiny model, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parent.parent
DEADLINE_S = 120.0

SCRIPT = """
import os, sys
from pathlib import Path
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments
from launcher import task
from launcher.runtime.callback import LaunchCallback

class AskToStop(TrainerCallback):
    # As the supervisor does, in the middle of the training. Comes after LaunchCallback, so it is seen one step later.
    def on_step_end(self, args, state, control, **_):
        if state.global_step == int(os.environ.get("STOP_AT", "0")) and state.is_world_process_zero:
            Path(os.environ["LAUNCH_STOP_FILE"]).touch()

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                     num_attention_heads=2, num_key_value_heads=2))
rows = [{"input_ids": torch.arange(4) + n % 8, "labels": torch.arange(4) + n % 8} for n in range(64)]
more = {"eval_strategy": "steps", "eval_steps": 4} if "EVALUATE" in os.environ else {}
arguments = TrainingArguments(output_dir="trained", max_steps=int(os.environ["STEPS"]), logging_steps=2, save_steps=3,
                              per_device_train_batch_size=2, report_to=[], use_cpu=True, disable_tqdm=True, **more)
callback = LaunchCallback(exit_when_stopped="STAY" not in os.environ)
data = {"train_dataset": rows, "eval_dataset": rows[:4]}
trainer = Trainer(model=model, args=arguments, callbacks=[callback, AskToStop()], **data)
trainer.train(resume_from_checkpoint=str(task.resume_from()) if task.resume_from() else None)
print("trained", trainer.state.global_step, callback.stopped)
"""


def train(folder: Path, processes: int = 1, **more: str) -> subprocess.CompletedProcess[str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("LAUNCH_")}
    env = {
        **plain,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "LAUNCH_PROGRESS": str(folder / "progress.jsonl"),
        "LAUNCH_METRICS": str(folder / "metrics.jsonl"),
        "LAUNCH_STOP_FILE": str(folder / "stop"),
        **more,
    }
    (folder / "train.py").write_text(SCRIPT)
    many = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    return subprocess.run(
        [sys.executable, *many, "train.py"], cwd=folder, env=env, capture_output=True, text=True, timeout=DEADLINE_S
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def checkpoints(folder: Path) -> list[dict[str, Any]]:
    return [line for line in lines(folder / "progress.jsonl") if "checkpoint" in line]


def test_a_training_tells_progress_metrics_and_checkpoints(tmp_path: Path) -> None:
    ended = train(tmp_path, STEPS="7", EVALUATE="1")
    assert ended.returncode == 0, ended.stderr
    assert "trained 7 False" in ended.stdout
    told = lines(tmp_path / "progress.jsonl")
    assert told[0] == {"step": 0, "total": 7, "stage": "train"}
    steps = [line["step"] for line in told if "total" in line]
    assert steps == sorted(steps) and steps[-1] == 7
    assert "evaluate" in {line.get("stage") for line in told}
    messages = [line["message"] for line in told if "message" in line]
    assert any("loss" in message and "steps/s" in message for message in messages)
    saved = checkpoints(tmp_path)
    assert [line["step"] for line in saved] == [3, 6, 7]
    assert all((Path(line["checkpoint"]) / "trainer_state.json").is_file() for line in saved)
    assert saved[1]["metrics"]["eval_loss"] > 0
    metrics = lines(tmp_path / "metrics.jsonl")
    losses = [line for line in metrics if "loss" in line]
    assert [line["step"] for line in losses] == [2, 4, 6]
    assert all(line["steps_per_s"] > 0 and line["loss"] > 0 for line in losses)
    assert any("eval_loss" in line for line in metrics)


def test_a_stop_saves_and_ends_and_the_rest_is_trained_from_there(tmp_path: Path) -> None:
    stopped = train(tmp_path, STEPS="40", STOP_AT="4")
    assert stopped.returncode == os.EX_TEMPFAIL, stopped.stderr
    assert "trained" not in stopped.stdout and "Traceback" not in stopped.stderr
    last = checkpoints(tmp_path)[-1]
    assert last["step"] == 5
    (tmp_path / "stop").unlink()
    finished = train(tmp_path, STEPS="8", LAUNCH_RESUME_FROM=last["checkpoint"])
    assert finished.returncode == 0, finished.stderr
    assert "trained 8 False" in finished.stdout
    resumed = [line["step"] for line in lines(tmp_path / "progress.jsonl") if line.get("stage") == "train"]
    assert resumed == [0, 5]


def test_a_stop_at_the_last_step_is_a_finished_training(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    ended = train(tmp_path, STEPS="1")
    assert ended.returncode == 0, ended.stderr
    assert "trained 1 False" in ended.stdout


def test_several_processes_stop_at_the_same_step_and_code_can_decide_itself(tmp_path: Path) -> None:
    ended = train(tmp_path, processes=2, STEPS="60", STOP_AT="12", STAY="1")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("trained 20 True") == 2
    assert [line["step"] for line in checkpoints(tmp_path)][-1] == 20
    losses = [line["step"] for line in lines(tmp_path / "metrics.jsonl") if "loss" in line]
    assert losses == list(range(2, 21, 2))  # of one process, not of both
