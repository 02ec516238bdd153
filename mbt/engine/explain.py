"""Why this price, why not yet, why not at all: from recorded facts to sentences.

Everything said here follows from what was stored when it happened; nothing is looked up again. The facts
are part of the answer, so that a program need not read the sentences.
"""

from decimal import Decimal
from typing import Literal

import msgspec

from mbt.engine.account import Unbookable
from mbt.engine.fills import Market, Rule, Why, middle, stop_level, touch
from mbt.engine.halts import Halt, halted_by, sentence
from mbt.engine.nearest import nearest_at, waits_for_stop
from mbt.engine.orders import (
    FRESH,
    FillPreference,
    Order,
    OrderStatus,
    OrderType,
    Progress,
    Side,
    TimeInForce,
)
from mbt.engine.packages import PackageQuote
from mbt.engine.strategies import called
from raxx.kernel.clock import show_exchange_moment, show_exchange_time
from raxx.kernel.money import from_ticks, show_price, to_cents
from raxx.market.contracts import AssetClass, parse_symbol
from raxx.market.quotes import Quote
from raxx.market.sessions import Session


class QuoteFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An NBBO as it was; prices in 1/10,000 dollar, of a package signed net prices with `legs` behind them.
    `quote_ns`: its own stamp. `at_ns`: when it mattered."""

    quote_ns: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int
    at_ns: int = 0
    legs: "tuple[QuoteFacts, ...]" = ()

    def as_market(self, symbol: str) -> Market:
        """The quote as the engine saw it."""
        if not self.legs:
            return Quote(symbol, self.quote_ns, self.bid, self.bid_size, self.ask, self.ask_size)
        legs = tuple(
            Quote("", leg.quote_ns, leg.bid, leg.bid_size, leg.ask, leg.ask_size) for leg in self.legs
        )
        return PackageQuote(self.quote_ns, self.bid, self.bid_size, self.ask, self.ask_size, legs)


class LegFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What one fill traded of one instrument, and the NBBO of that."""

    symbol: str
    side: Side
    qty: Decimal
    price: int
    amount: Decimal
    quote: QuoteFacts


class FillFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One fill. `legs`: one for a single instrument, all of them for a package. `price` is the net of a package."""

    price: int
    qty: Decimal
    filled_ns: int
    rule: str
    rule_version: int
    feed: str
    quote: QuoteFacts
    amount: Decimal
    legs: tuple[LegFacts, ...]


class NearestFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How near the market came to an order without filling it, as recorded: mbt.engine.nearest.Nearest."""

    away: int
    to_stop: bool
    quote: QuoteFacts


class OrderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything recorded about an order.

    For an open one also the market: its instant `now_ns` (None: the market data does not answer), the NBBO
    in force `now` (None: there is none), and the `session` in progress or the next. `is_dormant`: an exit that has
    sold all that its entry has bought so far. `halts`: those that it met, and one that is in force. `nearest`: of an
    open order up to about a minute ago.
    """

    order: Order
    progress: Progress
    status: OrderStatus
    reason: str
    working_ns: int | None
    closed_ns: int | None
    arrival: QuoteFacts | None
    trigger: QuoteFacts | None
    refusals: dict[str, QuoteFacts | None]
    fills: tuple[FillFacts, ...] = ()
    now_ns: int | None = None
    now: QuoteFacts | None = None
    session: Session | None = None
    is_dormant: bool = False
    halts: tuple[Halt, ...] = ()
    nearest: NearestFacts | None = None


class NearestMiss(msgspec.Struct, frozen=True, kw_only=True):
    """The usable quote that came nearest to an order that has not been filled, since it worked. Dollars; of a package
    signed net prices. `distance`: how far its price still was from the order's limit or `stop`. `at_ns`: when it
    mattered; `quote_ns`: its own stamp."""

    distance: str
    price: Literal["limit", "stop"]
    at_ns: int
    quote_ns: int
    bid: str
    bid_size: int
    ask: str
    ask_size: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`headline` is the answer; `sentences` tell the story in order; `facts` are the same as data."""

    headline: str
    sentences: list[str]
    facts: dict[str, str | int | None]
    nearest_miss: NearestMiss | None = None


