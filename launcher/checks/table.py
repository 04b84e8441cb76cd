"""All checks, in the order in which their objections are shown."""

from __future__ import annotations

from collections.abc import Callable

from launcher.checks import disk_space, fits, inputs, one_path, program, secret_values
from launcher.checks.facts import Facts, Objection

CHECKS: tuple[Callable[[Facts], list[Objection]], ...] = (
    fits.check,
    program.check,
    inputs.check,
    secret_values.check,
    one_path.check,
    disk_space.check,
)


def run(facts: Facts) -> tuple[Objection, ...]:
    """Every objection of every check, the fatal ones first."""
    found = [objection for check in CHECKS for objection in check(facts)]
    return tuple(sorted(found, key=lambda objection: not objection.fatal))
