"""Phase 1, large models: a language model keeps a small store. One model per array index, from small to very large.

Runs under `launch submit phase1_large` and by hand:

    python jobs/phase1_large/main.py --model Qwen/Qwen2.5-7B-Instruct --days 3

Ends with 0 when all days are played, 75 when it saved and stopped as it was asked to, 1 when it failed and said why, 2
for arguments that make no sense.
"""

from __future__ import annotations

import errno
import json
import resource
import sys
from typing import Any, Optional

import settings as arguments
import weights
from narration import say, stopwatch
from settings import Settings
from state import BadCheckpoint, RunState, check_setting, load, place, sweep
from store_world import money, opening

from launcher import task


def main(argv: list[str]) -> int:
    settings = arguments.read(argv)
    say(f"{settings.model}, index {settings.index}: {settings.days} days, {settings.steps} steps, seed {settings.seed}")
    task.progress(0, settings.steps, stage="import")
    try:
        return _run(settings)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            task.fail("out of disk", f"{error.strerror}: {error.filename or 'while saving'}; saved steps are kept")
        raise
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, named so that torch is not imported for it
            raise
        from model_loading import memory_told

        task.fail(
            "out of memory", f"{str(error).splitlines()[0]}{memory_told()}; lower max_new_tokens or ask for more GPUs"
        )


def _run(settings: Settings) -> int:
    saved = _saved_state(settings)  # before the heavy imports: what is wrong here is said at once
    with stopwatch() as watch:
        import accelerate
        import torch
        import transformers
    versions = ", ".join(f"{module.__name__} {module.__version__}" for module in (torch, transformers, accelerate))
    say(f"import: {versions} in {watch.seconds:.2f}s")
    from inference import StopAsked
    from model_loading import load as load_model
    from simulation import play

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    found = _weights(settings)
    if not found.real:
        torch.set_num_threads(
            1
        )  # so small a model loses more to waiting threads than it gains, with tasks side by side
    setting = _setting(settings, found)
    state = _starting_state(settings, saved, setting)
    task.progress(state.done, settings.steps, stage="load")
    loaded = load_model(
        found.folder, dtype=settings.dtype, device_map=settings.device_map, offload=task.scratch() / "offload"
    )
    try:
        state = play(loaded, settings, found.note, state)
    except StopAsked:
        say("stopped as requested: every finished step is saved; --resume or `launch retry` goes on from the last")
        return task.STOPPED_EXIT_CODE
    _finish(settings, found, state)
    return 0


def _weights(settings: Settings) -> weights.Weights:
    """The real weights where they are (or must be), else tiny ones, and plainly which."""
    try:
        found = None if settings.weights == "tiny" else weights.find(settings.model, settings.models_dir)
        if found is None and settings.weights == "real":
            say(f"weights: fetching {settings.model} from the hub")
            task.progress(stage="download")
            found = weights.download(settings.model)
    except weights.WeightsMissing as error:
        task.fail("start failed", str(error))
    if found is None:
        from tiny_model import build

        why = "as asked" if settings.weights == "tiny" else "the real ones are not on this machine"
        with stopwatch() as watch:
            found = build(task.scratch() / f"tiny-{settings.index}", settings.model, settings.index)
        say(f"weights: TINY RANDOM WEIGHTS instead of {settings.model} ({why}); made in {watch.seconds:.2f}s")
        say("weights: this is a rehearsal of the whole path, and the answers mean nothing")
    else:
        say(f"weights: {found.note} in {found.folder}")
    return found


def _setting(settings: Settings, found: weights.Weights) -> dict[str, Any]:
    """What must be equal for one run to go on where another stood; only the number of days may differ."""
    names = ("model", "calls_per_day", "max_new_tokens", "max_prompt_tokens", "seed", "dtype")
    return {name: getattr(settings, name) for name in names} | {
        "real_weights": found.real,
        "weights": weights.fingerprint(found.folder),
    }


def _saved_state(settings: Settings) -> Optional[tuple[RunState, bytes]]:
    """What to go on from, with the answers up to there; None to begin. Refuses to begin over answers of an earlier run."""
    sweep(settings.checkpoints)
    if settings.resume is not None:
        try:
            return load(settings.resume)
        except BadCheckpoint as error:
            task.fail("start failed", f"cannot resume: {error}")
    if settings.answers.exists() and settings.answers.stat().st_size > 0:
        newest = max(settings.checkpoints.glob("step-*"), default=None)
        hint = f"--resume {newest} goes on" if newest else "move it away first"
        task.fail("start failed", f"{settings.answers} holds answers of an earlier run, which stay; {hint}")
    return None


def _starting_state(settings: Settings, saved: Optional[tuple[RunState, bytes]], setting: dict[str, Any]) -> RunState:
    """The saved state and its answers put back as they were there, or the first morning."""
    if saved is None:
        settings.answers.parent.mkdir(parents=True, exist_ok=True)
        settings.answers.touch()
        return RunState(setting=setting, world=opening(settings.seed))
    state, answers = saved
    try:
        check_setting(state, setting)
    except BadCheckpoint as error:
        task.fail("start failed", f"cannot resume from {settings.resume}: {error}")
    place(settings.answers, answers)
    say(f"resume: from {settings.resume}, {state.done} of {settings.steps} steps are done")
    return state


def _finish(settings: Settings, found: weights.Weights, state: RunState) -> None:
    tally = state.tally
    summary = {
        "model": settings.model,
        "weights": found.note,
        "real_weights": found.real,
        "days": state.world.day,
        "closed_early": state.world.closed,
        "budget": state.world.budget / 100,
        "decisions": tally.decisions,
        "parse_rate": tally.parse_rate,
        "problems": dict(tally.problems),
        "new_tokens": tally.new_tokens,
        "prompts_shortened": tally.prompts_shortened,
    }
    place(settings.summary, (json.dumps(summary, indent=2) + "\n").encode())
    task.progress(state.done, state.done, stage="done")
    problems = ", ".join(f"{count} {problem}" for problem, count in tally.problems.items()) or "none"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    early = ", closed early: the rent could not be paid" if state.world.closed else ""
    say(f"done: {state.world.day} days, budget {money(state.world.budget)}{early}")
    say(f"done: {tally.parsed} of {tally.decisions} answers were tool calls; problems: {problems}")
    say(f"done: {found.note}; peak memory {peak:.0f} MiB; answers in {settings.answers}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
