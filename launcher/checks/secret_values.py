"""Are the secrets that the phase names set? Their values are looked at for being empty only."""

from __future__ import annotations

from launcher.checks.facts import Facts, Objection

NAME = "secrets"


def check(facts: Facts) -> list[Objection]:
    """One objection for each secret without a value."""
    return [
        Objection(
            NAME,
            True,
            f"the secret {name} is not set in the environment",
            f"read -rs {name} && export {name}  # then submit again",
        )
        for name in facts.spec.secrets
        if not facts.environ.get(name)
    ]
