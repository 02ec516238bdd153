"""A believable day of an options-income account, as a plan: what to send when, given the market at that moment. Pure.

Shares are bought and calls sold over them, a condor and a credit spread are opened as one order each and walked towards
the market, stocks are worked with brackets and limits of every kind, and two orders ask for more than the account has.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from mbt.engine.orders import OrderClass, OrderType, Side, TimeInForce
from mbt.engine.tickets import LegTicket, Ticket
from raxx.kernel.money import TICKS_PER_DOLLAR, from_ticks
from raxx.market import listing
from raxx.market.contracts import SHARES_PER_CONTRACT, AssetClass, Instrument, Right, parse_symbol, price_step
from raxx.market.quotes import Quote, QuoteCondition, condition
from raxx.market.sessions import Session

STOCKS_MAX = 2
# Of the starting cash: what goes into covered shares if several lots fit, and at most for a single one.
LOTS_SHARE, ONE_LOT_SHARE = Decimal("0.25"), Decimal("0.76")
# How far from the price a condor's short legs lie if they can, and how far from them its wings.
_SHORT, _WING = Decimal("0.004"), Decimal("0.005")
# What is bid less than this is not worth selling. In 1/10,000 dollar.
_BID_MIN = 200

Quotes = Mapping[str, Quote]
# Given the quotes now, the ticket to send; None where such a market gives no sensible one.
Make = Callable[[Quotes], Ticket | None]
Size = Callable[[Quote], Decimal]


@dataclass(frozen=True, slots=True)
class Send:
    at_ns: int
    symbols: tuple[str, ...]
    make: Make


@dataclass(frozen=True, slots=True)
class CancelOrder:
    at_ns: int
    client_order_id: str


@dataclass(frozen=True, slots=True)
class MoveLimit:
    """Replace an open order's limit by what `price` gives now."""

    at_ns: int
    client_order_id: str
    symbols: tuple[str, ...]
    price: Callable[[Quotes], Decimal | None]


Step = Send | CancelOrder | MoveLimit


@dataclass(frozen=True, slots=True)
class Chain:
    """The nearest expiry of one underlying, of what is quoted now. `spot` in 1/10,000 dollar."""

    underlying: str
    spot: int
    calls: tuple[Instrument, ...]
    puts: tuple[Instrument, ...]

    @property
    def has_shares(self) -> bool:
        """Whether it delivers the stock it follows."""
        return listing.class_of((self.calls or self.puts)[0].underlying).is_physical


def plan(
    session: Session,
    instruments: Sequence[Instrument],
    quotes: Quotes,
    *,
    cash: Decimal,
    seed: int,
    prefix: str = "",
) -> list[Step]:
    """The day's steps in time order, for what is quoted at its beginning. `prefix`: of the names of its orders."""
    dice = random.Random(seed)  # noqa: S311 - a script, not a secret
    at = _clock(session, dice)
    chains = find_chains(instruments, quotes, session.date)
    steps: list[Step] = []
    covered = _to_write_on(chains, quotes, cash)
    if covered is not None:
        steps += _covered_call(covered, quotes, _lots(covered, quotes, cash), f"{prefix}covered", at)
    for chain in chains[:1]:
        condor = _condor(chain, quotes)
        if condor is not None:
            steps += _credit(condor, f"{prefix}condor", at, 0.08)
        spread = _vertical(chain)
        if spread is not None:
            steps += _credit(spread, f"{prefix}spread", at, 0.13, too_many=condor is None)
    stocks = [
        i for i in instruments if i.asset_class is AssetClass.EQUITY and _is_priced(quotes.get(i.symbol))
    ]
    follows = {chain.underlying for chain in chains if not chain.has_shares}
    free = [
        i for i in stocks if i.symbol not in follows and (covered is None or i.symbol != covered.underlying)
    ]
    for stock in free[:STOCKS_MAX]:
        steps += _stock_steps(stock, f"{prefix}{stock.symbol.lower()}", at, share=3 if chains else 1)
    if covered is not None and not free:
        steps += _bracket(
            parse_symbol(covered.underlying), f"{prefix}{covered.underlying.lower()}", at, worth=4_000
        )
    return sorted(steps, key=lambda step: step.at_ns)


