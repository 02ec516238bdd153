"""Reads: who has what, and what the market of an account says now."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from sys import intern
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, QuerySet, Sum

from mbt.engine.buying_power import AccountType, AccountView, Standing, classes_of, standing
from mbt.engine.buying_power import Holding as Reserved
from mbt.engine.explain import Explanation, FillFacts, LegFacts, NearestFacts, OrderFacts, QuoteFacts, explain
from mbt.engine.fills import Market, Why
from mbt.engine.halts import Halt
from mbt.engine.intake import Role
from mbt.engine.ledger import ActivityLine, EventLine, FillLine, Ledger, OrderLine, PositionLine
from mbt.engine.margin import MarginRules, NoMark, UncoveredShort, rules_on
from mbt.engine.margin import Model as MarginModel
from mbt.engine.orders import (
    FRESH,
    NEVER_NS,
    FillPreference,
    Leg,
    OrderClass,
    OrderStatus,
    OrderType,
    Progress,
    Side,
    TimeInForce,
)
from mbt.engine.orders import Order as EngineOrder
from mbt.engine.packages import net_of, package_quote
from mbt.engine.restrictions import SettledOnly
from mbt.engine.settlement import Breach, still_due
from mbt.engine.strategies import recognise
from mbt.engine.tickets import LegTicket, Ticket
from mbt.models import Account, Activity, AdjustedClass, EngineState, Fill, Order, Position
from mbt.models import Halt as HaltRow
from raxx.kernel import clock, valkey
from raxx.kernel.clock import from_ns, to_ns
from raxx.kernel.errors import NotFound
from raxx.kernel.money import TICKS_PER_DOLLAR, from_ticks, to_cents, to_ticks
from raxx.market import calendar, listing
from raxx.market.board import Board, BoardView, MarketDataUnavailable
from raxx.market.contracts import AssetClass, parse_symbol
from raxx.market.quotes import Quote
from raxx.market.sessions import Hours
from raxx.market.status import EVERYTHING, Reason

# Under this name an order's receipt keeps the quote that triggered its stop.
TRIGGER = "TRIGGERED"
# A feed whose engine has not spoken for so long stands still: nothing new is accepted on it.
SILENCE_MAX_S = 15


@dataclass(frozen=True, slots=True)
class AccountRef:
    """What never changes about an account: enough to find it and its market."""

    id: UUID
    feed: str
    is_margin: bool = False


class NoAccount(NotFound):
    code = "NO_ACCOUNT"


@lru_cache(maxsize=10_000)
def account_ref(user_id: UUID) -> AccountRef:
    """The user's account. Remembered, because neither part ever changes. Raises NoAccount."""
    found = Account.objects.filter(user_id=user_id).values_list("id", "feed", "account_type").first()
    if found is None:
        raise NoAccount("You have no paper account yet.", remedy="Open one first.")
    account_id, feed, kind = found
    return AccountRef(account_id, feed, kind == Account.Type.MARGIN)


def market(feed: str, symbols: list[str]) -> BoardView:
    """The instant and the NBBO of `symbols` on a feed that is alive. Raises MarketDataUnavailable."""
    view = Board(valkey.shared(), feed).read(symbols)
    if view.age_s(clock.now_ns()) > SILENCE_MAX_S:
        raise MarketDataUnavailable(
            f"The market data of {feed} stands still; new orders wait until it moves again. Cancels work.",
            rule=f"a feed speaks at least every {SILENCE_MAX_S} s",
            remedy="Try again shortly.",
        )
    return view


def order_market(account: AccountRef, symbols: Sequence[str]) -> BoardView:
    """The market that an order of these symbols is judged by: in a margin account that of everything it holds or may
    sell too. Raises MarketDataUnavailable."""
    wanted = set(symbols)
    if account.is_margin:
        wanted |= _symbols_of(account.id)
        wanted |= tickers(wanted, adjusted_classes(account.feed, wanted))
    return market(account.feed, sorted(wanted))


