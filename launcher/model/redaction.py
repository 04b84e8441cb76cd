"""Secrets taken out of text that is kept: values that are known, and what looks like a credential."""

from __future__ import annotations

import re
from collections.abc import Iterable

REDACTED = "[redacted]"
SHORTEST_KNOWN = 6
"""A known value shorter than this ("1", "true") would blacken half of a log and protect nothing."""

_SHAPES = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS access keys
    r"|\bsk-[A-Za-z0-9_-]{16,}"  # OpenAI and Anthropic
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|\brpa_[A-Za-z0-9]{20,}"  # RunPod
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}"  # JSON web tokens
)
# The name stays readable, its value goes. `token` alone is a word of every language model's log, so it must be a whole key.
_ASSIGNED = re.compile(
    r"(?i)(?<![A-Za-z0-9])("
    r"(?:[A-Z0-9]{1,30}[_-]){0,5}(?:api[_-]?key|access[_-]?key(?:[_-]?id)?|secret(?:[_-]?(?:access)?[_-]?key)?|private[_-]?key"
    r"|passw(?:or)?d|passwd|auth[_-]?token|access[_-]?token|hf[_-]?token|[A-Z0-9]{2,30}_token|key|token)"
    r"[\"']?\s{0,3}[=:]\s{0,3}[\"']?)([^\s\"',;&}]{6,})"
)
_BEARER = re.compile(r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}")
_IN_URL = re.compile(r"(://[^\s:/@]{1,256}:)[^\s/@]{1,256}(@)")
_PRIVATE = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
)
_PLAIN = re.compile(r"[+-]?[0-9.,eE+-]+%?|\[redacted\]|None|null|true|false", re.IGNORECASE)


def redact(text: str, known: Iterable[str] = ()) -> str:
    """`text` without the `known` secret values and without what has the shape of a credential. Never raises."""
    for value in sorted({value for value in known if len(value) >= SHORTEST_KNOWN}, key=len, reverse=True):
        text = text.replace(value, REDACTED)
    text = _PRIVATE.sub(REDACTED, text)
    text = _SHAPES.sub(REDACTED, text)
    text = _BEARER.sub(rf"\g<1>{REDACTED}", text)
    text = _IN_URL.sub(rf"\g<1>{REDACTED}\g<2>", text)
    return _ASSIGNED.sub(_without_value, text)


def _without_value(match: re.Match[str]) -> str:
    # `token: 12345` is a count, `key=None` is nothing to hide.
    return match.group(0) if _PLAIN.fullmatch(match.group(2)) else match.group(1) + REDACTED