_Facts = dict[str, str | int | None]

_REFUSALS = {
    Why.NO_QUOTE: "there was no quote of it yet, so nothing could be said about a price",
    Why.STALE_QUOTE: "its last quote was too old to trade on",
    Why.ONE_SIDED_QUOTE: "its quote had one side only, and a market needs two",
    Why.CROSSED_QUOTE: "its quote was crossed (bid above ask), which is bad data and not a bargain",
    Why.OUTSIDE_SESSION: "the market was closed",
    Why.HALTED: "trading in it was halted",
    Why.LIMIT_NOT_REACHED: "the market was not at its limit",
    Why.STOP_NOT_REACHED: "the market was not at its stop",
    Why.SIZE_TOO_SMALL: "the quote did not show enough size",
}

_ENDINGS = {
    Why.OCO_SIBLING_FILLED: "the other exit of the pair filled, and the two share one quantity",
    Why.PARENT_ENDED: "its entry ended without a fill, so there was nothing to exit from",
    Why.GROUP_CANCELED: "another order of its group was canceled, and they belong together",
    Why.POSITION_GONE: "another order, an expiration, an assignment or another event took the position that it would have closed",
    Why.CASH_GONE: "an event took the cash that it had reserved",
    Why.CORPORATE_ACTION: "a corporate action changed what it was for, so its price meant something else",
}

_RULES = {
    Rule.MARKET_TOUCH: "A market order trades at the touch: a buy at the ask, a sell at the bid.",
    Rule.MARKET_MID: "With this fill preference a market order trades at the midpoint, rounded against it.",
    Rule.LIMIT_MARKETABLE: "A limit order that is marketable on arrival trades at the touch, which may be better than its limit.",
    Rule.LIMIT_RESTING: "A resting limit order is the one that gets hit: it trades at its own limit, however far the quote jumped through it.",
    Rule.LIMIT_MID: "With this fill preference a limit fills when it reaches the midpoint, at the midpoint, rounded against it.",
    Rule.LIMIT_JOINED: "It stood at the near side of the market, and the market left through it: whoever stood there was hit.",
    Rule.STOP_TOUCH: "A triggered stop trades at the touch of the quote that triggered it, never at its stop price.",
    Rule.STOP_LIMIT_MARKETABLE: "A triggered stop-limit arrives with the quote that triggered it, and trades at its touch if that is within its limit.",
    Rule.TRAILING_STOP_TOUCH: "A triggered trailing stop trades at the touch of the quote that triggered it.",
}


_RESTING_PACKAGE = "A resting package trades at its limit, or at its ask where that has come lower: each leg stays inside its own NBBO."


def explain(facts: OrderFacts) -> Explanation:
    """The whole story of one order in any state."""
    order = facts.order
    sentences = [_asked(order), *_arrived(facts), *_refused(facts), *_triggered(facts)]
    data: _Facts = {
        "status": facts.status, "reason": facts.reason or None, "side": order.side, "qty": _plain(order.qty),
        "symbol": order.symbol or None, "order_type": order.type, "time_in_force": order.tif,
        "limit_price": _dollars(order, order.limit), "stop_price": _dollars(order, order.stop),
        "structure": called(order.legs, order.qty) if order.legs else None,
    }  # fmt: skip
    if order.legs:
        data["legs"] = _legs(order)
    for fill in facts.fills:
        _tell_fill(facts, fill, sentences, data)
    if facts.status is OrderStatus.FILLED and facts.fills:
        headline = _filled(facts)
    elif facts.closed_ns is None:
        headline = _open(facts, sentences, data)
    else:
        headline = _ended(facts, sentences, data)
    miss = _tell_nearest(facts, sentences)
    # Several fills by one rule tell of it once.
    told = list(dict.fromkeys(sentences))
    return Explanation(headline=headline, sentences=told, facts=data, nearest_miss=miss)


# -- what was asked, and what it met ------------------------------------------------------------------