def marks(quotes: Mapping[str, Quote]) -> dict[str, int]:
    """What each symbol is worth, in 1/10,000 dollar: the middle, or the one side there is."""
    return {
        symbol: (quote.bid + quote.ask) // 2 if quote.bid and quote.ask else quote.bid or quote.ask
        for symbol, quote in quotes.items()
        if quote.bid or quote.ask
    }


def account_marks(feed: str, quotes: Mapping[str, Quote], held: Iterable[str]) -> dict[str, int]:
    """`marks`, and of the adjusted contracts among `held` what a unit of their strike buys, by root."""
    known = marks(quotes)
    return known | deliverable_marks(known, adjusted_classes(feed, held))


def adjusted_classes(feed: str, among: Iterable[str] | None = None) -> dict[str, listing.OptionClass]:
    """The option classes that corporate actions changed on a feed.

    With `among`, empty at no cost where none of these has a root with a digit: others may be adjusted too, to
    deliver cash alone, and what that is worth no quote says.
    """
    if among is not None and not any(_has_digit(symbol) for symbol in among):
        return {}
    rows = AdjustedClass.objects.filter(feed=feed).values_list("root", "terms")
    return {root: msgspec.convert(terms, listing.OptionClass) for root, terms in rows.order_by("root")}


def _has_digit(symbol: str) -> bool:
    """An option's symbol has fifteen characters after its root."""
    return len(symbol) > 15 and any(character.isdigit() for character in symbol[:-15])


def tickers(symbols: Iterable[str], adjusted: Mapping[str, listing.OptionClass]) -> set[str]:
    """The stocks, funds and indexes that these follow, or deliver."""
    found = set()
    for symbol in symbols:
        instrument = parse_symbol(symbol)
        listed = adjusted.get(instrument.underlying) if instrument.expiry is not None else None
        found |= {name for name, _ in listed.deliverable.shares} if listed else {_ticker(symbol)}
    return found


def deliverable_marks(
    known: Mapping[str, int], adjusted: Mapping[str, listing.OptionClass]
) -> dict[str, int]:
    """What the deliverable of each adjusted root is worth at marks in 1/10,000 dollar, per unit of its strike; left
    out where something of it has no mark."""
    return {
        root: int(listed.deliverable.value(known) * TICKS_PER_DOLLAR / listed.multiplier)
        for root, listed in adjusted.items()
        if listed.is_physical and all(name in known for name, _ in listed.deliverable.shares)
    }


def held_symbols(account: AccountRef) -> list[str]:
    """Everything that an account holds."""
    return [position.symbol for position in _open_positions(account.id)]


def structure_of(asked: Ticket | Order) -> str | None:
    """What a package is called: `SPY 18 Dec 2026 635/640 put credit spread`. None for a single instrument."""
    if not asked.legs:
        return None
    if isinstance(asked, Order):
        asked = ticket_of(asked)
    qty = asked.qty or Decimal(1)
    legs = [
        (parse_symbol(leg.symbol), qty * leg.ratio * (1 if leg.side is Side.BUY else -1))
        for leg in asked.legs
    ]
    return recognise(legs, underlying=_ticker(asked.legs[0].symbol)).label


def _symbols_of(account_id: UUID) -> set[str]:
    """Everything that an account holds or has open orders in."""
    held = Position.objects.filter(account_id=account_id, closed_at__isnull=True).values_list(
        "symbol", flat=True
    )
    rows = Order.objects.filter(account_id=account_id, closed_at__isnull=True).values_list("symbol", "legs")
    ordered = {name for symbol, legs in rows for name in ([leg["symbol"] for leg in legs] or [symbol])}
    return set(held) | ordered


