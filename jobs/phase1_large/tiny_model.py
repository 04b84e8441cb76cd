"""A small Llama of random weights and a tokenizer built on the spot, for machines without the real ones.

It is written as a folder that `from_pretrained` loads like any other, so that a rehearsal runs the code of the real
thing. What it answers means nothing, and every answer says so. The same index always gives the same weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fallback import fallback
from prompts import messages
from store_world import act, close_day, opening
from weights import Weights

VOCABULARY = 700
CONTEXT = 4096
PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
CHAT_TEMPLATE = (
    "{{ '" + BEGIN + "' }}{% for message in messages %}{{ message['role'] + ':\\n' + message['content'] + '"
    + END + "\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif %}"
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """The size of a tiny model; it grows with the index as the real models do."""

    layers: int
    width: int
    heads: int
    seed: int


def shape_of(index: int) -> Shape:
    step = min(index, 11)
    heads = 2 * (1 + step // 2)
    return Shape(layers=1 + step, width=32 * heads, heads=heads, seed=1000 + index)


def build(folder: Path, model: str, index: int) -> Weights:
    """Write model and tokenizer into `folder`, once: what is there was renamed into place, so it is complete."""
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        tokenizer = _tokenizer()
        tokenizer.save_pretrained(partial)
        _model(shape_of(index), tokenizer).save_pretrained(partial)
        partial.rename(folder)
    return Weights(folder, real=False, note=f"tiny random weights, not {model}: the answers mean nothing")


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[PAD, BEGIN, END], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(_corpus(), trainer=trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=PAD, bos_token=BEGIN, eos_token=END, model_max_length=CONTEXT
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _corpus() -> Iterator[str]:
    """The prompts of a few weeks that the plain rule plays."""
    for seed in range(3):
        world = opening(seed)
        history: list[str] = []
        for _ in range(14):
            yield from (message["content"] for message in messages(world, history[-6:], 2))
            world, said = act(world, fallback(world))
            world, report = close_day(world)
            history += [said, str(report.to_json())]


def _model(shape: Shape, tokenizer: Any) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=2 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads // 2,
        max_position_embeddings=CONTEXT,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(shape.seed)
        return LlamaForCausalLM(config)
