"""Whether something trades now: the word of its market beside the quotes. Pure values."""

from enum import StrEnum

import msgspec

EVERYTHING = "*"  # the symbol of a halt of the whole market


class Reason(StrEnum):
    """The codes that exchanges publish; docs/rules/halts.md says each in words."""

    NEWS_PENDING = "T1"
    NEWS_RELEASED = "T2"
    INFORMATION_REQUESTED = "T12"
    SEC_SUSPENSION = "H10"
    OPERATIONAL = "M"
    PRICE_BAND = "LUDP"
    STRADDLE = "LUDS"
    MARKET_7 = "MWC1"
    MARKET_13 = "MWC2"
    MARKET_20 = "MWC3"


class TradingStatus(msgspec.Struct, frozen=True):
    """From `ts` on (nanoseconds UTC), and before the quotes of that instant: `symbol` is halted, or trades again.

    `symbol` is a stock, whose options stand still with it, an option of its own, or EVERYTHING. `reason` None: it
    trades. `until_ns`: the end of a halt where that is known already; it then ends by itself.
    """

    symbol: str
    ts: int
    reason: Reason | None = None
    until_ns: int | None = None

    @property
    def is_halt(self) -> bool:
        return self.reason is not None