def _ticker(symbol: str) -> str:
    """The stock, fund or index that an instrument follows."""
    instrument = parse_symbol(symbol)
    if instrument.expiry is None:
        return symbol
    try:
        return listing.class_of(instrument.underlying).underlying
    except listing.UnknownDeliverable:
        return instrument.underlying


def engine_answers() -> bool:
    """Whether this installation's feed moves: orders are taken only then."""
    try:
        market(settings.RAXX_FEED, [])
    except MarketDataUnavailable:
        return False
    return True


def feed_instant(feed: str) -> datetime | None:
    """The instant of a feed as far as anything here knows it; None when nothing does. Never raises on
    account of Valkey: canceling depends on it."""
    try:
        return from_ns(Board(valkey.shared(), feed).read([]).now_ns)
    except MarketDataUnavailable:
        state = EngineState.objects.filter(pk=feed).first()
        return from_ns(state.position_ns) if state else None


def ticket_of(order: Order, exits: Sequence[Order] = ()) -> Ticket:
    """The ticket that would make this order now; `exits` are those that wait for it."""
    by_role = {member.role: member for member in exits}
    profit, loss = by_role.get(Role.TAKE_PROFIT), by_role.get(Role.STOP_LOSS)
    legs = tuple(LegTicket(leg["symbol"], Side(leg["side"]), leg["ratio"]) for leg in order.legs)
    alone = OrderClass.MLEG if legs else OrderClass.SIMPLE
    return Ticket(
        symbol=order.symbol, side=Side(order.side), qty=None if order.notional is not None else order.qty,
        notional=order.notional, order_type=OrderType(order.order_type), time_in_force=TimeInForce(order.time_in_force),
        limit_price=order.limit_price, stop_price=order.stop_price, trail_price=order.trail_price,
        trail_percent=order.trail_percent, order_class=OrderClass(order.order_class) if exits else alone,
        take_profit=profit.limit_price if profit else None, stop_loss=loss.stop_price if loss else None,
        stop_loss_limit=loss.limit_price if loss else None, legs=legs, extended_hours=order.hours == Hours.EXTENDED,
        fill_preference=FillPreference(order.fill_preference) if order.asset_class == AssetClass.OPTION else None,
        client_order_id=order.client_order_id,
    )  # fmt: skip


def to_engine(order: Order) -> EngineOrder:
    """The engine's value of a row. What many working orders have in common they share: a third of their memory."""
    return EngineOrder(
        id=order.pk, number=order.number, account_id=_one(order.account_id), symbol=intern(order.symbol),
        asset_class=AssetClass(order.asset_class), multiplier=order.multiplier, side=Side(order.side),
        type=OrderType(order.order_type), tif=TimeInForce(order.time_in_force), qty=_decimal(str(order.qty)),
        limit=_ticks(order.limit_price),
        accepted_ns=to_ns(order.accepted_at),
        expires_ns=_one(to_ns(order.expires_at)) if order.expires_at else NEVER_NS,
        arrives_ns=order.arrives_ns, stop=_ticks(order.stop_price), trail=_ticks(order.trail_price),
        trail_percent=order.trail_percent, preference=FillPreference(order.fill_preference), hours=Hours(order.hours),
        legs=tuple(Leg(leg["symbol"], Side(leg["side"]), leg["ratio"], leg["multiplier"]) for leg in order.legs),
        underlying=intern(_ticker(order.legs[0]["symbol"] if order.legs else order.symbol)),
        size_cap=order.size_cap, notional=order.notional, entry_id=order.entry_id, group_id=order.group_id,
    )  # fmt: skip


_Shared = TypeVar("_Shared", UUID, int)


@lru_cache(maxsize=20_000, typed=True)
def _one(value: _Shared) -> _Shared:
    """The first of equal values."""
    return value


@lru_cache(maxsize=20_000)
def _decimal(text: str) -> Decimal:
    """By its text: equal numbers may have different decimals."""
    return Decimal(text)


