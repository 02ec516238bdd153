"""The quote: one NBBO update of one instrument. Pure values."""

from enum import StrEnum

import msgspec


class Quote(
    msgspec.Struct,
    frozen=True,
    gc=False,
    rename={"symbol": "S", "ts": "t", "bid": "bp", "bid_size": "bs", "ask": "ap", "ask_size": "as"},
):
    """Best bid and offer in force from `ts` on.

    `ts` is nanoseconds UTC. Prices are integers of 1/10,000 dollar, 0 when that side has no
    quote (its size is then 0). Sizes are shares for equities, contracts for options.
    """

    symbol: str
    ts: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int


class QuoteCondition(StrEnum):
    """What a quote is good for. Only NORMAL and LOCKED ones can fill an order."""

    NORMAL = "normal"
    LOCKED = "locked"  # bid = ask: a price
    CROSSED = "crossed"  # bid > ask: bad data, not a bargain
    ONE_SIDED = "one_sided"  # a side is missing


def condition(quote: Quote) -> QuoteCondition:
    if not quote.bid or not quote.ask:
        return QuoteCondition.ONE_SIDED
    if quote.bid > quote.ask:
        return QuoteCondition.CROSSED
    return QuoteCondition.LOCKED if quote.bid == quote.ask else QuoteCondition.NORMAL
