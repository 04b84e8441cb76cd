"""Where the weights of a model are on this machine, if they are: a folder of the user's, or the hub's cache."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional

Choice = Literal["auto", "real", "tiny"]
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLES = ("model.safetensors", "pytorch_model.bin")
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


class WeightsMissing(Exception):
    """Weights that were asked for, or were begun, and are not all there. The message is for people."""


@dataclass(frozen=True)
class Weights:
    """A folder that transformers can load. `note` says in every answer which weights gave it."""

    folder: Path
    real: bool
    note: str


def find(model: str, models_dir: Optional[Path]) -> Optional[Weights]:
    """The real weights of `model` on this machine; None where there are none. Touches no network.

    Raises WeightsMissing for a folder with a part of them: a broken download is the user's to mend.
    """
    for folder in _candidates(model, models_dir):
        if not (folder / "config.json").is_file():
            continue
        missing = missing_files(folder)
        if missing:
            listed = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
            raise WeightsMissing(
                f"the weights of {model} in {folder} are not complete, {len(missing)} missing: {listed}"
            )
        return Weights(folder, real=True, note=f"real weights of {model}")
    return None


def download(model: str) -> Weights:
    """Fetch the weights from the hub into its cache. Raises WeightsMissing with what the hub said."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, allow_patterns=HUB_FILES))
    except Exception as error:  # noqa: BLE001 - the hub's client raises dozens of kinds, all mean the same here
        raise WeightsMissing(f"the weights of {model} could not be fetched: {_first_line(error)}") from None
    return Weights(folder, real=True, note=f"real weights of {model}")


def missing_files(folder: Path) -> list[str]:
    """What a model folder lacks: the files that its index names, or any weights at all."""
    for name in INDEXES:
        if (folder / name).is_file():
            try:
                shards = sorted(set(json.loads((folder / name).read_bytes())["weight_map"].values()))
            except (ValueError, KeyError, AttributeError, TypeError):
                return [f"{name} (cannot be read)"]
            return [shard for shard in shards if not (folder / shard).is_file()]
    return [] if any((folder / name).is_file() for name in SINGLES) else [" or ".join(SINGLES)]


def fingerprint(folder: Path) -> str:
    """Changes when the model does: small files by content, shards by name and size (hundreds of GB are not read)."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        size = path.stat().st_size
        digest.update(f"{path.name}|{size}|".encode())
        if size < 32 * 1024 * 1024:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _candidates(model: str, models_dir: Optional[Path]) -> list[Path]:
    found = []
    if models_dir is not None:
        found = [models_dir / model, models_dir / model.rpartition("/")[2], models_dir / model.replace("/", "--")]
    cached = _in_hub_cache(model)
    return found if cached is None else [*found, cached]


def _in_hub_cache(model: str) -> Optional[Path]:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(model, "config.json")
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