def progress_of(order: Order) -> Progress:
    """What the record remembers of an open order's way so far."""
    if not order.progress and not order.filled_qty:
        return FRESH
    return Progress(filled=order.filled_qty, **order.progress)


def open_orders(feed: str, ids: Iterable[UUID] | None = None) -> Iterable[Order]:
    """Open orders of a feed in order of acceptance: all, or those among `ids` and those that belong with them."""
    rows = Order.objects.filter(closed_at__isnull=True, account__feed=feed).order_by("number")
    # A few are read at once: a server-side cursor costs three round trips more.
    if ids is None:
        return rows.iterator()
    wanted = list(ids)
    groups = Order.objects.filter(pk__in=wanted, group_id__isnull=False).values("group_id")
    return rows.filter(Q(pk__in=wanted) | Q(entry_id__in=wanted) | Q(group_id__in=groups))


def waiting_order_ids(feed: str) -> set[UUID]:
    """Orders of a feed that no usable quote has met yet."""
    rows = Order.objects.filter(closed_at__isnull=True, status=OrderStatus.ACCEPTED, account__feed=feed)
    return set(rows.values_list("pk", flat=True))


def open_order_ids(ids: Iterable[UUID]) -> set[UUID]:
    """Those of `ids` that are still open."""
    return set(Order.objects.filter(pk__in=list(ids), closed_at__isnull=True).values_list("pk", flat=True))


# -- what an account has ------------------------------------------------------------------------------


def orders(account_id: UUID, *, openness: str | None = None, symbol: str | None = None) -> QuerySet[Order]:
    """The account's orders; `openness` is open, closed or all."""
    rows = Order.objects.filter(account_id=account_id)
    if openness in ("open", "closed"):
        rows = rows.filter(closed_at__isnull=openness == "open")
    return rows.filter(symbol=parse_symbol(symbol).symbol) if symbol else rows


def order(account_id: UUID, order_id: UUID) -> Order:
    """Raises NotFound, for somebody else's order as for none."""
    found = Order.objects.filter(pk=order_id, account_id=account_id).first()
    if found is None:
        raise NotFound(
            f"There is no order {order_id}.", field="id", value=order_id, remedy="List your orders."
        )
    return found


def activities(
    account_id: UUID, *, kind: str | None = None, start: datetime | None = None, end: datetime | None = None
) -> QuerySet[Activity]:
    """The account's activities from `start` (inclusive) to `end` (exclusive)."""
    rows = Activity.objects.filter(account_id=account_id)
    if kind:
        rows = rows.filter(activity_type=kind)
    if start:
        rows = rows.filter(occurred_at__gte=start)
    return rows.filter(occurred_at__lt=end) if end else rows


def activity(account_id: UUID, activity_id: UUID) -> Activity:
    """Raises NotFound."""
    found = Activity.objects.filter(pk=activity_id, account_id=account_id).first()
    if found is None:
        raise NotFound(
            f"There is no activity {activity_id}.",
            field="id",
            value=activity_id,
            remedy="List your activities.",
        )
    return found


@dataclass(frozen=True, slots=True)
class Holding:
    """An open position and what it is worth at `mark` (dollars); None where no quote says."""

    position: Position
    mark: Decimal | None

    @property
    def market_value(self) -> Decimal | None:
        if self.mark is None:
            return None
        return to_cents(self.position.qty * self.mark * self.position.multiplier)

    @property
    def unrealized(self) -> Decimal | None:
        value = self.market_value
        return None if value is None else value - self.position.cost


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """Dollars; None where a holding cannot be marked. `marked_at` is the instant of the feed."""

    account: Account
    holdings: list[Holding]
    realized: Decimal
    marked_at: datetime | None

    @property
    def market_value(self) -> Decimal | None:
        return _sum(holding.market_value for holding in self.holdings)

    @property
    def long_market_value(self) -> Decimal | None:
        return _sum(holding.market_value for holding in self.holdings if holding.position.qty > 0)

    @property
    def short_market_value(self) -> Decimal | None:
        return _sum(holding.market_value for holding in self.holdings if holding.position.qty < 0)

    @property
    def unrealized(self) -> Decimal | None:
        return _sum(holding.unrealized for holding in self.holdings)

    @property
    def equity(self) -> Decimal | None:
        value = self.market_value
        return None if value is None else self.account.cash_balance + value