def find_chains(instruments: Iterable[Instrument], quotes: Quotes, day: date) -> list[Chain]:
    """One for each underlying that is quoted: those that expire first come first, and of those the dearest."""
    by_ticker: dict[str, list[Instrument]] = {}
    for one in instruments:
        if one.expiry is not None and one.expiry >= day and _is_priced(quotes.get(one.symbol)):
            by_ticker.setdefault(listing.class_of(one.underlying).underlying, []).append(one)
    found = []
    for ticker, options in by_ticker.items():
        spot = quotes.get(ticker)
        if spot is None or not _is_priced(spot):
            continue
        nearest = min(one.expiry for one in options if one.expiry)
        middle = (spot.bid + spot.ask) // 2
        same = sorted((o for o in options if o.expiry == nearest), key=lambda o: (o.strike, o.symbol))
        calls = tuple(o for o in same if o.right is Right.CALL)
        puts = tuple(o for o in same if o.right is Right.PUT)
        found.append((nearest, -middle, Chain(ticker, middle, calls, puts)))
    return [chain for _, _, chain in sorted(found, key=lambda each: (each[0], each[1], each[2].underlying))]


# -- options for income --------------------------------------------------------------------------------


def _to_write_on(chains: Sequence[Chain], quotes: Quotes, cash: Decimal) -> Chain | None:
    """The dearest stock of which lots fit into a part of the cash; else one of which a single lot can be carried."""
    fitting = [chain for chain in chains if _lots(chain, quotes, cash)]
    small = [c for c in fitting if from_ticks(c.spot) * SHARES_PER_CONTRACT <= cash * LOTS_SHARE]
    return next(iter(small or fitting), None)


