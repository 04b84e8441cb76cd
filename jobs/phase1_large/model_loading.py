"""From a folder of weights to a model that can generate: `from_pretrained`, placed by accelerate, told by stages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narration import say, stopwatch

NEARLY_FULL = 0.9
"""Above this share of a GPU's memory before generation the KV cache has no room: very slow, or out of memory."""


@dataclass(frozen=True)
class Loaded:
    """A model and its tokenizer. `device` is where prompts go: the one of the first parameter."""

    model: Any
    tokenizer: Any
    device: Any


def load(folder: Path, *, dtype: str, device_map: str, offload: Path) -> Loaded:
    """Load tokenizer and weights. `dtype` and `device_map` as in transformers; `auto` takes GPUs where there are any,
    then host memory, then `offload` on disk. Raises what transformers raises."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with stopwatch() as watch:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    say(f"load: tokenizer of {len(tokenizer)} tokens in {watch.seconds:.2f}s")
    placement = ("auto" if torch.cuda.is_available() else "cpu") if device_map == "auto" else device_map
    with stopwatch() as watch:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, device_map=placement, offload_folder=str(offload), local_files_only=True
        )
        model.eval()
    count = sum(parameter.numel() for parameter in model.parameters())
    device = next(parameter.device for parameter in model.parameters() if parameter.device.type != "meta")
    say(f"load: {count / 1e6:.1f} M weights as {model.dtype} in {watch.seconds:.2f}s, {_where(model)}")
    say(f"load: first parameter on {device}{memory_told()}")
    return Loaded(model, tokenizer, device)


def _where(model: Any) -> str:
    """How many modules accelerate put where: what lies on the CPU or the disk is slow beside a GPU."""
    places = Counter(str(place) for place in (getattr(model, "hf_device_map", None) or {}).values())
    return "modules on " + (", ".join(f"{place}: {n}" for place, n in sorted(places.items())) or str(model.device))


def memory_told() -> str:
    """Memory of each GPU for the end of a line; nothing where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        return ""
    parts = []
    for index in range(torch.cuda.device_count()):
        total = torch.cuda.get_device_properties(index).total_memory
        used, kept = torch.cuda.memory_allocated(index), torch.cuda.memory_reserved(index)
        parts.append(f"GPU {index}: {used / 1e9:.1f}GB allocated, {kept / 1e9:.1f}GB reserved of {total / 1e9:.1f}GB")
    return "; " + "; ".join(parts)


def warn_of_full_gpus() -> None:
    import torch

    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        if 1 - free / total > NEARLY_FULL:
            say(
                f"warning: GPU {index} is {100 * (1 - free / total):.0f} % full before generation; it needs room for "
                "the KV cache. Ask for more GPUs, or lower max_new_tokens or max_prompt_tokens"
            )