@dataclass(frozen=True, slots=True)
class MarginSummary:
    """`standing` is None where something held has no price now."""

    account: Account
    standing: Standing | None
    marked_at: datetime | None


def margin_summary(account: AccountRef, *, model: str | None = None) -> MarginSummary:
    """What the account must have for what it holds, and what is left over; `model`: under this margin model, not its
    own."""
    with _snapshot():
        row = Account.objects.get(pk=account.id)
        positions = _open_positions(account.id)
    symbols = {position.symbol for position in positions}
    adjusted = adjusted_classes(account.feed, symbols)
    board = _view(account.feed, sorted(symbols | tickers(symbols, adjusted)))
    holdings = {position.symbol: Reserved(position.qty, position.qty_held) for position in positions}
    quotes = board.quotes if board else {}
    now_ns = board.now_ns if board else clock.now_ns()
    view = AccountView(
        type=AccountType(row.account_type), cash=row.cash_balance, cash_held=row.cash_held, holdings=holdings,
        marks=account_marks(account.feed, quotes, symbols), rules=margin_rules(now_ns, model or row.margin_model),
        classes=classes_of(parse_symbol(symbol) for symbol in symbols), options_level=row.options_level,
        naked_shorts=row.naked_shorts, restricted=settled_only(row, clock.exchange_date(now_ns)),
    )  # fmt: skip
    try:
        found = standing(view)
    except (NoMark, UncoveredShort):
        found = None
    return MarginSummary(row, found, from_ns(board.now_ns) if board else None)


def settled_only(account: Account, today: date) -> SettledOnly | None:
    """The restriction of a cash account to settled cash, where one is in force."""
    if account.restricted_until is None or today >= account.restricted_until:
        return None
    return SettledOnly(
        until=account.restricted_until, breach=Breach(account.restriction),
        unsettled=still_due(account.unsettled, today),
    )  # fmt: skip


def margin_rules(now_ns: int, model: str = MarginModel.REG_T) -> MarginRules:
    """The rules in force on the day of an instant, under the model that an account has chosen."""
    rules = rules_on(clock.exchange_date(now_ns))
    return rules if model == rules.model else msgspec.structs.replace(rules, model=MarginModel(model))


def account_summary(account: AccountRef) -> AccountSummary:
    with _snapshot():  # else a fill between the statements would be in the positions and not in the cash
        row = Account.objects.get(pk=account.id)
        rows = _open_positions(account.id)
        realized = Position.objects.filter(account_id=account.id).aggregate(total=Sum("realized"))["total"]
    found, marked_at = _marked(rows, account.feed)
    return AccountSummary(row, found, realized or Decimal("0.00"), marked_at)


def holdings(account: AccountRef) -> tuple[list[Holding], datetime | None]:
    """Open positions by symbol, marked at the middle of a two-sided NBBO, and the instant of the marks."""
    return _marked(_open_positions(account.id), account.feed)


def holding(account: AccountRef, symbol: str) -> tuple[Holding, datetime | None]:
    """Raises InvalidInput for what is no symbol, NotFound where nothing is held."""
    wanted = parse_symbol(symbol).symbol
    found, marked_at = holdings(account)
    for candidate in found:
        if candidate.position.symbol == wanted:
            return candidate, marked_at
    raise NotFound(
        f"There is no open position in {wanted}.", field="symbol", value=wanted, remedy="List your positions."
    )


