"""Packages: what two to four option legs cost together, and what each leg is then filled at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from tests.oracle.tape import Row

TICK = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of a package: what is bought or sold of this option for each package bought."""

    symbol: str
    side: Literal["buy", "sell"]
    ratio: int = 1


class Sight(NamedTuple):
    """What an order sees: bid, ask, and how much its touch side shows, in units of the order."""

    bid: Decimal
    ask: Decimal
    size: int


def package_sight(legs: Sequence[Leg], quotes: Mapping[str, Row]) -> Sight:
    """The quote of one package: its ask is the natural price, paid by whoever takes every leg's touch."""
    bid = ask = Decimal(0)
    sizes = []
    for leg in legs:
        leg_bid, leg_ask, bid_size, ask_size = two_sides(quotes[leg.symbol])
        if leg.side == "buy":
            ask += leg.ratio * leg_ask
            bid += leg.ratio * leg_bid
            sizes.append(ask_size // leg.ratio)
        else:
            ask -= leg.ratio * leg_bid
            bid -= leg.ratio * leg_ask
            sizes.append(bid_size // leg.ratio)
    return Sight(bid, ask, min(sizes))


def two_sides(row: Row) -> tuple[Decimal, Decimal, int, int]:
    if row.bid is None or row.ask is None:
        raise ValueError(f"one-sided: {row}")
    return row.bid, row.ask, row.bid_size, row.ask_size


def allocate(
    legs: Sequence[Leg], quotes: Mapping[str, Row], net: Decimal
) -> tuple[Decimal, tuple[Decimal, ...]]:
    """The net price of the package and the price of each leg: the nearest net, not above `net`, that splits.

    No leg is filled beyond its touch, so the net is never above the natural price either.
    """
    natural = package_sight(legs, quotes).ask
    wanted = max(0, int((natural - net) / TICK))
    while True:
        if (steps := split(legs, quotes, wanted)) is not None:
            break
        wanted += 1
    prices = []
    for leg, improved in zip(legs, steps, strict=True):
        leg_bid, leg_ask, _, _ = two_sides(quotes[leg.symbol])
        prices.append(leg_ask - improved * TICK if leg.side == "buy" else leg_bid + improved * TICK)
    return natural - wanted * TICK, tuple(prices)


def split(legs: Sequence[Leg], quotes: Mapping[str, Row], improvement: int) -> list[int] | None:
    """By how many 1/10,000 each leg is better than its touch, or None when `improvement` does not split.

    First the whole part of each leg's share by spread x ratio, then one 1/10,000 to each leg in
    turn, round after round, where it fits: inside the spread of the leg, and inside what is left.
    """
    spreads = []
    for leg in legs:
        leg_bid, leg_ask, _, _ = two_sides(quotes[leg.symbol])
        spreads.append(int((leg_ask - leg_bid) / TICK))
    width = sum(leg.ratio * spread for leg, spread in zip(legs, spreads, strict=True))
    if improvement > width:
        raise ValueError(f"{improvement} is more than all spreads together, {width}")
    steps = [improvement * spread // width if width else 0 for spread in spreads]
    left = improvement - sum(leg.ratio * step for leg, step in zip(legs, steps, strict=True))
    gave = True
    while left and gave:
        gave = False
        for index, leg in enumerate(legs):
            if leg.ratio <= left and steps[index] < spreads[index]:
                steps[index] += 1
                left -= leg.ratio
                gave = True
    return None if left else steps