def _asked(order: Order) -> str:
    until = {
        TimeInForce.DAY: "for the day", TimeInForce.GTC: "until canceled",
        TimeInForce.IOC: "at once or not at all", TimeInForce.FOK: "whole and at once or not at all",
        TimeInForce.OPG: "with the first usable quote of the session or not at all",
        TimeInForce.CLS: "with the last quote of the session or not at all",
    }[order.tif]  # fmt: skip
    return f"Accepted {show_exchange_moment(order.accepted_ns)}: {order.side} {_amount(order)} {_terms(order)}, {until}."


def _terms(order: Order) -> str:
    limit = f"at {_price(order, order.limit)} or better" if order.limit is not None else ""
    match order.type:
        case OrderType.MARKET:
            return "at the market"
        case OrderType.LIMIT:
            return limit
        case OrderType.STOP:
            return f"at the market once {_side(order)} reaches {_price(order, order.stop)}"
        case OrderType.STOP_LIMIT:
            return f"{limit} once {_side(order)} reaches {_price(order, order.stop)}"
        case OrderType.TRAILING_STOP:
            trail = (
                f"{_plain(order.trail_percent)} %"
                if order.trail_percent
                else f"${show_price(order.trail or 0)}"
            )
            return f"at the market once {_side(order)} comes back by {trail}"


def _arrived(facts: OrderFacts) -> list[str]:
    order = facts.order
    if facts.arrival is None or (facts.fills and facts.working_ns is None):
        return []  # where it filled on arrival, the fill tells of the same quote
    quote = _market(order, facts.arrival)
    if facts.working_ns is not None:
        if facts.fills and facts.fills[0].filled_ns == facts.working_ns:
            return []
        waited = "" if facts.working_ns == order.accepted_ns else " (the first usable quote it met)"
        what = "stop" if order.stop is not None or order.type is OrderType.TRAILING_STOP else "limit"
        return [
            f"At {show_exchange_time(facts.working_ns)} the NBBO was {quote}{waited}; that did not reach the {what}, so the order rested."
        ]
    return [f"The NBBO in force was {quote}, quoted {show_exchange_time(facts.arrival.quote_ns)}."]


def _refused(facts: OrderFacts) -> list[str]:
    told = []
    for why, quote in facts.refusals.items():
        when = f"At {show_exchange_time(quote.at_ns)}" if quote and quote.at_ns else "When it arrived"
        seen = f": {_market(facts.order, quote)}" if quote and (quote.bid or quote.ask) else ""
        told.append(f"{when} it was not filled because {_REFUSALS[Why(why)]}{seen}.")
    if Why.HALTED in facts.refusals or facts.reason == Why.HALTED:
        told += [sentence(halt) for halt in facts.halts]
    return told


def _triggered(facts: OrderFacts) -> list[str]:
    if facts.trigger is None:
        return []
    return [
        f"At {show_exchange_time(facts.trigger.at_ns)} its stop was reached: {_market(facts.order, facts.trigger)}."
    ]


# -- fills ----------------------------------------------------------------------------------------------


