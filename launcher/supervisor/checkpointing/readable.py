"""Whether a file of a checkpoint can be read again: by its format's own arithmetic, without loading it."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from typing import Any, Optional

LONGEST_HEADER = 100_000_000  # the limit of safetensors itself
LARGEST_JSON = 16 << 20
_ZIP_ENDS = (".pt", ".pth", ".bin", ".ckpt", ".npz", ".zip")


def trouble(path: str, size: int) -> Optional[str]:
    """What is wrong with one file, in words; None where nothing is known to be. Raises OSError."""
    lower = path.lower()
    if lower.endswith(".safetensors"):
        return _check(path, size, _safetensors)
    if lower.endswith(".json"):
        return _check(path, size, _json)
    if lower.endswith(_ZIP_ENDS):
        return _check(path, size, _zip)
    return None


def _check(path: str, size: int, check: Callable[[int, int, str], Optional[str]]) -> Optional[str]:
    if size == 0:
        return "it is empty"
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return check(descriptor, size, path)
    finally:
        os.close(descriptor)


def _safetensors(descriptor: int, size: int, path: str) -> Optional[str]:
    """Eight bytes of length, a JSON header with each tensor's place, then exactly the tensors."""
    head = os.pread(descriptor, 8, 0)
    if len(head) < 8:
        return "its header is cut off"
    length = struct.unpack("<Q", head)[0]
    if length > min(size - 8, LONGEST_HEADER):
        return "its header is longer than the file"
    header = _parse(os.pread(descriptor, length, 8))
    if not isinstance(header, dict):
        return "its header is no JSON"
    end = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(one) is int for one in offsets):
            return "its header names no place for a tensor"
        end = max(end, offsets[1])
    return None if 8 + length + end == size else f"it has {size} bytes where its header says {8 + length + end}"


def _json(descriptor: int, size: int, path: str) -> Optional[str]:
    if size > LARGEST_JSON:
        return None
    found = _parse(os.pread(descriptor, size, 0))
    if found is None:
        return "it is no JSON"
    if path.endswith(".index.json") and isinstance(found, dict) and isinstance(found.get("weight_map"), dict):
        folder = os.path.dirname(path)
        shards = {name for name in found["weight_map"].values() if isinstance(name, str)}
        absent = sorted(name for name in shards if not os.path.isfile(os.path.join(folder, name)))
        if absent:
            return f"{absent[0]} is not there"
    return None


def _parse(content: bytes) -> Any:
    """None for what is no JSON, and for null, which no file of a checkpoint is."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _zip(descriptor: int, size: int, path: str) -> Optional[str]:
    """A zip is written front to back with its directory last; torch's other, older format tells nothing of its length."""
    if os.pread(descriptor, 4, 0) != b"PK\x03\x04":
        return "it is no zip archive" if path.lower().endswith((".npz", ".zip")) else None
    tail = os.pread(descriptor, min(size, 66_000), max(0, size - 66_000))
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < 22:
        return "its directory is missing: it was not written to its end"
    length, start = struct.unpack("<II", tail[end + 12 : end + 20])
    place = size - len(tail) + end
    if start == 0xFFFFFFFF or length == 0xFFFFFFFF:  # larger than 4 GiB: another record, found through a locator
        locator = tail[end - 20 : end] if end >= 20 else b""
        if locator[:4] != b"PK\x06\x07":
            return "its directory cannot be found"
        record = os.pread(descriptor, 56, struct.unpack("<Q", locator[8:16])[0])
        if record[:4] != b"PK\x06\x06" or len(record) < 56:
            return "its directory cannot be found"
        length, start = struct.unpack("<QQ", record[40:56])
    if start + length > place or os.pread(descriptor, 4, start) not in (b"PK\x01\x02", b"PK\x05\x06"):
        return "its directory does not fit the file"
    return None
