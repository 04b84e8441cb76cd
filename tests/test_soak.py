"""A fixed-seed sample of each fault suite: one round for each victim. `make soak` runs the full counts."""

from __future__ import annotations

import pytest

from tests.soak import kill


@pytest.mark.parametrize("seed", range(1, len(kill.VICTIMS) + 1))
def test_what_is_killed_loses_nothing(seed: int) -> None:
    said = kill.play(seed)
    assert kill.VICTIMS[seed % len(kill.VICTIMS)] in said
