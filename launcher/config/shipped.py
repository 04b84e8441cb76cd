"""Where the phases and profiles lie that come with `launch`: in the package, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

PACKAGE = Path(__file__).resolve().parent.parent


def folder(kind: str) -> Optional[Path]:
    """The folder of shipped `jobs` or `cluster_profiles`; None where this installation has none."""
    packed = PACKAGE / "shipped" / kind
    if packed.is_dir():
        return packed
    checkout = PACKAGE.parent
    beside = checkout / kind
    # Beside an installed package lie other packages: only a checkout has our project file there.
    return beside if (checkout / "pyproject.toml").is_file() and beside.is_dir() else None