def _tell_fill(facts: OrderFacts, fill: FillFacts, sentences: list[str], data: _Facts) -> None:
    order, quote, rule = facts.order, fill.quote, Rule(fill.rule)
    sign = 1 if order.side is Side.BUY else -1
    market = quote.as_market(order.symbol)
    opposite = touch(order, market)
    age_ms = (fill.filled_ns - quote.quote_ns) // 1_000_000
    age = f", {age_ms:,} ms old" if age_ms else ""
    locked = " The market was locked; bid = ask is a price." if quote.bid == quote.ask else ""
    sentences += [
        f"At {show_exchange_moment(fill.filled_ns)} the NBBO was {_market(order, quote)} "
        f"(sizes {quote.bid_size:,} × {quote.ask_size:,}{age}).{locked}",
        f"{_RESTING_PACKAGE if order.legs and rule is Rule.LIMIT_RESTING else _RULES[rule]} "
        f"(rule {fill.rule}, version {fill.rule_version})",
    ]
    if len(facts.fills) > 1:
        sentences.append(f"It filled {_plain(fill.qty)} at {_price(order, fill.price)}.")
    if fill.qty < order.qty and order.size_cap:
        sentences.append("It took no more than the size that the quote showed.")
    if order.legs:
        sentences += [
            f"{'Bought' if leg.side is Side.BUY else 'Sold'} {_plain(leg.qty)} {leg.symbol} at ${show_price(leg.price)}, inside its {_market(order, leg.quote, leg=True)}."
            for leg in fill.legs
        ]
    if order.limit is not None:
        better = sign * (order.limit - fill.price)
        if better:
            sentences.append(f"That is ${show_price(better)} better than the limit.")
        if sign * (fill.price - opposite) > 0:
            sentences.append(
                f"The touch was {_price(order, opposite)}; a live resting order would also have traded at its own price, if there was anyone left to trade with."
            )
    mid_distance = sign * (2 * fill.price - quote.bid - quote.ask)
    data.update(
        fill_price=_dollars(order, fill.price), fill_qty=_plain(fill.qty), filled_at=show_exchange_moment(fill.filled_ns),
        amount=f"{fill.amount:.2f}", rule=fill.rule, rule_version=fill.rule_version, feed=fill.feed,
        nbbo_bid=_dollars(order, quote.bid), nbbo_bid_size=quote.bid_size, nbbo_ask=_dollars(order, quote.ask),
        nbbo_ask_size=quote.ask_size, quote_ns=quote.quote_ns, quote_age_ms=age_ms,
        price_improvement_per_unit=_plain(from_ticks(sign * (order.limit - fill.price))) if order.limit is not None else None,
        slippage_from_mid_per_unit=_plain(from_ticks(mid_distance) / 2),
        slippage_from_touch_per_unit=_plain(from_ticks(sign * (fill.price - opposite))),
    )  # fmt: skip
    if order.asset_class is AssetClass.OPTION:
        _tell_other_preferences(order, market, sentences, data)


def _tell_other_preferences(order: Order, market: Market, sentences: list[str], data: _Facts) -> None:
    """What the same quote would have given under the other fill preferences."""
    natural, mid = touch(order, market), middle(order, market)
    data.update(
        fill_preference=order.preference, natural_price=_dollars(order, natural), mid_price=_dollars(order, mid),
    )  # fmt: skip
    if natural == mid:
        return
    if order.preference is FillPreference.CONSERVATIVE:
        sentences.append(
            f"With the preference mid the same quote would have been worth {_price(order, mid)}."
        )
    else:
        sentences.append(
            f"With the preference conservative the same quote would have cost {_price(order, natural)}."
        )


def _filled(facts: OrderFacts) -> str:
    order, fills = facts.order, facts.fills
    amount = sum((fill.amount for fill in fills), Decimal(0))
    qty = sum((fill.qty for fill in fills), Decimal(0))
    price = sum((fill.price * fill.qty for fill in fills), Decimal(0)) / qty
    verb = "Bought" if order.side is Side.BUY else "Sold"
    paid = "paid" if amount < 0 else "received"
    how_many = f" in {len(fills)} fills" if len(fills) > 1 else ""
    return (
        f"{verb} {_amount(order, qty)} at {_price(order, round(price))}, {paid} ${abs(to_cents(amount)):,.2f}{how_many}, "
        f"at {show_exchange_time(fills[-1].filled_ns)}."
    )


# -- still open -------------------------------------------------------------------------------------------


