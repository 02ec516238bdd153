"""A believable day of a paper trader, as a plan: what to send when, given the market at that moment. Pure."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from mbt.engine.orders import OrderType, Side, TimeInForce
from mbt.engine.tickets import Ticket
from raxx.kernel.money import TICKS_PER_DOLLAR, from_ticks
from raxx.market.contracts import AssetClass, Instrument, Right, parse_symbol, price_step
from raxx.market.quotes import Quote, QuoteCondition, condition
from raxx.market.sessions import Session

STOCKS_MAX, CONTRACTS_MAX = 3, 2

# Given the quote now, the ticket to send; None where such a market gives no sensible one.
Make = Callable[[Quote], Ticket | None]
Size = Callable[[Quote], Decimal]


@dataclass(frozen=True, slots=True)
class Send:
    at_ns: int
    symbol: str
    make: Make


@dataclass(frozen=True, slots=True)
class CancelOrder:
    at_ns: int
    client_order_id: str


@dataclass(frozen=True, slots=True)
class MoveLimit:
    """Replace an order's limit by the current midpoint."""

    at_ns: int
    client_order_id: str
    symbol: str


Step = Send | CancelOrder | MoveLimit


def plan(session: Session, symbols: list[str], *, seed: int) -> list[Step]:
    """The day's steps in time order: each symbol is bought, worked with limits of every kind, and partly sold."""
    dice = random.Random(seed)  # noqa: S311 - a script, not a secret
    steps: list[Step] = []
    for number, symbol in enumerate(symbols, start=1):
        instrument = parse_symbol(symbol)
        make = _contract_steps if instrument.asset_class is AssetClass.OPTION else _stock_steps
        steps += make(instrument, session, f"d{session.date:%m%d}-{number}", dice)
    return sorted(steps, key=lambda step: step.at_ns)


def choose(instruments: list[Instrument], quotes: Mapping[str, Quote], session: Session) -> list[str]:
    """What to trade: the first stocks in the feed, and the calls and puts of the nearest expiry at the money."""
    stocks = [i.symbol for i in instruments if i.asset_class is AssetClass.EQUITY][:STOCKS_MAX]
    chosen = list(stocks)
    for stock in stocks:
        chain = [
            i for i in instruments
            if i.underlying == stock and i.expiry and i.expiry >= session.date and _is_priced(quotes.get(i.symbol))
        ]  # fmt: skip
        if not chain or not _is_priced(quotes.get(stock)):
            continue
        nearest = min(i.expiry for i in chain if i.expiry)
        middle = (quotes[stock].bid + quotes[stock].ask) // 2
        for right in (Right.CALL, Right.PUT):
            same = [i for i in chain if i.expiry == nearest and i.right is right]
            if same and len(chosen) < len(stocks) + CONTRACTS_MAX:
                chosen.append(min(same, key=lambda i: (abs(i.strike - middle), i.symbol)).symbol)
    return chosen


def _stock_steps(instrument: Instrument, session: Session, name: str, dice: random.Random) -> list[Step]:
    """Sizes are in dollars, so that a plan fits a $100,000 account whatever the stock costs."""
    at = _clock(session, dice)
    buy, sell, ioc, fok, gtc = Side.BUY, Side.SELL, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTC
    return [
        _market(instrument, at(0.02), name, "open", buy, _worth(10_000)),
        _limit(instrument, at(0.05), name, "dip", buy, _worth(4_000), lambda q: q.bid - q.bid // 700),
        _limit(instrument, at(0.08), name, "target", sell, _worth(4_000), lambda q: q.ask + q.ask // 500),
        _limit(instrument, at(0.12), name, "inside", buy, _worth(2_000), lambda q: (q.bid + q.ask) // 2, ioc),
        _limit(instrument, at(0.18), name, "sweep", buy, _worth(3_000), lambda q: q.ask + 500, fok),
        _market(instrument, at(0.25), name, "fraction", buy, lambda q: Decimal("0.5")),
        _limit(instrument, at(0.30), name, "patient", buy, _worth(2_500), lambda q: q.bid - q.bid // 25, gtc),
        _market(instrument, at(0.40), name, "too-much", buy, lambda q: Decimal(5_000_000)),
        _limit(
            instrument, at(0.45), name, "second-thought", buy, _worth(1_000), lambda q: q.bid - q.bid // 50
        ),
        CancelOrder(at(0.55), f"{name}-second-thought"),
        MoveLimit(at(0.65), f"{name}-patient", instrument.symbol),
        _limit(instrument, at(0.80), name, "scale-out", sell, _worth(3_000), lambda q: q.ask),
        _market(instrument, at(0.97), name, "trim", sell, _worth(2_000)),
    ]


def _contract_steps(instrument: Instrument, session: Session, name: str, dice: random.Random) -> list[Step]:
    at = _clock(session, dice)
    one = _contracts(1)
    return [
        _market(instrument, at(0.10), name, "open", Side.BUY, one),
        _limit(instrument, at(0.15), name, "bid", Side.BUY, one, lambda q: q.bid),
        _limit(instrument, at(0.60), name, "target", Side.SELL, one, lambda q: q.bid + q.bid // 2),
        _limit(instrument, at(0.90), name, "out", Side.SELL, one, lambda q: q.bid),
    ]


def _worth(dollars: int) -> Size:
    """Whole shares for about so many dollars, at least one."""
    return lambda quote: Decimal(max(1, dollars * TICKS_PER_DOLLAR // quote.ask if quote.ask else 1))


def _contracts(number: int) -> Size:
    return lambda quote: Decimal(number)


def _clock(session: Session, dice: random.Random) -> Callable[[float], int]:
    """Instants at a share of the session, to the millisecond, each a little off the full share."""
    length = session.close_ns - session.open_ns
    return lambda share: (
        session.open_ns + int(length * (share + dice.uniform(0, 0.01))) // 1_000_000 * 1_000_000
    )


def _market(instrument: Instrument, at_ns: int, name: str, what: str, side: Side, size: Size) -> Send:
    return Send(at_ns, instrument.symbol, lambda quote: Ticket(
        symbol=instrument.symbol, side=side, qty=size(quote), order_type=OrderType.MARKET, time_in_force=TimeInForce.DAY,
        limit_price=None, client_order_id=f"{name}-{what}",
    ))  # fmt: skip


def _limit(
    instrument: Instrument,
    at_ns: int,
    name: str,
    what: str,
    side: Side,
    size: Size,
    price: Callable[[Quote], int],
    tif: TimeInForce = TimeInForce.DAY,
) -> Send:
    def make(quote: Quote) -> Ticket | None:
        ticks = on_step(instrument, price(quote))
        if not ticks:
            return None
        return Ticket(
            symbol=instrument.symbol, side=side, qty=size(quote), order_type=OrderType.LIMIT, time_in_force=tif,
            limit_price=from_ticks(ticks), client_order_id=f"{name}-{what}",
        )  # fmt: skip

    return Send(at_ns, instrument.symbol, make)


def on_step(instrument: Instrument, ticks: int) -> int:
    """The price rounded down to what may be ordered; 0 where there is none."""
    return ticks // price_step(instrument, ticks) * price_step(instrument, ticks) if ticks > 0 else 0


def _is_priced(quote: Quote | None) -> bool:
    return quote is not None and condition(quote) in (QuoteCondition.NORMAL, QuoteCondition.LOCKED)


def middle(symbol: str, quote: Quote) -> Decimal:
    """The midpoint as a price that may be ordered, in dollars."""
    return from_ticks(on_step(parse_symbol(symbol), (quote.bid + quote.ask) // 2))
