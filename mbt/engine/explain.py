"""Why this price, why not yet, why not at all: from recorded facts to sentences.

Everything said here follows from what was stored when it happened; nothing is looked up again. The facts
are part of the answer, so that a program need not read the sentences.
"""

from decimal import Decimal

import msgspec

from mbt.engine.account import Unbookable
from mbt.engine.fills import Rule, Why
from mbt.engine.orders import OrderStatus, OrderType, Side, TimeInForce
from raxx.kernel.clock import show_exchange_moment, show_exchange_time
from raxx.kernel.money import from_ticks, show_price, to_cents
from raxx.market.contracts import AssetClass
from raxx.market.sessions import Session


class QuoteFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An NBBO as it was; prices in 1/10,000 dollar, `quote_ns` its own stamp. `at_ns`: when it mattered."""

    quote_ns: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int
    at_ns: int = 0


class FillFacts(msgspec.Struct, frozen=True, kw_only=True):
    price: int
    qty: Decimal
    filled_ns: int
    rule: str
    rule_version: int
    feed: str
    quote: QuoteFacts
    amount: Decimal


class OrderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything recorded about an order.

    For an open one also the market: its instant `now_ns` (None: the market data does not answer), the NBBO
    in force `now` (None: there is none), and the `session` in progress or the next.
    """

    symbol: str
    asset_class: AssetClass
    multiplier: int
    side: Side
    type: OrderType
    tif: TimeInForce
    qty: Decimal
    limit: int
    status: OrderStatus
    reason: str
    accepted_ns: int
    working_ns: int | None
    closed_ns: int | None
    expires_ns: int | None
    arrival: QuoteFacts | None
    refusals: dict[str, QuoteFacts | None]
    fill: FillFacts | None
    now_ns: int | None = None
    now: QuoteFacts | None = None
    session: Session | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`headline` is the answer; `sentences` tell the story in order; `facts` are the same as data."""

    headline: str
    sentences: list[str]
    facts: dict[str, str | int | None]


_REFUSALS = {
    Why.NO_QUOTE: "there was no quote of it yet, so nothing could be said about a price",
    Why.STALE_QUOTE: "its last quote was too old to trade on",
    Why.ONE_SIDED_QUOTE: "its quote had one side only, and a market needs two",
    Why.CROSSED_QUOTE: "its quote was crossed (bid above ask), which is bad data and not a bargain",
    Why.OUTSIDE_SESSION: "the market was closed",
    Why.LIMIT_NOT_REACHED: "the market was not at its limit",
}

_RULES = {
    Rule.MARKET_TOUCH: "A market order trades at the touch: a buy at the ask, a sell at the bid.",
    Rule.LIMIT_MARKETABLE: "A limit order that is marketable on arrival trades at the touch, which may be better than its limit.",
    Rule.LIMIT_RESTING: "A resting limit order is the one that gets hit: it trades at its own limit, however far the quote jumped through it.",
}


def explain(order: OrderFacts) -> Explanation:
    """The whole story of one order in any state."""
    sentences = [_asked(order), *_arrived(order), *_refused(order)]
    facts: dict[str, str | int | None] = {
        "status": order.status, "reason": order.reason or None, "side": order.side, "qty": _plain(order.qty),
        "symbol": order.symbol, "order_type": order.type, "time_in_force": order.tif,
        "limit_price": _dollars(order.limit),
    }  # fmt: skip
    if order.fill is not None:
        headline = _filled(order, order.fill, sentences, facts)
    elif order.status in (OrderStatus.ACCEPTED, OrderStatus.NEW):
        headline = _open(order, sentences, facts)
    else:
        headline = _ended(order, sentences, facts)
    return Explanation(headline=headline, sentences=sentences, facts=facts)


def _asked(order: OrderFacts) -> str:
    terms = "at the market" if order.type is OrderType.MARKET else f"at ${show_price(order.limit)} or better"
    until = {
        TimeInForce.DAY: "for the day", TimeInForce.GTC: "until canceled",
        TimeInForce.IOC: "at once or not at all", TimeInForce.FOK: "whole and at once or not at all",
    }[order.tif]  # fmt: skip
    return (
        f"Accepted {show_exchange_moment(order.accepted_ns)}: {order.side} {_amount(order)} {terms}, {until}."
    )


def _arrived(order: OrderFacts) -> list[str]:
    if order.arrival is None or (order.fill is not None and order.working_ns is None):
        return []  # where it filled on arrival, the fill tells of the same quote
    quote = _market(order.arrival)
    if order.working_ns is not None:
        waited = "" if order.working_ns == order.accepted_ns else " (the first usable quote it met)"
        return [
            f"At {show_exchange_time(order.working_ns)} the NBBO was {quote}{waited}; that did not reach the limit, so the order rested."
        ]
    return [f"The NBBO in force was {quote}, quoted {show_exchange_time(order.arrival.quote_ns)}."]


def _refused(order: OrderFacts) -> list[str]:
    told = []
    for why, quote in order.refusals.items():
        when = f"At {show_exchange_time(quote.at_ns)}" if quote else "When it arrived"
        seen = f": {_market(quote)}" if quote and (quote.bid or quote.ask) else ""
        told.append(f"{when} it was not filled because {_REFUSALS[Why(why)]}{seen}.")
    return told


def _filled(
    order: OrderFacts, fill: FillFacts, sentences: list[str], facts: dict[str, str | int | None]
) -> str:
    quote, rule = fill.quote, Rule(fill.rule)
    touch = quote.ask if order.side is Side.BUY else quote.bid
    sign = 1 if order.side is Side.BUY else -1
    age_ms = (fill.filled_ns - quote.quote_ns) // 1_000_000
    age = f", {age_ms:,} ms old" if age_ms else ""
    locked = " The market was locked; bid = ask is a price." if quote.bid == quote.ask else ""
    sentences += [
        f"At {show_exchange_moment(fill.filled_ns)} the NBBO was {_market(quote)} "
        f"(sizes {quote.bid_size:,} × {quote.ask_size:,}{age}).{locked}",
        f"{_RULES[rule]} (rule {fill.rule}, version {fill.rule_version})",
    ]
    if order.limit:
        better = sign * (order.limit - fill.price)
        if better:
            sentences.append(f"That is ${show_price(better)} better than the limit.")
        worse = sign * (fill.price - touch)
        if worse > 0:
            sentences.append(
                f"The touch was ${show_price(touch)}; a live resting order would also have traded at its own price, if there was anyone left to trade with."
            )
    mid_distance = sign * (2 * fill.price - quote.bid - quote.ask)
    facts.update(
        fill_price=_dollars(fill.price), fill_qty=_plain(fill.qty), filled_at=show_exchange_moment(fill.filled_ns),
        amount=f"{fill.amount:.2f}", rule=fill.rule, rule_version=fill.rule_version, feed=fill.feed,
        nbbo_bid=_dollars(quote.bid), nbbo_bid_size=quote.bid_size, nbbo_ask=_dollars(quote.ask),
        nbbo_ask_size=quote.ask_size, quote_ns=quote.quote_ns, quote_age_ms=age_ms,
        price_improvement_per_unit=_plain(from_ticks(sign * (order.limit - fill.price))) if order.limit else None,
        slippage_from_mid_per_unit=_plain(from_ticks(mid_distance) / 2),
    )  # fmt: skip
    verb = "Bought" if order.side is Side.BUY else "Sold"
    paid = "paid" if order.side is Side.BUY else "received"
    return (
        f"{verb} {_amount(order)} at ${show_price(fill.price)}, {paid} ${abs(to_cents(fill.amount)):,.2f}, "
        f"at {show_exchange_time(fill.filled_ns)}."
    )


def _open(order: OrderFacts, sentences: list[str], facts: dict[str, str | int | None]) -> str:
    if order.expires_ns is not None:
        sentences.append(f"It expires at {show_exchange_moment(order.expires_ns)}.")
    if order.now_ns is None or order.session is None:
        return "Working; the market data does not answer now, so its distance to a fill cannot be told."
    if not order.session.is_open(order.now_ns):
        opens = show_exchange_moment(order.session.open_ns)
        return f"Waiting: the market is closed. It acts on the first usable quote after {opens}."
    if order.status is OrderStatus.ACCEPTED:
        return "Waiting for its first usable quote: two-sided, not crossed and fresh."
    side, move = ("ask", "fall") if order.side is Side.BUY else ("bid", "rise")
    touch = (order.now.ask if order.side is Side.BUY else order.now.bid) if order.now else 0
    if order.now is None or not touch:
        return f"Resting: there is no {side} now. It fills when a usable quote has its {side} at ${show_price(order.limit)} or better."
    distance = (touch - order.limit) if order.side is Side.BUY else (order.limit - touch)
    facts.update(
        nbbo_bid=_dollars(order.now.bid), nbbo_ask=_dollars(order.now.ask), quote_ns=order.now.quote_ns,
        distance_to_fill=_plain(from_ticks(distance)),
    )  # fmt: skip
    if distance <= 0:
        return f"Resting: the best {side} of ${show_price(touch)} reaches ${show_price(order.limit)}; it fills at the first usable quote like that."
    return f"Resting: the best {side} is ${show_price(touch)} and must {move} by ${show_price(distance)} to reach ${show_price(order.limit)}."


def _ended(order: OrderFacts, sentences: list[str], facts: dict[str, str | int | None]) -> str:
    when = show_exchange_moment(order.closed_ns) if order.closed_ns is not None else "—"
    facts["closed_at"] = when
    match order.status:
        case OrderStatus.EXPIRED:
            side = "ask" if order.side is Side.BUY else "bid"
            if order.limit and order.working_ns is not None:
                sentences.append(
                    f"While it worked, no usable quote had its {side} at ${show_price(order.limit)} or better."
                )
            elif order.working_ns is None:
                sentences.append("While it waited, no usable quote of it came.")
            return f"Expired unfilled at {when}, the end of its time in force."
        case OrderStatus.REPLACED:
            return f"Replaced at {when} by an order with changed terms."
        case OrderStatus.REJECTED:
            short = (
                "it would have cost more cash than was free"
                if order.reason == Unbookable.INSUFFICIENT_CASH
                else "the position no longer held what it sells"
            )
            return f"Rejected at {when}: a quote would have filled it, but {short}."
        case _ if order.reason:
            return f"Canceled at {when}: it had to trade at once, and {_REFUSALS[Why(order.reason)]}."
        case _:
            return f"Canceled by its owner at {when}."


def _market(quote: QuoteFacts) -> str:
    bid = f"bid ${show_price(quote.bid)}" if quote.bid else "no bid"
    ask = f"ask ${show_price(quote.ask)}" if quote.ask else "no ask"
    return f"{bid}, {ask}"


def _amount(order: OrderFacts) -> str:
    unit = (
        ""
        if order.asset_class is AssetClass.EQUITY
        else (" contract of" if order.qty == 1 else " contracts of")
    )
    return f"{_plain(order.qty)}{unit} {order.symbol}"


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}" if value else "0"


def _dollars(ticks: int) -> str | None:
    return show_price(ticks).replace(",", "") if ticks else None
