"""What the shopkeeper, a language model, is told: the rules, the day's situation, the last things that happened."""

from __future__ import annotations

from collections.abc import Sequence

from store_world import CAPACITY, GOODS, HIGHEST_PRICE, LARGEST_ORDER, RENT, World, money

Message = dict[str, str]
HISTORY_SHOWN = 12
"""At most so many past calls and day reports are shown; fewer where the prompt would grow too long."""

_GOODS = "\n".join(
    f"- {g.name}: costs {money(g.cost)}, usually sells at {money(g.usual_price)}, "
    + (f"spoils after {g.keeps} days" if g.keeps is not None else "does not spoil")
    for g in GOODS.values()
)

RULES = f"""You keep a small store. Each day you may call a few tools; then the customers come. Make the budget grow.

Goods:
{_GOODS}

The store holds {CAPACITY} units. The rent is {money(RENT)} a day. Customers buy less when a price is high.
The supplier delivers after 1 to 3 days. An order is paid at once.

Tools:
- {{"tool": "check_storage"}} shows what is on the shelf and on the way
- {{"tool": "order", "good": NAME, "quantity": 1 to {LARGEST_ORDER}}} orders from the supplier
- {{"tool": "set_price", "good": NAME, "price": DOLLARS}} sets a price, at most {money(HIGHEST_PRICE)}
- {{"tool": "wait"}} does nothing

Answer with exactly one tool call as JSON and nothing else."""


def messages(world: World, history: Sequence[str], calls_left: int) -> list[Message]:
    """The conversation for one decision; `history` holds the past in words, oldest first."""
    prices = ", ".join(f"{name} {money(price)}" for name, price in world.prices.items())
    past = "\n".join(f"- {line}" for line in history) or "- nothing yet"
    asked = (
        f"Day {world.day}. Budget {money(world.budget)}. Prices: {prices}.\n"
        f"What happened, oldest first:\n{past}\n"
        f"You can make {calls_left} more call{'' if calls_left == 1 else 's'} today. Your tool call:"
    )
    return [{"role": "system", "content": RULES}, {"role": "user", "content": asked}]
