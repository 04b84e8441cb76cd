"""What the store does when the model's answer is no tool call: a plain rule, so that a run goes on."""

from __future__ import annotations

from store_world import GOODS, LARGEST_ORDER, Action, World

COVER_DAYS = 2.5


def fallback(world: World) -> Action:
    """Order the good that would run out first, up to two and a half days of demand; wait where nothing is short."""
    short = {}
    for good in GOODS.values():
        have = world.stock(good.name) + world.coming(good.name)
        wanted = round(good.demand * min(COVER_DAYS, good.keeps or COVER_DAYS)) - have
        affordable = min(wanted, world.budget // good.cost, LARGEST_ORDER)
        if affordable > 0:
            short[good.name] = (have / good.demand, -affordable)
    if not short:
        return Action("wait")
    name = min(short, key=lambda key: (short[key], key))
    return Action("order", good=name, quantity=-short[name][1])
