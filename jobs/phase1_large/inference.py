"""One answer of a language model: tokenize, move, generate, decode, each stage timed, told and reported."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model_loading import Loaded, memory_told, warn_of_full_gpus
from narration import say, stopwatch
from prompts import Message

from launcher import task

TOLD_EVERY_S = 1.0


class StopAsked(Exception):
    """A stop was requested in the middle of an answer. The step is given up; the state before it is saved."""


@dataclass(frozen=True)
class Limits:
    """`prompt_tokens` is the longest prompt; history is left out first, oldest first, and only then tokens are cut."""

    prompt_tokens: int
    new_tokens: int


@dataclass(frozen=True)
class Prompt:
    """`shown` of `known` lines of history fitted; `cut` tokens were dropped from the beginning."""

    text: str
    token_ids: list[int]
    shown: int
    known: int
    cut: int

    @property
    def shortened(self) -> bool:
        return self.cut > 0 or self.shown < self.known


@dataclass(frozen=True)
class Answer:
    """Seconds are for the log and the metrics; the rest is the same in every run."""

    text: str
    prompt: Prompt
    new_tokens: int
    prefill_s: float
    generate_s: float

    @property
    def tokens_per_s(self) -> float:
        return self.new_tokens / self.generate_s if self.generate_s > 0 else 0.0


def answer(loaded: Loaded, said: Callable[[int], list[Message]], known: int, limits: Limits) -> Answer:
    """Ask the model. `said(n)` gives the conversation with the last `n` of `known` lines of history.

    Greedy decoding, so that the same state gives the same answer. Raises StopAsked, and what torch raises.
    """
    task.progress(stage="tokenize")
    with stopwatch() as watch:
        prompt = fit(loaded.tokenizer, said, known, limits.prompt_tokens)
    shortened = f", history {prompt.shown} of {known}, {prompt.cut} tokens cut" if prompt.shortened else ""
    say(f"  tokenize {watch.seconds:7.3f}s  {len(prompt.text)} characters, {len(prompt.token_ids)} tokens{shortened}")
    inputs = _move(loaded, prompt)
    warn_of_full_gpus()
    output, clock, seconds = _generate(loaded, inputs, limits)
    new = output[0][len(prompt.token_ids) :]
    task.progress(stage="decode")
    with stopwatch() as watch:
        text = loaded.tokenizer.decode(new, skip_special_tokens=True)
    say(f"  decode   {watch.seconds:7.3f}s  {len(text)} characters")
    return Answer(text, prompt, len(new), clock.prefill_s, seconds)


def fit(tokenizer: Any, said: Callable[[int], list[Message]], known: int, longest: int) -> Prompt:
    """The prompt with as much history as fits in `longest` tokens. Cutting from the end would cut the question off."""
    shown = known
    while True:
        text = _rendered(tokenizer, said(shown))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) <= longest or shown == 0:
            cut = max(0, len(ids) - longest)
            return Prompt(text, ids[cut:], shown, known, cut)
        shown -= 1


def _rendered(tokenizer: Any, conversation: list[Message]) -> str:
    if tokenizer.chat_template:
        return str(tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False))
    return "\n\n".join(message["content"] for message in conversation) + "\n"


def _move(loaded: Loaded, prompt: Prompt) -> dict[str, Any]:
    import torch

    task.progress(stage="move")
    with stopwatch() as watch:
        ids = torch.tensor([prompt.token_ids], device=loaded.device)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    say(f"  move     {watch.seconds:7.3f}s  to {loaded.device}{memory_told()}")
    return inputs


def _generate(loaded: Loaded, inputs: dict[str, Any], limits: Limits) -> tuple[Any, TokenClock, float]:
    import torch
    from transformers import StoppingCriteriaList

    clock = TokenClock(limits.new_tokens)
    task.progress(stage="prefill")
    say(f"  generate ...      up to {limits.new_tokens} tokens")
    tokenizer = loaded.tokenizer
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    with stopwatch() as watch, torch.inference_mode():
        output = loaded.model.generate(
            **inputs,
            max_new_tokens=limits.new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=padding,
            streamer=clock,
            stopping_criteria=StoppingCriteriaList([clock.stop_asked]),
        )
    if clock.stopped:
        raise StopAsked
    count = len(output[0]) - inputs["input_ids"].shape[1]
    rate = f"{count / watch.seconds:.1f}" if watch.seconds > 0 else "?"
    say(
        f"  generate {watch.seconds:7.3f}s  {count} tokens, {rate} tokens/s, first token after {clock.prefill_s:.3f}s"
        f"{memory_told()}"
    )
    return output, clock, watch.seconds


class TokenClock:
    """Hears of each token as it is made (a streamer of transformers): a slow model shows where it is."""

    def __init__(self, new_tokens: int) -> None:
        self.new_tokens = new_tokens
        self.count = -1  # the prompt comes first
        self.begun = time.monotonic()
        self.told_at = self.begun
        self.prefill_s = 0.0
        self.stopped = False

    def put(self, _value: Any) -> None:
        self.count += 1
        now = time.monotonic()
        if self.count == 1:
            self.prefill_s = now - self.begun
        if self.count == 1 or (self.count > 1 and now - self.told_at >= TOLD_EVERY_S):
            self.told_at = now
            task.progress(stage="generate", message=f"token {self.count} of at most {self.new_tokens}")

    def end(self) -> None:
        """All tokens are made."""

    def stop_asked(self, input_ids: Any, _scores: Any, **_more: Any) -> Any:
        """A stopping criterion: an answer of a very large model can take longer than the grace of a stop."""
        import torch

        self.stopped = self.stopped or task.stop_requested()
        return torch.full((input_ids.shape[0],), self.stopped, device=input_ids.device, dtype=torch.bool)
