"""The story of one order, from what was recorded."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Q

from mbt.engine.explain import Explanation, FillFacts, LegFacts, NearestFacts, OrderFacts, QuoteFacts, explain
from mbt.engine.fills import Market, Why
from mbt.engine.halts import Halt
from mbt.engine.orders import (
    Leg,
    OrderStatus,
    Side,
)
from mbt.engine.orders import Order as EngineOrder
from mbt.engine.packages import net_of, package_quote
from mbt.models import Fill, Order
from mbt.models import Halt as HaltRow
from mbt.selectors.account_refs import AccountRef
from mbt.selectors.markets import ticker, view_of
from mbt.selectors.order_rows import order, progress_of, to_engine
from raxx.kernel.clock import to_ns
from raxx.kernel.money import to_ticks
from raxx.market import calendar
from raxx.market.board import BoardView
from raxx.market.quotes import Quote
from raxx.market.status import EVERYTHING, Reason

# Under this name an order's receipt keeps the quote that triggered its stop.
TRIGGER = "TRIGGERED"


def explanation(account: AccountRef, order_id: UUID) -> Explanation:
    """The story of one order. Raises NotFound."""
    row = order(account.id, order_id)
    # Asked of the row as it was read: a fill that comes a moment later belongs into the next answer.
    fills = _fills(row) if row.filled_qty else ()
    symbols = [leg["symbol"] for leg in row.legs] or [row.symbol]
    view = view_of(account.feed, symbols) if row.closed_at is None else None
    engine_order = to_engine(row)
    refusals = dict(row.refusals)
    trigger = refusals.pop(TRIGGER, None)
    return explain(OrderFacts(
        order=engine_order, progress=progress_of(row), status=OrderStatus(row.status), reason=row.reason,
        working_ns=to_ns(row.working_at) if row.working_at else None,
        closed_ns=to_ns(row.closed_at) if row.closed_at else None, arrival=_quote_facts(row.arrival),
        trigger=_quote_facts(trigger), refusals={why: _quote_facts(facts) for why, facts in refusals.items()}, fills=fills,
        now=_market_now(engine_order, view), now_ns=view.now_ns if view else None,
        session=calendar.of_feed(account.feed).current_or_next(view.now_ns, engine_order.hours) if view else None,
        is_dormant=_is_dormant(row), halts=_halts_around(row, account.feed, view), nearest=_nearest_facts(row.nearest),
    ))  # fmt: skip


def _halts_around(row: Order, feed: str, view: BoardView | None) -> tuple[Halt, ...]:
    """The halts that are in force, for an open order; and those that one met, from the record."""
    symbols = {leg["symbol"] for leg in row.legs} or {row.symbol}
    symbols |= {ticker(symbol) for symbol in symbols} | {EVERYTHING}
    found = {
        (each.symbol, each.ts): Halt(symbol=each.symbol, from_ns=each.ts, until_ns=each.until_ns, reason=each.reason)
        for each in (view.halts if view else ())
        if each.reason is not None and each.symbol in symbols
    }  # fmt: skip
    if Why.HALTED in row.refusals or row.reason == Why.HALTED:
        rows = HaltRow.objects.filter(feed=feed, symbol__in=symbols)
        rows = rows.filter(Q(until_ns__isnull=True) | Q(until_ns__gt=to_ns(row.accepted_at)))
        if row.closed_at is not None:
            rows = rows.filter(from_ns__lte=to_ns(row.closed_at))
        for one in rows.order_by("from_ns"):
            halt = Halt(
                symbol=one.symbol, from_ns=one.from_ns, until_ns=one.until_ns, reason=Reason(one.reason)
            )
            found[one.symbol, one.from_ns] = halt
    return tuple(found.values())


def _is_dormant(exit_order: Order) -> bool:
    """Whether an exit has closed all that its entry has opened so far, while the entry may still fill more."""
    entry = exit_order.entry
    if (
        entry is None
        or entry.closed_at is not None
        or not entry.filled_qty
        or exit_order.closed_at is not None
    ):
        return False
    return exit_order.qty - exit_order.filled_qty <= entry.qty - entry.filled_qty


def _fills(row: Order) -> tuple[FillFacts, ...]:
    """The order's fills in order; the legs of a package that traded together are one."""
    amounts = dict(row.activities.values_list("ref_id", "amount"))
    together = max(1, len(row.legs))
    rows = list(row.fills.order_by("fill_seq"))
    return tuple(_fill_facts(row, rows[n : n + together], amounts) for n in range(0, len(rows), together))


