"""Credentials have no place in records: what is written about the child's surroundings goes through here."""

from __future__ import annotations

import re
from typing import Any

from launcher.model.redaction import REDACTED, redact

# A token alone before the host (git+https://TOKEN@host) has neither a colon nor a shape of its own.
_USER = re.compile(r"(?<=://)[^/\s@'\"]+@")


def redacted(text: str) -> str:
    """Without user names, passwords and tokens in URLs, nor anything else that looks like a credential."""
    return redact(_USER.sub(f"{REDACTED}@", text))


def redacted_json(value: Any) -> Any:
    """The same for every text in a JSON value."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, list):
        return [redacted_json(item) for item in value]
    if isinstance(value, dict):
        return {key: redacted_json(item) for key, item in value.items()}
    return value
