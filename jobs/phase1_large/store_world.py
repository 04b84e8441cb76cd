"""A corner store: goods that spoil, customers who mind the price, a supplier who is sometimes late. Money in cents.

Pure. Every draw comes from a generator seeded with what it is for, so that the state of chance is the seed and the day
alone: a world that was saved and loaded goes on exactly as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any, Optional

TOOLS = ("check_storage", "order", "set_price", "wait")
START_BUDGET = 50_000
RENT = 2_500
CAPACITY = 240
LARGEST_ORDER = 100
HIGHEST_PRICE = 10_000
WEEK = (0.8, 0.8, 0.9, 1.0, 1.3, 1.5, 0.7)  # customers come before the weekend


@dataclass(frozen=True)
class Good:
    """Costs in cents; `demand` in units a day at the usual price; `keeps` in days on the shelf, None for ever."""

    name: str
    cost: int
    usual_price: int
    demand: float
    elasticity: float
    keeps: Optional[int]


GOODS = {
    good.name: good
    for good in (
        Good("bread", 90, 210, 18.0, 1.6, 2),
        Good("milk", 70, 140, 14.0, 1.2, 4),
        Good("apples", 35, 80, 20.0, 1.9, 7),
        Good("rice", 110, 240, 6.0, 1.1, None),
    )
}


@dataclass(frozen=True)
class Action:
    """One tool call. `price` in cents."""

    tool: str
    good: Optional[str] = None
    quantity: Optional[int] = None
    price: Optional[int] = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Batch:
    """Units on the shelf; at the end of day `spoils_on` what is left of them is thrown away."""

    good: str
    quantity: int
    spoils_on: Optional[int]


@dataclass(frozen=True)
class Delivery:
    """Units that are paid for and on the shelf from the morning of day `arrives_on`."""

    good: str
    quantity: int
    arrives_on: int


@dataclass(frozen=True)
class World:
    """The store on the morning or in the middle of `day`, which counts from 0."""

    seed: int
    day: int = 0
    budget: int = START_BUDGET
    prices: Mapping[str, int] = field(default_factory=lambda: {g.name: g.usual_price for g in GOODS.values()})
    shelf: tuple[Batch, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    orders: int = 0

    @property
    def closed(self) -> bool:
        """Whether the rent could not be paid."""
        return self.budget < 0

    def stock(self, good: str) -> int:
        return sum(batch.quantity for batch in self.shelf if batch.good == good)

    def coming(self, good: str) -> int:
        return sum(delivery.quantity for delivery in self.deliveries if delivery.good == good)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "prices": dict(self.prices)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> World:
        """Raises ValueError for what is no world."""
        try:
            shelf = tuple(Batch(**batch) for batch in data["shelf"])
            deliveries = tuple(Delivery(**delivery) for delivery in data["deliveries"])
            world = cls(**{**data, "shelf": shelf, "deliveries": deliveries, "prices": dict(data["prices"])})
            numbers = [world.seed, world.day, world.budget, world.orders, *world.prices.values()]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no state of a store: {error}") from None
        if set(world.prices) != set(GOODS) or not all(type(number) is int for number in numbers):
            raise ValueError("no state of a store: the prices or the counts are not what they should be")
        return world


@dataclass(frozen=True)
class DayReport:
    """What happened between the last action of a day and the next morning."""

    day: int
    sold: Mapping[str, int]
    missed: Mapping[str, int]
    spoiled: Mapping[str, int]
    arrived: Mapping[str, int]
    income: int
    rent: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def opening(seed: int) -> World:
    """A store on its first morning, with a little of everything."""
    shelf = tuple(Batch(g.name, round(g.demand), _spoils_on(g, 0)) for g in GOODS.values())
    return World(seed=seed, shelf=shelf)


def act(world: World, action: Action) -> tuple[World, str]:
    """The world after a tool call and what the tool answers. A refused order changes nothing and says why."""
    if action.tool == "check_storage":
        return world, storage(world)
    if action.tool == "set_price" and action.good in GOODS and action.price is not None:
        prices = {**world.prices, action.good: action.price}
        return replace(world, prices=prices), f"{action.good} now sells at {money(action.price)}"
    if action.tool == "order" and action.good in GOODS and action.quantity is not None:
        return _order(world, GOODS[action.good], action.quantity)
    return world, "nothing done"


def _order(world: World, good: Good, quantity: int) -> tuple[World, str]:
    price = good.cost * quantity
    if price > world.budget:
        return world, f"refused: {quantity} {good.name} cost {money(price)}, the budget is {money(world.budget)}"
    room = CAPACITY - sum(b.quantity for b in world.shelf) - sum(d.quantity for d in world.deliveries)
    if quantity > room:
        return world, f"refused: there is room for {room} more units, not for {quantity}"
    days = Random(f"{world.seed}|{world.orders}|delay").choices((1, 2, 3), weights=(6, 3, 1))[0]
    deliveries = (*world.deliveries, Delivery(good.name, quantity, world.day + days))
    bought = replace(world, budget=world.budget - price, deliveries=deliveries, orders=world.orders + 1)
    return bought, f"ordered {quantity} {good.name} for {money(price)}; the supplier needs 1 to 3 days"


def close_day(world: World) -> tuple[World, DayReport]:
    """Customers buy, the rest spoils, the rent is paid, the morning's deliveries arrive."""
    sold: dict[str, int] = {}
    missed: dict[str, int] = {}
    shelf: list[Batch] = []
    for good in GOODS.values():
        wanted = _demand(world, good)
        left, sold[good.name] = _sell([batch for batch in world.shelf if batch.good == good.name], wanted)
        missed[good.name] = wanted - sold[good.name]
        shelf.extend(left)
    old = [batch for batch in shelf if batch.spoils_on is not None and batch.spoils_on <= world.day]
    arrived = [delivery for delivery in world.deliveries if delivery.arrives_on <= world.day + 1]
    kept = [batch for batch in shelf if batch not in old]
    fresh = [Batch(d.good, d.quantity, _spoils_on(GOODS[d.good], world.day + 1)) for d in arrived]
    income = sum(count * world.prices[name] for name, count in sold.items())
    report = DayReport(
        day=world.day,
        sold=sold,
        missed=missed,
        spoiled={name: sum(b.quantity for b in old if b.good == name) for name in GOODS},
        arrived={name: sum(d.quantity for d in arrived if d.good == name) for name in GOODS},
        income=income,
        rent=RENT,
    )
    morning = replace(
        world,
        day=world.day + 1,
        budget=world.budget + income - RENT,
        shelf=tuple(kept + fresh),
        deliveries=tuple(delivery for delivery in world.deliveries if delivery not in arrived),
    )
    return morning, report


