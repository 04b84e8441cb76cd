"""What lies in a workspace at the paths that tasks would commit: complete artifacts, torn ones, and what nobody made here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional

from launcher.archives.digests import Digests
from launcher.errors import BadRecord
from launcher.model import codec
from launcher.model.phase import Output
from launcher.model.records import Manifest
from launcher.store import fingerprints, keys

CHEAP = 64_000_000  # bytes of an artifact up to which its checksums are verified even where no file was read before
Quality = Literal["good", "fair", "poor", "unknown"]


@dataclass(frozen=True)
class Existing:
    """One output as it lies in the workspace. `manifest` None: something is there that was not made by `launch`, or whose
    manifest is garbage. `wrong`: its files that are missing or differ from the manifest, in words. `quality` None: the
    phase declares none."""

    output: str
    path: str
    manifest: Optional[Manifest]
    wrong: tuple[str, ...] = ()
    quality: Optional[Quality] = None
    size: Optional[int] = None


def look(workspace: Path, name: str, output: Output, path: str, digests: Digests) -> Optional[Existing]:
    """None where nothing is there; a manifest whose files are all gone is nothing."""
    present = os.path.lexists(workspace / path)
    if not present:
        return None
    manifest = read_manifest(workspace, path)
    if manifest is None:
        return Existing(name, path, None)
    wrong = differences(workspace, manifest, digests)
    size = sum(file.size for file in manifest.files)
    return Existing(name, path, manifest, wrong, quality(output, manifest.metrics), size)


def read_manifest(workspace: Path, path: str) -> Optional[Manifest]:
    """None where there is none, or it is garbage."""
    return _load(workspace / keys.workspace_manifest(path))


def manifests(workspace: Path) -> Iterator[Manifest]:
    """Every committed artifact of a workspace."""
    top = workspace / keys.WORKSPACE / "manifests"
    for folder, _, names in os.walk(top):
        for name in names:
            if name.endswith(".manifest.json"):
                found = _load(Path(folder, name))
                if found is not None:
                    yield found


def paths(workspace: Path) -> Iterator[str]:
    """The path of every committed artifact, from the manifests' names alone."""
    top = os.fspath(workspace / keys.WORKSPACE / "manifests")
    for folder, _, names in os.walk(top):
        for name in names:
            if name.endswith(".manifest.json"):
                inside = os.path.relpath(os.path.join(folder, name), top)
                yield inside[: -len(".manifest.json")]


def differences(workspace: Path, manifest: Manifest, digests: Digests) -> tuple[str, ...]:
    """In words, which files are not as the manifest says. Checksums only where that is cheap."""
    cheap = sum(file.size for file in manifest.files) <= CHEAP
    top = workspace / manifest.path
    wrong = []
    for file in manifest.files:
        path = top / file.path if file.path not in ("", ".") else top
        shown = f"{manifest.path}/{file.path}".rstrip("/.")
        try:
            size = os.stat(path).st_size
            if size != file.size:
                wrong.append(f"{shown} has {size} bytes instead of {file.size}")
            elif (cheap or digests.known(path)) and digests.of(path) != file.sha256:
                wrong.append(f"{shown} holds something else")
        except FileNotFoundError:
            wrong.append(f"{shown} is missing")
        except OSError as error:
            wrong.append(f"{shown}: {error.strerror or error}")
    return tuple(wrong)


def quality(output: Output, metrics: Mapping[str, float]) -> Optional[Quality]:
    """None where the output declares no quality."""
    if output.metric is None or (output.good is None and output.poor is None):
        return None
    value = metrics.get(output.metric)
    if value is None or value != value:
        return "unknown"
    good, poor = output.good, output.poor
    lower_is_better = good is not None and poor is not None and good < poor
    sign = -1.0 if lower_is_better else 1.0
    if good is not None and sign * value >= sign * good:
        return "good"
    if poor is not None and sign * value < sign * poor:
        return "poor"
    return "good" if good is None else "fair"


def input_hash(workspace: Path, path: str, digests: Digests) -> Optional[str]:
    """The fingerprint of an input as it is now; None where it cannot be read. An artifact that lies as it was committed,
    and files at rest since they were hashed last, are not read again."""
    place = workspace / path
    if not os.path.lexists(place):
        return None
    try:
        manifest = None if path.startswith("/") else read_manifest(workspace, path)
        if manifest is not None and _untouched(place, manifest):
            return manifest.hash
        return fingerprints.combine(fingerprints.describe(place, digests.of))
    except OSError:
        return None


def _untouched(place: Path, manifest: Manifest) -> bool:
    """The same files with the same sizes, none changed after the manifest was written. Raises OSError."""
    lying = dict(fingerprints.files_under(place))
    if lying.keys() != {file.path for file in manifest.files}:
        return False
    states = ((file, os.stat(lying[file.path])) for file in manifest.files)
    return all(found.st_size == file.size and found.st_mtime <= manifest.at for file, found in states)


def _load(file: Path) -> Optional[Manifest]:
    try:
        return codec.load(Manifest, file.read_bytes(), os.fspath(file))
    except (OSError, BadRecord):
        return None
