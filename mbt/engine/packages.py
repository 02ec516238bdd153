"""A package of option legs as one thing with one price: its quote, and what a net price means for each leg.

A package is always bought. Net prices are signed: a debit is positive, a credit negative.
Source: docs/rules/fills.md#packages.
"""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from mbt.engine.orders import Leg, Side
from raxx.market.quotes import Quote


class PackageQuote(msgspec.Struct, frozen=True, gc=False):
    """The market of a package: `ask` is what buying it costs leg by leg at the touch, `bid` what its sale
    would give, both signed and in 1/10,000 dollar. `legs` are the quotes behind it, in leg order."""

    ts: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int
    legs: tuple[Quote, ...]


class LegFill(msgspec.Struct, frozen=True, gc=False):
    """A leg's part of a package fill: `qty` contracts at `price` (1/10,000 dollar)."""

    leg: Leg
    price: int
    qty: Decimal
    quote: Quote


def package_quote(legs: Sequence[Leg], quotes: Sequence[Quote]) -> PackageQuote:
    """The package's market from two-sided quotes of its legs. Its stamp is the newest of theirs."""
    bid = ask = 0
    for leg, quote in zip(legs, quotes, strict=True):
        if leg.side is Side.BUY:
            ask, bid = ask + leg.ratio * quote.ask, bid + leg.ratio * quote.bid
        else:
            ask, bid = ask - leg.ratio * quote.bid, bid - leg.ratio * quote.ask
    return PackageQuote(
        ts=max(quote.ts for quote in quotes), bid=bid, ask=ask, legs=tuple(quotes),
        ask_size=min(_touch_size(leg.side, leg, quote) for leg, quote in zip(legs, quotes, strict=True)),
        bid_size=min(_touch_size(leg.side.other, leg, quote) for leg, quote in zip(legs, quotes, strict=True)),
    )  # fmt: skip


def allocate(legs: Sequence[Leg], market: PackageQuote, net: int) -> tuple[int, ...]:
    """A price for each leg, inside its NBBO, that add up to `net` or the nearest net better for the trader.

    `net` lies between the package's bid and ask. Each leg starts at its touch and moves towards its other
    side in proportion to its spread; what the division leaves goes to the legs in turn, 1/10,000 at a time.
    Only ratios above 1 can make an exact split impossible.
    """
    wanted = market.ask - net
    while (moves := _split(legs, market, wanted)) is None:
        wanted += 1
    return tuple(
        quote.ask - move if leg.side is Side.BUY else quote.bid + move
        for leg, quote, move in zip(legs, market.legs, moves, strict=True)
    )


def _split(legs: Sequence[Leg], market: PackageQuote, wanted: int) -> list[int] | None:
    """How far each leg moves so that the package improves by `wanted`; None when no split of this kind does."""
    spreads = [quote.ask - quote.bid for quote in market.legs]
    whole = sum(leg.ratio * spread for leg, spread in zip(legs, spreads, strict=True))
    moves = [spread * wanted // whole if whole else 0 for spread in spreads]
    short = wanted - sum(leg.ratio * move for leg, move in zip(legs, moves, strict=True))
    moved = True
    while short and moved:
        moved = False
        for i, leg in enumerate(legs):
            if moves[i] < spreads[i] and leg.ratio <= short:
                moves[i] += 1
                short -= leg.ratio
                moved = True
    return None if short else moves


def net_of(legs: Sequence[Leg], prices: Sequence[int]) -> int:
    """The signed net price of a package whose legs trade at `prices`."""
    return sum(
        leg.ratio * price * (1 if leg.side is Side.BUY else -1)
        for leg, price in zip(legs, prices, strict=True)
    )


def _touch_size(side: Side, leg: Leg, quote: Quote) -> int:
    return (quote.ask_size if side is Side.BUY else quote.bid_size) // leg.ratio