def storage(world: World) -> str:
    """The shelf, as check_storage shows it."""
    parts = []
    for name in GOODS:
        batches = sorted((b for b in world.shelf if b.good == name), key=_oldest_first)
        shown = ", ".join(
            f"{b.quantity} until day {b.spoils_on}" if b.spoils_on is not None else str(b.quantity) for b in batches
        )
        parts.append(f"{name}: {shown or 'none'}; on the way: {world.coming(name)}")
    return "\n".join(parts)


def money(cents: int) -> str:
    return f"{'-' if cents < 0 else ''}${abs(cents) // 100}.{abs(cents) % 100:02d}"


def _sell(batches: list[Batch], wanted: int) -> tuple[list[Batch], int]:
    left: list[Batch] = []
    sold = 0
    for batch in sorted(batches, key=_oldest_first):
        taken = min(batch.quantity, wanted - sold)
        sold += taken
        if batch.quantity > taken:
            left.append(replace(batch, quantity=batch.quantity - taken))
    return left, sold


def _demand(world: World, good: Good) -> int:
    """Poisson, by the product of uniforms (Knuth); the mean stays far below where exp(-mean) would vanish."""
    mean = good.demand * WEEK[world.day % 7] * (good.usual_price / world.prices[good.name]) ** good.elasticity
    chance = Random(f"{world.seed}|{world.day}|{good.name}|demand")
    limit, product, count = math.exp(-min(mean, 300.0)), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


def _spoils_on(good: Good, day: int) -> Optional[int]:
    return None if good.keeps is None else day + good.keeps - 1


def _oldest_first(batch: Batch) -> float:
    return math.inf if batch.spoils_on is None else batch.spoils_on