def _open(facts: OrderFacts, sentences: list[str], data: _Facts) -> str:
    order = facts.order
    if order.expires_ns < 2**63 - 1:
        sentences.append(f"It expires at {show_exchange_moment(order.expires_ns)}.")
    if facts.status is OrderStatus.HELD:
        return "Held: it begins to work when its entry fills, for as much as that fills."
    if facts.is_dormant:
        return "Dormant: all that its entry has bought so far is closed again; it goes on when the entry fills more."
    if facts.now_ns is None or facts.session is None:
        return "Working; the market data does not answer now, so its distance to a fill cannot be told."
    if not facts.session.is_open(facts.now_ns, order.hours):
        opens = show_exchange_moment(facts.session.opens_ns(order.hours))
        return f"Waiting: the market is closed. It acts on the first usable quote after {opens}."
    halt = _halt_now(facts)
    if halt is not None:
        _tell_halt(halt, data)
        return f"Waiting: {sentence(halt, now_ns=facts.now_ns)} It acts on the first usable quote after the halt."
    if facts.status is OrderStatus.ACCEPTED:
        if order.arrives_ns > facts.now_ns:
            return f"Waiting: it acts at {show_exchange_moment(order.arrives_ns)}."
        return "Waiting for its first usable quote: two-sided, not crossed and fresh."
    if order.type is OrderType.MARKET or (
        order.type is not OrderType.LIMIT and facts.progress.triggered and order.limit is None
    ):
        return "Partly filled: the rest takes the size that the next quotes show."
    if order.type is not OrderType.LIMIT and not facts.progress.triggered:
        return _open_stop(facts, data)
    return _open_limit(facts, data)


def _halt_now(facts: OrderFacts) -> Halt | None:
    """The halt that keeps the order from trading at this moment."""
    symbols = [leg.symbol for leg in facts.order.legs] or [facts.order.symbol]
    now_ns = facts.now_ns or 0
    found = (halted_by(parse_symbol(symbol), facts.halts, now_ns) for symbol in symbols)
    return next((halt for halt in found if halt is not None), None)


def _tell_halt(halt: Halt, data: _Facts) -> None:
    data.update(
        halted=halt.symbol, halt_reason=halt.reason, halted_since=show_exchange_moment(halt.from_ns),
        halted_until=show_exchange_moment(halt.until_ns) if halt.until_ns else None,
    )  # fmt: skip


def _open_stop(facts: OrderFacts, data: _Facts) -> str:
    order = facts.order
    level = stop_level(order, facts.progress.mark)
    data["stop_level"] = _dollars(order, level)
    if order.type is OrderType.TRAILING_STOP:
        data["high_water_mark"] = _dollars(order, facts.progress.mark)
    if facts.now is None:
        return f"Waiting for its stop: it triggers when {_side(order)} reaches {_price(order, level)}."
    near = touch(order, facts.now.as_market(order.symbol))
    distance = (level - near) if order.side is Side.BUY else (near - level)
    data.update(
        nbbo_bid=_dollars(order, facts.now.bid),
        nbbo_ask=_dollars(order, facts.now.ask),
        distance_to_trigger=_plain(from_ticks(distance)),
    )
    move = "rise" if order.side is Side.BUY else "fall"
    return f"Waiting for its stop: {_side(order)} is {_price(order, near)} and must {move} by ${show_price(max(distance, 0))} to reach {_price(order, level)}."


def _open_limit(facts: OrderFacts, data: _Facts) -> str:
    order, limit = facts.order, facts.order.limit or 0
    inside = order.preference is not FillPreference.CONSERVATIVE
    side = "midpoint" if inside else ("ask" if order.side is Side.BUY else "bid")
    wanted = f"its {side} at {_price(order, limit)} or better"
    usable = facts.now is not None and (bool(order.legs) or bool(facts.now.bid and facts.now.ask))
    one_side = facts.now is not None and (facts.now.ask if order.side is Side.BUY else facts.now.bid)
    if facts.now is None or (not usable and not one_side):
        return f"Resting: there is no {side} now. It fills when a usable quote has {wanted}."
    market = facts.now.as_market(order.symbol)
    there = middle(order, market) if inside and usable else touch(order, market)
    distance = (there - limit) if order.side is Side.BUY else (limit - there)
    data.update(
        nbbo_bid=_dollars(order, facts.now.bid), nbbo_ask=_dollars(order, facts.now.ask), quote_ns=facts.now.quote_ns,
        distance_to_fill=_plain(from_ticks(distance)),
    )  # fmt: skip
    if distance <= 0:
        return f"Resting: the best {side} of {_price(order, there)} reaches {_price(order, limit)}; it fills at the first usable quote like that."
    move = "fall" if order.side is Side.BUY else "rise"
    return f"Resting: the best {side} is {_price(order, there)} and must {move} by ${show_price(distance)} to reach {_price(order, limit)}."


