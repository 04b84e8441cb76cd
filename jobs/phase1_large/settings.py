"""The arguments of a run, checked before anything heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from weights import Choice

from launcher import task


@dataclass(frozen=True)
class Settings:
    """What one task plays. `steps` decisions in all, `calls_per_day` of them on each day."""

    model: str
    index: int
    days: int
    calls_per_day: int
    max_new_tokens: int
    max_prompt_tokens: int
    seed: int
    weights: Choice
    models_dir: Optional[Path]
    dtype: str
    device_map: str
    answers: Path
    summary: Path
    checkpoints: Path
    resume: Optional[Path]

    @property
    def steps(self) -> int:
        return self.days * self.calls_per_day


def read(argv: Sequence[str]) -> Settings:
    """Exits with code 2 and a usage line for arguments that make no sense."""
    parser = argparse.ArgumentParser(description="A language model keeps a small store for some days.")
    parser.add_argument("--model", required=True, help="hub id, such as Qwen/Qwen2.5-7B-Instruct")
    parser.add_argument(
        "--index", type=_whole(0), default=task.index(), help="place in the array: the size of a tiny model"
    )
    parser.add_argument("--days", type=_whole(1), default=3)
    parser.add_argument("--calls-per-day", type=_whole(1), default=2)
    parser.add_argument("--max-new-tokens", type=_whole(1), default=256)
    parser.add_argument("--max-prompt-tokens", type=_whole(16), default=2048)
    parser.add_argument("--seed", type=_whole(0), default=0)
    parser.add_argument(
        "--weights",
        choices=("auto", "real", "tiny"),
        default="auto",
        help="auto: real ones where they are on this machine, else tiny random ones; real: fetched if need be",
    )
    parser.add_argument(
        "--models-dir", type=_folder, default=None, help="a folder of model folders, beside the hub's cache"
    )
    parser.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float16", "float32"))
    parser.add_argument("--device-map", default="auto")
    parser.add_argument("--answers", type=Path, default=None)
    parser.add_argument("--summary", type=Path, default=None)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    parser.add_argument("--resume", type=_folder, default=None, help="a checkpoint to go on from")
    found = parser.parse_args(argv)
    found.answers = found.answers or task.output("answers", "answers.jsonl")
    found.summary = found.summary or task.output("summary", "summary.json")
    found.resume = found.resume or task.resume_from()
    return Settings(**vars(found))


def _whole(least: int) -> Callable[[str], int]:
    def read_one(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number from {least} is expected, found {text!r}")
        return int(text)

    return read_one


def _folder(text: str) -> Optional[Path]:
    return Path(text) if text else None