def explanation(account: AccountRef, order_id: UUID) -> Explanation:
    """The story of one order. Raises NotFound."""
    row = order(account.id, order_id)
    # Asked of the row as it was read: a fill that comes a moment later belongs into the next answer.
    fills = _fills(row) if row.filled_qty else ()
    symbols = [leg["symbol"] for leg in row.legs] or [row.symbol]
    view = _view(account.feed, symbols) if row.closed_at is None else None
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
    symbols |= {_ticker(symbol) for symbol in symbols} | {EVERYTHING}
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


def ledger(account_id: UUID) -> Ledger:
    """The account's whole record as plain lines; `digest` of it identifies what happened."""
    account = Account.objects.get(pk=account_id)
    rows = list(Order.objects.filter(account_id=account_id))
    names = {row.pk: row.client_order_id for row in rows}
    history = list(Activity.objects.filter(account_id=account_id).order_by("occurred_at", "line", "id"))
    held: dict[str, PositionLine] = {}
    for position in Position.objects.filter(account_id=account_id):
        sofar = held.get(position.symbol, PositionLine(position.symbol, Decimal(0), Decimal(0), Decimal(0)))
        held[position.symbol] = PositionLine(
            position.symbol,
            sofar.qty + position.qty,
            sofar.cost + position.cost,
            sofar.realized + position.realized,
        )
    return Ledger(
        cash=account.cash_balance,
        orders=[
            OrderLine(
                row.client_order_id, row.symbol, row.side, row.order_type, row.time_in_force, row.qty, row.limit_price,
                to_ns(row.accepted_at), row.status, to_ns(row.closed_at) if row.closed_at else None, row.reason,
            )
            for row in rows
        ],
        fills=[
            FillLine(
                names[fill.order_id], fill.symbol, fill.side, fill.qty, fill.price, to_ns(fill.filled_at), fill.quote_ns,
                fill.nbbo_bid, fill.nbbo_bid_size, fill.nbbo_ask, fill.nbbo_ask_size, fill.rule, fill.rule_version,
            )
            for fill in Fill.objects.filter(order__account_id=account_id)
        ],
        activities=[
            ActivityLine(
                row.activity_type, row.symbol, row.amount, to_ns(row.occurred_at), names[row.order_id] if row.order_id else ""
            )
            for row in history
        ],
        positions=list(held.values()),
        events=[
            EventLine(
                row.activity_type, row.symbol, row.side, row.qty, row.price, row.amount, row.cost, row.realized,
                to_ns(row.occurred_at), row.line, row.note,
            )
            for row in history
            if row.activity_type not in (Activity.Type.FILL, Activity.Type.ADJUSTMENT)
        ],
    )  # fmt: skip


@contextmanager
def _snapshot() -> Iterator[None]:
    """Everything read inside is as of one instant. Inside a transaction that has begun it changes nothing."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _open_positions(account_id: UUID) -> list[Position]:
    return list(Position.objects.filter(account_id=account_id, closed_at__isnull=True).order_by("symbol"))


def _marked(rows: list[Position], feed: str) -> tuple[list[Holding], datetime | None]:
    view = _view(feed, [row.symbol for row in rows])
    if view is None:
        return [Holding(row, None) for row in rows], None
    return [Holding(row, _mark(view.quotes.get(row.symbol))) for row in rows], from_ns(view.now_ns)


def _view(feed: str, symbols: list[str]) -> BoardView | None:
    try:
        return Board(valkey.shared(), feed).read(symbols)
    except MarketDataUnavailable:
        return None


def _mark(quote: Quote | None) -> Decimal | None:
    if quote is None or not quote.bid or not quote.ask:
        return None
    return from_ticks(quote.bid + quote.ask) / 2


def _sum(values: Iterable[Decimal | None]) -> Decimal | None:
    total = Decimal("0.00")
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _ticks(price: Decimal | None) -> int | None:
    return None if price is None else to_ticks(price)


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
