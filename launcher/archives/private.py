"""What never leaves the project's folder: secrets, keys and what `launch` itself keeps there."""

from __future__ import annotations

import fnmatch
import re
from typing import Optional

_FOLDERS = {".git", ".launch", ".ssh", ".aws", ".gnupg"}
_OWN = {".git", ".launch"}  # of no interest to anybody: left out without a word
_EXAMPLES = {".env.example", ".env.sample", ".env.template", ".env.dist"}
_NAMES = (
    ".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdbx",
    "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk",
    ".netrc", "_netrc", ".pypirc", ".npmrc", ".git-credentials", ".pgpass", ".htpasswd",
)  # fmt: skip
_NAME = re.compile("|".join(fnmatch.translate(name) for name in _NAMES), re.IGNORECASE)
_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
KEY_SEARCH = 4096


def why(path: str) -> Optional[str]:
    """In words, why a path is left out of a snapshot; None where it is not, "" where nobody needs to be told."""
    *folders, name = path.split("/")
    held = _FOLDERS.intersection(folders) or _FOLDERS.intersection((name,))
    if held:
        return "" if held & _OWN else "a folder of credentials"
    if _NAME.match(name) and name.lower() not in _EXAMPLES:
        return "named like a secret or a key"
    return None


def holds_key(start: bytes) -> bool:
    """Whether a file whose first bytes are `start` is a private key under another name.

    Only a file that begins with the key's first line is one; source code that merely mentions it is not.
    """
    return _KEY.match(start.lstrip()[:200]) is not None