# -- over ---------------------------------------------------------------------------------------------------


def _ended(facts: OrderFacts, sentences: list[str], data: _Facts) -> str:
    order = facts.order
    when = show_exchange_moment(facts.closed_ns) if facts.closed_ns is not None else "—"
    data["closed_at"] = when
    filled = sum((fill.qty for fill in facts.fills), Decimal(0))
    rest = f" {_plain(filled)} of {_plain(order.qty)} had been filled." if filled else ""
    match facts.status:
        case OrderStatus.EXPIRED:
            return _expired(facts, sentences, when, filled) + rest
        case OrderStatus.REPLACED:
            return f"Replaced at {when} by an order with changed terms.{rest}"
        case OrderStatus.REJECTED:
            short = _UNBOOKABLE[Unbookable(facts.reason)]
            return f"Rejected at {when}: a quote would have filled it, but {short}.{rest}"
        case _ if facts.reason in _ENDINGS:
            return f"Canceled at {when}: {_ENDINGS[Why(facts.reason)]}.{rest}"
        case _ if facts.reason:
            return f"Canceled at {when}: it had to trade at once, and {_REFUSALS[Why(facts.reason)]}.{rest}"
        case _:
            return f"Canceled by its owner at {when}.{rest}"


_UNBOOKABLE = {
    Unbookable.INSUFFICIENT_CASH: "it would have cost more cash than was free",
    Unbookable.INSUFFICIENT_QUANTITY: "the position no longer held what it sells",
    Unbookable.POSITION_TOO_LARGE: "the position would have become larger than any that is kept",
}


def _expired(facts: OrderFacts, sentences: list[str], when: str, filled: Decimal) -> str:
    order = facts.order
    if facts.reason:
        return f"Expired at {when}: it had one chance, and {_REFUSALS[Why(facts.reason)]}."
    if facts.status is OrderStatus.EXPIRED and facts.working_ns is None:
        sentences.append("While it waited, no usable quote of it came.")
    elif order.limit is not None and not filled:
        side = (
            "midpoint"
            if order.preference is not FillPreference.CONSERVATIVE
            else ("ask" if order.side is Side.BUY else "bid")
        )
        sentences.append(
            f"While it worked, no usable quote had its {side} at {_price(order, order.limit)} or better."
        )
    elif order.stop is not None and not facts.progress.triggered:
        sentences.append(f"While it worked, its stop of {_price(order, order.stop)} was not reached.")
    return f"Expired {'unfilled ' if not filled else ''}at {when}, the end of its time in force."


# -- nearest misses -------------------------------------------------------------------------------------------


def _tell_nearest(facts: OrderFacts, sentences: list[str]) -> NearestMiss | None:
    """What would have filled the order, had it come a little nearer; None where nothing was filled for want of
    something else, or was."""
    nearest = _nearest(facts)
    if nearest is None:
        return None
    order, quote, away = facts.order, nearest.quote, nearest.away
    price: Literal["limit", "stop"] = "stop" if nearest.to_stop else "limit"
    when, seen = show_exchange_time(quote.at_ns), _side_that_counts(order, quote)
    if away > 0:
        sentences.append(f"The market came within ${show_price(away)} of its {price}, at {when} ({seen}).")
    else:
        sentences.append(f"At {when} the market was at its {price} ({seen}), without the size that it needs.")
    return NearestMiss(
        distance=_number(away), price=price, at_ns=quote.at_ns, quote_ns=quote.quote_ns, bid=_number(quote.bid),
        bid_size=quote.bid_size, ask=_number(quote.ask), ask_size=quote.ask_size,
    )  # fmt: skip


