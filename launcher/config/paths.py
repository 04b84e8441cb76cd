"""Paths that a phase names: relative to the workspace and inside it. Texts only, no file is looked at."""

from __future__ import annotations

import re
from typing import Optional

KEPT = ".launch"  # what `launch` keeps beside a project's own files

_SLASHES = re.compile(r"/+")


def tidy(path: str) -> str:
    """Without `./`, `//` and a slash at the end, which change nothing: `./a//b/` is `a/b`."""
    rooted = path.startswith("/")
    parts = [part for part in _SLASHES.split(path) if part not in ("", ".")]
    return ("/" if rooted else "") + "/".join(parts)


def mistake(path: str, *, absolute: bool = False) -> Optional[str]:
    """What is wrong with a path; None where nothing is. `absolute`: one that begins with / is fine (of an input)."""
    if not path.strip():
        return "a path is expected"
    if path.startswith("~"):
        return "~ is not expanded, since the phase may run on another machine and as another user"
    if path.startswith("/"):
        if not absolute:
            return "a path relative to the workspace is expected"
        if ".." in path.split("/"):
            return "a path without .. is expected"
        return None if tidy(path) != "/" else "the whole filesystem is no input"
    parts = tidy(path).split("/")
    if ".." in parts:
        return "leaves the workspace; a path without .. is expected"
    if parts == [""]:
        return "is the whole workspace; a path inside it is expected"
    if parts[0] == KEPT:
        return f"is inside {KEPT}/, which is launch's own"
    if any(len(part.encode(errors="replace")) > 255 for part in parts):
        return "has a part of more than 255 bytes, which no filesystem takes"
    return None


def clash(first: str, second: str) -> Optional[str]:
    """In words, whether two tidy paths are one, or one lies inside the other."""
    if first == second:
        return "is the same path as"
    if first.startswith(f"{second}/"):
        return "lies inside"
    if second.startswith(f"{first}/"):
        return "holds"
    return None
