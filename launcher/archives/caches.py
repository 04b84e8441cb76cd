"""The client's caches: files that may vanish at any time and are never the truth."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any, Optional


def folder() -> Path:
    """`~/.cache/launch`, or under XDG_CACHE_HOME."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "launch"


def read(path: Path) -> Optional[bytes]:
    """None where it cannot be read, for whatever reason."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def read_json(path: Path) -> Any:
    """None where it is absent or garbage."""
    content = read(path)
    if content is None:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def write(path: Path, content: bytes) -> None:
    """In one step; a cache that cannot be written is a slower next time and no error."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.parent / f".tmp-{secrets.token_hex(6)}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
            os.rename(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
