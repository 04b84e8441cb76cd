"""`LaunchCallback`: a transformers Trainer that tells how far it is, and stops with a checkpoint when it is asked to.

from launcher.runtime.callback import LaunchCallback
trainer = Trainer(…, callbacks=[LaunchCallback()])
trainer.train(resume_from_checkpoint=task.resume_from())
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from launcher import task

SHARED_STOP_EVERY = 10
"""Several processes agree on a stop every so many steps: one that stopped alone would leave the others waiting."""


class LaunchCallback(TrainerCallback):  # type: ignore[misc] # transformers is read as untyped
    """Progress after each step, metrics at each log, a declaration at each save, a clean end at a stop request.

    At a stop request the Trainer saves and its training ends; then, unless `exit_when_stopped` is False, the process
    ends with `task.STOPPED_EXIT_CODE`, so that what follows `train()` cannot take a half-trained model for a finished
    one. `stopped` tells the same to code that would rather decide itself. Outside of `launch` it does nothing.
    """

    def __init__(self, *, exit_when_stopped: bool = True) -> None:
        self.exit_when_stopped = exit_when_stopped
        self.stopped = False
        self._begun: Optional[tuple[float, int]] = None  # when, and at which step
        self._measured: dict[str, float] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.stopped = False
        self._begun = (time.monotonic(), state.global_step)
        if state.is_world_process_zero:
            task.progress(state.global_step, _total(state), stage="train")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if state.is_world_process_zero:
            task.progress(state.global_step, _total(state))
        finished = state.max_steps > 0 and state.global_step >= state.max_steps
        if not finished and self._asked_to_stop(args, state):
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True
        return control

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            task.progress(state.global_step, _total(state), stage="train")

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            task.progress(state.global_step, _total(state), stage="evaluate")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Optional[Mapping[str, Any]] = None,
        **_: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs:
            return
        measured = {key: float(value) for key, value in logs.items() if _is_number(value)}
        self._measured.update(measured)
        rate = self._steps_per_s(state)
        if rate is not None:
            measured["steps_per_s"] = rate
        task.metric(state.global_step, **{key: value for key, value in measured.items() if key != "step"})
        shown = ", ".join(f"{key} {measured[key]:.4g}" for key in ("loss", "eval_loss") if key in measured)
        if shown:
            speed = "" if rate is None else f", {rate:.3g} steps/s"
            task.progress(state.global_step, _total(state), message=f"{shown}{speed}")

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The Trainer calls this after everything of the checkpoint is written."""
        if not state.is_world_process_zero or args.output_dir is None:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if folder.is_dir():
            known = {key: value for key, value in self._measured.items() if "loss" in key or key.startswith("eval_")}
            task.checkpoint_saved(folder, state.global_step, **known)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.stopped and self.exit_when_stopped:
            raise SystemExit(task.STOPPED_EXIT_CODE)

    def _asked_to_stop(self, args: TrainingArguments, state: TrainerState) -> bool:
        if self.stopped or args.world_size <= 1:
            return self.stopped or task.stop_requested()
        if state.global_step % SHARED_STOP_EVERY != 0:
            return False
        return _any_process(task.stop_requested(), args)

    def _steps_per_s(self, state: TrainerState) -> Optional[float]:
        """Since this process began to train: steps of an attempt before it do not count."""
        if self._begun is None:
            return None
        seconds, steps = time.monotonic() - self._begun[0], state.global_step - self._begun[1]
        return steps / seconds if seconds > 0 and steps > 0 else None


def _any_process(here: bool, args: TrainingArguments) -> bool:
    """Whether it is so in any process of the group; every process calls this at the same step."""
    import torch
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return here
    flag = torch.tensor([int(here)], device=args.device)
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
    return bool(flag.item())


def _total(state: TrainerState) -> Optional[int]:
    return state.max_steps if state.max_steps > 0 else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
