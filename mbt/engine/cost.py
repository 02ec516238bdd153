"""What an order would trade, and what it is expected to cost before it fills. Source: docs/rules/buying-power.md."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from mbt.engine.fills import SHARE_STEP
from mbt.engine.orders import Leg, OrderType, Side
from mbt.engine.packages import package_quote
from mbt.engine.tickets import Ticket
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import down_to, from_ticks
from raxx.market.contracts import Instrument
from raxx.market.quotes import Quote

Quotes = Mapping[str, Quote]

# An order without a limit is priced at its touch and this much worse, because the quote may move before it
# fills; what is not needed is free again with the fill. Peers use 2.5 to 4 %.
MARKET_COLLAR = Decimal("0.03")


class NoPrice(RaxxError):
    """The order cannot be priced, so its cost cannot be held."""

    code = "NO_PRICE"
    http_status = 422


class Trade(msgspec.Struct, frozen=True):
    """A change of one position: `qty` shares or contracts, negative when sold."""

    instrument: Instrument
    qty: Decimal


def trades(ticket: Ticket, instruments: Sequence[Instrument], qty: Decimal) -> list[Trade]:
    """What `qty` of the order trades: one instrument, or each leg of a package."""
    if not ticket.legs:
        return [Trade(instruments[0], qty if ticket.side is Side.BUY else -qty)]
    return [
        Trade(instrument, qty * leg.ratio * (1 if leg.side is Side.BUY else -1))
        for leg, instrument in zip(ticket.legs, instruments, strict=True)
    ]


def unit_price(ticket: Ticket, instruments: Sequence[Instrument], quotes: Quotes) -> Decimal:
    """Dollars a share that the order is expected to trade at in the worst case that it is held for; of a package
    its signed net price. Raises NoPrice."""
    if ticket.limit_price is not None:
        return ticket.limit_price
    if ticket.take_profit is not None and not ticket.legs and ticket.order_type is OrderType.LIMIT:
        return ticket.take_profit  # an OCO is priced by its limit
    if ticket.legs:
        return _natural_price(ticket, instruments, quotes)
    quote = quotes.get(ticket.symbol)
    buys = ticket.side is Side.BUY
    near = (quote.ask if buys else quote.bid) if quote else 0
    if not near:
        side = "ask" if buys else "bid"
        raise NoPrice(
            f"{ticket.symbol} has no {side} now, so a {ticket.order_type} order cannot be priced. Send a limit order.",
            field="order_type", rule=f"an order without a limit needs a quote with a{'n' if buys else ''} {side} to be priced by",
            value=ticket.order_type, remedy="Send a limit order.",
        )  # fmt: skip
    price = from_ticks(near)
    if buys:
        return max(price, _trigger(ticket, price)) * (1 + MARKET_COLLAR)
    return min(price, _trigger(ticket, price)) * (1 - MARKET_COLLAR)


def quantity(ticket: Ticket, quotes: Quotes) -> Decimal:
    """Shares, contracts or packages; of an amount of money what it trades at the quote now, of a sale the most that
    it might. Raises NoPrice."""
    if ticket.notional is None:
        return ticket.qty or Decimal(0)
    quote = quotes.get(ticket.symbol)
    near = (quote.ask if ticket.side is Side.BUY else quote.bid) if quote else 0
    if not near:
        raise NoPrice(
            f"{ticket.symbol} has no quote now that would turn an amount into shares. Send qty.",
            field="notional", rule="an amount needs a quote to be priced by", value=f"{ticket.notional:f}", remedy="Send qty.",
        )  # fmt: skip
    price = from_ticks(near)
    if ticket.side is Side.SELL:
        price *= 1 - MARKET_COLLAR
    return down_to(ticket.notional / price, SHARE_STEP)


def _natural_price(ticket: Ticket, instruments: Sequence[Instrument], quotes: Quotes) -> Decimal:
    found = [quotes.get(symbol) for symbol in ticket.symbols]
    known = [quote for quote in found if quote is not None and quote.bid and quote.ask]
    if len(known) < len(found):
        raise NoPrice(
            "A leg has no two-sided quote now, so a market order of the package cannot be priced. Send a limit order.",
            field="order_type", rule="a package without a limit needs quotes of all its legs", value=ticket.order_type,
            remedy="Send a limit order.",
        )  # fmt: skip
    legs = [
        Leg(leg.symbol, leg.side, leg.ratio, i.multiplier)
        for leg, i in zip(ticket.legs, instruments, strict=True)
    ]
    natural = from_ticks(package_quote(legs, known).ask)
    return natural + abs(natural) * MARKET_COLLAR


def _trigger(ticket: Ticket, price: Decimal) -> Decimal:
    """Where a stop triggers, as things stand."""
    if ticket.stop_price is not None:
        return ticket.stop_price
    away = 1 if ticket.side is Side.BUY else -1
    if ticket.trail_price is not None:
        return price + away * ticket.trail_price
    return price * (1 + away * (ticket.trail_percent or Decimal(0)) / 100)