def _lots(chain: Chain, quotes: Quotes, cash: Decimal) -> int:
    """How many hundred shares to hold and write calls on; 0: not this stock."""
    if not chain.has_shares or not _worth_selling(chain.calls, chain.spot, quotes):
        return 0
    lot = from_ticks(quotes[chain.underlying].ask) * SHARES_PER_CONTRACT
    return int(cash * LOTS_SHARE // lot) or int(lot <= cash * ONE_LOT_SHARE)


def _worth_selling(options: Iterable[Instrument], spot: int, quotes: Quotes) -> list[Instrument]:
    """Out of the money, and bid for."""
    return [
        o for o in options
        if (o.strike > spot if o.right is Right.CALL else o.strike < spot) and quotes[o.symbol].bid >= _BID_MIN
    ]  # fmt: skip


def _covered_call(
    chain: Chain, quotes: Quotes, lots: int, name: str, at: Callable[[float], int]
) -> list[Step]:
    stock = parse_symbol(chain.underlying)
    call = _worth_selling(chain.calls, chain.spot, quotes)[0]
    shares = Decimal(lots * SHARES_PER_CONTRACT)
    return [
        _market(stock, at(0.02), name, "shares", Side.BUY, lambda quote: shares),
        _limit(call, at(0.05), name, "call", Side.SELL, _contracts(lots), lambda q: (q.bid + q.ask + 1) // 2),
        MoveLimit(at(0.20), f"{name}-call", (call.symbol,), lambda quotes: _dollars(call, quotes[call.symbol].bid)),
    ]  # fmt: skip


def _credit(
    legs: tuple[LegTicket, ...], name: str, at: Callable[[float], int], begin: float, *, too_many: bool = True
) -> list[Step]:
    """Asked for at the middle, taken at the market later; and five hundred of it, which nobody could carry."""
    symbols = tuple(leg.symbol for leg in legs)

    def send(what: str, qty: int, price: Callable[[Quotes], Decimal | None]) -> Make:
        def make(quotes: Quotes) -> Ticket | None:
            limit = price(quotes)
            if limit is None:
                return None
            return Ticket(
                symbol="", side=Side.BUY, qty=Decimal(qty), order_type=OrderType.LIMIT, time_in_force=TimeInForce.DAY,
                limit_price=limit, client_order_id=f"{name}-{what}", order_class=OrderClass.MLEG, legs=legs,
            )  # fmt: skip

        return make

    steps: list[Step] = [
        Send(at(begin), symbols, send("open", 1, lambda quotes: _net(legs, quotes, middle=True))),
        MoveLimit(at(begin + 0.12), f"{name}-open", symbols, lambda quotes: _net(legs, quotes, middle=False)),
    ]
    if too_many:
        over = send("too-many", 500, lambda quotes: _net(legs, quotes, middle=False))
        steps.append(Send(at(begin + 0.02), symbols, over))
    return steps


def _condor(chain: Chain, quotes: Quotes) -> tuple[LegTicket, ...] | None:
    wing = int(chain.spot * _WING)
    # Wings must have a bid that lasts too, or the package has no market: a short leg is never the farthest.
    puts = _worth_selling(chain.puts, chain.spot, quotes)
    calls = _worth_selling(chain.calls, chain.spot, quotes)
    put = _nearest(puts[1:], chain.spot * (1 - _SHORT))
    call = _nearest(calls[:-1], chain.spot * (1 + _SHORT))
    if put is None or call is None:
        return None
    low = _nearest([p for p in puts if p.strike < put.strike], Decimal(put.strike - wing))
    high = _nearest([c for c in calls if c.strike > call.strike], Decimal(call.strike + wing))
    if low is None or high is None:
        return None
    return (
        LegTicket(low.symbol, Side.BUY, 1), LegTicket(put.symbol, Side.SELL, 1),
        LegTicket(call.symbol, Side.SELL, 1), LegTicket(high.symbol, Side.BUY, 1),
    )  # fmt: skip


def _vertical(chain: Chain) -> tuple[LegTicket, ...] | None:
    """A put spread whose short leg is just in the money. Where there are two strikes only: calls where the price is
    nearer to the lower one, else puts."""
    if len(chain.puts) > 2:
        short = next((p for p in chain.puts if p.strike > chain.spot), None)
        if short is None:
            return None
        below = [p for p in chain.puts if p.strike < short.strike]
        long = _nearest(below, short.strike - chain.spot * _WING)
        if long is None:
            return None
        return LegTicket(short.symbol, Side.SELL, 1), LegTicket(long.symbol, Side.BUY, 1)
    if len(chain.calls) < 2 or len(chain.puts) < 2:
        return None
    low, high = chain.calls[0], chain.calls[-1]
    if chain.spot * 2 > low.strike + high.strike:
        low, high = chain.puts[0], chain.puts[-1]
        return LegTicket(high.symbol, Side.SELL, 1), LegTicket(low.symbol, Side.BUY, 1)
    return LegTicket(low.symbol, Side.SELL, 1), LegTicket(high.symbol, Side.BUY, 1)


def _nearest(options: Iterable[Instrument], strike: Decimal) -> Instrument | None:
    return min(options, key=lambda o: (abs(o.strike - strike), o.symbol), default=None)


def _net(legs: Sequence[LegTicket], quotes: Quotes, *, middle: bool) -> Decimal | None:
    """What the package costs (negative: brings) in the middle or at the market, in whole cents; None where a leg
    that must be bought or sold has no price."""
    total = 0
    for leg in legs:
        quote = quotes.get(leg.symbol)
        if quote is None or not quote.ask or (not quote.bid and leg.side is Side.SELL):
            return None
        touch = quote.ask if leg.side is Side.BUY else quote.bid
        price = (quote.bid + quote.ask) // 2 if middle else touch
        total += price if leg.side is Side.BUY else -price
    return from_ticks(total // 100 * 100)


# -- stocks --------------------------------------------------------------------------------------------


def _stock_steps(instrument: Instrument, name: str, at: Callable[[float], int], share: int) -> list[Step]:
    """Sizes are in dollars, so that a plan fits a $100,000 account whatever the stock costs; a `share`th of them
    beside options."""

    def worth(dollars: int) -> Size:
        return _worth(dollars // share)

    buy, sell, ioc, fok, gtc = Side.BUY, Side.SELL, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTC
    return [
        _market(instrument, at(0.02), name, "open", buy, worth(10_000)),
        _limit(instrument, at(0.05), name, "dip", buy, worth(4_000), lambda q: q.bid - q.bid // 700),
        *_bracket(instrument, name, at, worth=4_000 // share),
        _limit(instrument, at(0.12), name, "inside", buy, worth(2_000), lambda q: (q.bid + q.ask) // 2, ioc),
        _limit(instrument, at(0.18), name, "sweep", buy, worth(3_000), lambda q: q.ask + 500, fok),
        _market(instrument, at(0.25), name, "fraction", buy, lambda q: Decimal("0.5")),
        _limit(instrument, at(0.30), name, "patient", buy, worth(2_500), lambda q: q.bid - q.bid // 25, gtc),
        _market(instrument, at(0.40), name, "too-much", buy, lambda q: Decimal(5_000_000)),
        _limit(instrument, at(0.45), name, "second-thought", buy, worth(1_000), lambda q: q.bid - q.bid // 50),
        CancelOrder(at(0.55), f"{name}-second-thought"),
        MoveLimit(
            at(0.65), f"{name}-patient", (instrument.symbol,),
            lambda quotes: _dollars(instrument, (quotes[instrument.symbol].bid + quotes[instrument.symbol].ask) // 2),
        ),
        _limit(instrument, at(0.80), name, "scale-out", sell, worth(3_000), lambda q: q.ask),
        _market(instrument, at(0.97), name, "trim", sell, worth(2_000)),
    ]  # fmt: skip


def _bracket(instrument: Instrument, name: str, at: Callable[[float], int], *, worth: int) -> list[Step]:
    """Bought at the market with both exits: a third of a per cent up, a quarter down."""

    def make(quotes: Quotes) -> Ticket | None:
        quote = quotes[instrument.symbol]
        profit = on_step(instrument, quote.ask + quote.ask // 300)
        loss = on_step(instrument, quote.bid - quote.bid // 400)
        return Ticket(
            symbol=instrument.symbol, side=Side.BUY, qty=_worth(worth)(quote), order_type=OrderType.MARKET,
            time_in_force=TimeInForce.DAY, client_order_id=f"{name}-bracket", order_class=OrderClass.BRACKET,
            take_profit=from_ticks(profit), stop_loss=from_ticks(loss),
        )  # fmt: skip

    return [Send(at(0.09), (instrument.symbol,), make)]


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
    return Send(at_ns, (instrument.symbol,), lambda quotes: Ticket(
        symbol=instrument.symbol, side=side, qty=size(quotes[instrument.symbol]), order_type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY, limit_price=None, client_order_id=f"{name}-{what}",
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
    def make(quotes: Quotes) -> Ticket | None:
        quote = quotes[instrument.symbol]
        ticks = on_step(instrument, price(quote))
        if not ticks:
            return None
        return Ticket(
            symbol=instrument.symbol, side=side, qty=size(quote), order_type=OrderType.LIMIT, time_in_force=tif,
            limit_price=from_ticks(ticks), client_order_id=f"{name}-{what}",
        )  # fmt: skip

    return Send(at_ns, (instrument.symbol,), make)


def on_step(instrument: Instrument, ticks: int) -> int:
    """The price rounded down to what may be ordered; 0 where there is none."""
    return ticks // price_step(instrument, ticks) * price_step(instrument, ticks) if ticks > 0 else 0


def _dollars(instrument: Instrument, ticks: int) -> Decimal | None:
    """A price that may be ordered, in dollars; None where there is none."""
    legal = on_step(instrument, ticks)
    return from_ticks(legal) if legal else None


def _is_priced(quote: Quote | None) -> bool:
    return quote is not None and condition(quote) in (QuoteCondition.NORMAL, QuoteCondition.LOCKED)