def _fill_facts(order: Order, rows: list[Fill], amounts: Mapping[UUID, Decimal]) -> FillFacts:
    legs = tuple(
        LegFacts(
            symbol=fill.symbol, side=Side(fill.side), qty=fill.qty, price=to_ticks(fill.price), amount=amounts[fill.pk],
            quote=QuoteFacts(
                quote_ns=fill.quote_ns, bid=to_ticks(fill.nbbo_bid), bid_size=fill.nbbo_bid_size,
                ask=to_ticks(fill.nbbo_ask), ask_size=fill.nbbo_ask_size,
            ),
        )
        for fill in rows
    )  # fmt: skip
    first, amount = rows[0], sum((leg.amount for leg in legs), Decimal(0))
    price, qty, quote = legs[0].price, first.qty, legs[0].quote
    if order.legs:
        terms = [Leg(leg["symbol"], Side(leg["side"]), leg["ratio"], leg["multiplier"]) for leg in order.legs]
        price, qty = net_of(terms, [leg.price for leg in legs]), first.qty / terms[0].ratio
        market = package_quote(terms, [_quote(leg.symbol, leg.quote) for leg in legs])
        quote = _facts_of(market, legs=tuple(leg.quote for leg in legs))
    return FillFacts(
        price=price, qty=qty, filled_ns=to_ns(first.filled_at), rule=first.rule, rule_version=first.rule_version,
        feed=first.feed, amount=amount, quote=quote, legs=legs,
    )  # fmt: skip


def _market_now(order: EngineOrder, view: BoardView | None) -> QuoteFacts | None:
    """The NBBO in force, of a package its net one where every leg has two sides; None where there is none."""
    if view is None:
        return None
    if not order.legs:
        quote = view.quotes.get(order.symbol)
        return _facts_of(quote) if quote else None
    quotes = [view.quotes.get(leg.symbol) for leg in order.legs]
    known = [quote for quote in quotes if quote is not None and quote.bid and quote.ask]
    if len(known) < len(quotes):
        return None
    return _facts_of(package_quote(order.legs, known), legs=tuple(_facts_of(quote) for quote in known))


def _facts_of(market: Market, legs: tuple[QuoteFacts, ...] = ()) -> QuoteFacts:
    return QuoteFacts(
        quote_ns=market.ts, bid=market.bid, bid_size=market.bid_size, ask=market.ask, ask_size=market.ask_size, legs=legs,
    )  # fmt: skip


def _quote(symbol: str, facts: QuoteFacts) -> Quote:
    return Quote(symbol, facts.quote_ns, facts.bid, facts.bid_size, facts.ask, facts.ask_size)


def _nearest_facts(stored: dict[str, Any] | None) -> NearestFacts | None:
    if not stored:
        return None
    away, to_stop = stored["away"], stored["to_stop"]
    quote = _quote_facts({name: value for name, value in stored.items() if name not in ("away", "to_stop")})
    return NearestFacts(away=away, to_stop=to_stop, quote=quote) if quote is not None else None


def _quote_facts(stored: dict[str, Any] | None) -> QuoteFacts | None:
    if not stored or "bid" not in stored:
        return None
    legs = tuple(facts for leg in stored.get("legs", ()) if (facts := _quote_facts(leg)))
    return QuoteFacts(**{name: value for name, value in stored.items() if name != "legs"}, legs=legs)