def _nearest(facts: OrderFacts) -> NearestFacts | None:
    """Of what was recorded, the quote that the order met first and the one in force now."""
    if facts.fills or facts.working_ns is None or facts.status is OrderStatus.FILLED:
        return None
    order, progress = facts.order, facts.progress
    to_stop = waits_for_stop(order, progress)
    found = [facts.nearest] if facts.nearest is not None and facts.nearest.to_stop is to_stop else []
    met = [(facts.arrival, facts.working_ns, FRESH)] if not progress.triggered else []
    if facts.now is not None and facts.now_ns is not None and _can_act_now(facts):
        met.append((facts.now, max(facts.now.quote_ns, facts.working_ns), progress))
    for quote, at_ns, then in met:
        miss = nearest_at(order, quote.as_market(order.symbol), then, at_ns) if quote is not None else None
        if quote is not None and miss is not None:
            seen = msgspec.structs.replace(quote, at_ns=at_ns)
            found.append(NearestFacts(away=miss.away, to_stop=miss.to_stop, quote=seen))
    found = [miss for miss in found if miss.away > 0 or order.size_cap]
    return min(found, key=lambda miss: (miss.away, miss.quote.at_ns), default=None)


def _can_act_now(facts: OrderFacts) -> bool:
    """Whether the quote in force could fill the order if its price did."""
    quote, session, now_ns = facts.now, facts.session, facts.now_ns
    if facts.closed_ns is not None or quote is None or session is None or now_ns is None:
        return False
    if facts.is_dormant or not session.is_open(quote.quote_ns, facts.order.hours):
        return False
    two_sided = bool(facts.order.legs) or 0 < quote.bid <= quote.ask
    return two_sided and _halt_now(facts) is None


def _side_that_counts(order: Order, quote: QuoteFacts) -> str:
    """`ask $10.06`; both sides where the middle counts; of a package its net price."""
    if order.preference is not FillPreference.CONSERVATIVE:
        return _market(order, quote)
    price = quote.ask if order.side is Side.BUY else quote.bid
    if order.legs:
        return f"{_price(order, price)} at the touch"
    return f"{'ask' if order.side is Side.BUY else 'bid'} ${show_price(price)}"


# -- words ----------------------------------------------------------------------------------------------------


def _market(order: Order, quote: QuoteFacts, *, leg: bool = False) -> str:
    if order.legs and not leg:
        return (
            f"net {_price(order, quote.bid)} to {_price(order, quote.ask)}" if quote.legs else _sides(quote)
        )
    return _sides(quote)


def _sides(quote: QuoteFacts) -> str:
    bid = f"bid ${show_price(quote.bid)}" if quote.bid else "no bid"
    ask = f"ask ${show_price(quote.ask)}" if quote.ask else "no ask"
    return f"{bid}, {ask}"


def _price(order: Order, ticks: int | None) -> str:
    """`$1.25`; of a package `a debit of $1.25` or `a credit of $1.25`."""
    if ticks is None:
        return "—"
    if not order.legs:
        return f"${show_price(ticks)}"
    if not ticks:
        return "even"
    return f"a {'debit' if ticks > 0 else 'credit'} of ${show_price(abs(ticks))}"


def _side(order: Order) -> str:
    if order.legs:
        return "its net price"
    return "the ask" if order.side is Side.BUY else "the bid"


def _amount(order: Order, qty: Decimal | None = None) -> str:
    count = order.qty if qty is None else qty
    if order.legs:
        return f"{_plain(count)} of {called(order.legs, Decimal(1))} {_legs(order)}"
    if order.notional is not None and qty is None:
        return f"${order.notional:,.2f} of {order.symbol}"
    unit = (
        "" if order.asset_class is AssetClass.EQUITY else (" contract of" if count == 1 else " contracts of")
    )
    return f"{_plain(count)}{unit} {order.symbol}"


def _legs(order: Order) -> str:
    parts = (f"{'+' if leg.side is Side.BUY else '−'}{leg.ratio} {leg.symbol}" for leg in order.legs)
    return f"[{' '.join(parts)}]"


def _plain(value: Decimal | None) -> str:
    return f"{value.normalize():f}" if value else "0"


def _number(ticks: int) -> str:
    return ("-" if ticks < 0 else "") + show_price(abs(ticks)).replace(",", "")


def _dollars(order: Order, ticks: int | None) -> str | None:
    """None where there is no price; the net of a package may be nothing at all."""
    if not ticks:
        return "0.00" if order.legs and ticks is not None else None
    return _number(ticks)
