"""Reads: who has what, and what the market of an account says now."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from sys import intern
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet, Sum

from mbt.engine.explain import Explanation, FillFacts, OrderFacts, QuoteFacts, explain
from mbt.engine.ledger import ActivityLine, FillLine, Ledger, OrderLine, PositionLine
from mbt.engine.orders import NEVER_NS, OrderStatus, OrderType, Side, TimeInForce
from mbt.engine.orders import Order as EngineOrder
from mbt.models import Account, Activity, EngineState, Fill, Order, Position
from raxx.kernel import clock, valkey
from raxx.kernel.clock import from_ns, to_ns
from raxx.kernel.errors import NotFound
from raxx.kernel.money import from_ticks, to_cents, to_ticks
from raxx.market import calendar
from raxx.market.board import Board, BoardView, MarketDataUnavailable
from raxx.market.contracts import AssetClass, parse_symbol
from raxx.market.quotes import Quote

# A feed whose engine has not spoken for so long stands still: nothing new is accepted on it.
SILENCE_MAX_S = 15


@dataclass(frozen=True, slots=True)
class AccountRef:
    """What never changes about an account: enough to find it and its market."""

    id: UUID
    feed: str


class NoAccount(NotFound):
    code = "NO_ACCOUNT"


@lru_cache(maxsize=10_000)
def account_ref(user_id: UUID) -> AccountRef:
    """The user's account. Remembered, because neither part ever changes. Raises NoAccount."""
    found = Account.objects.filter(user_id=user_id).values_list("id", "feed").first()
    if found is None:
        raise NoAccount("You have no paper account yet.", remedy="Open one first.")
    return AccountRef(*found)


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


def to_engine(order: Order) -> EngineOrder:
    """The engine's value of a row."""
    return EngineOrder(
        id=order.pk, number=order.number, account_id=order.account_id, symbol=intern(order.symbol),
        asset_class=AssetClass(order.asset_class), multiplier=order.multiplier, side=Side(order.side),
        type=OrderType(order.order_type), tif=TimeInForce(order.time_in_force), qty=order.qty,
        limit=to_ticks(order.limit_price) if order.limit_price is not None else 0,
        accepted_ns=to_ns(order.accepted_at), expires_ns=to_ns(order.expires_at) if order.expires_at else NEVER_NS,
    )  # fmt: skip


def open_orders(feed: str, ids: Iterable[UUID] | None = None) -> Iterable[Order]:
    """Open orders of a feed in order of acceptance, all or those among `ids`."""
    rows = Order.objects.filter(closed_at__isnull=True, account__feed=feed).order_by("number")
    # A few are read at once: a server-side cursor costs three round trips more.
    return rows.iterator() if ids is None else rows.filter(pk__in=list(ids))


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
    def unrealized(self) -> Decimal | None:
        return _sum(holding.unrealized for holding in self.holdings)

    @property
    def equity(self) -> Decimal | None:
        value = self.market_value
        return None if value is None else self.account.cash_balance + value


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
    fill = row.fills.first() if row.filled_qty else None
    amount = row.activities.values_list("amount", flat=True).first() if fill else None
    view = _view(account.feed, [row.symbol]) if row.closed_at is None else None
    quote = view.quotes.get(row.symbol) if view else None
    engine_order = to_engine(row)
    return explain(OrderFacts(
        symbol=row.symbol, asset_class=engine_order.asset_class, multiplier=row.multiplier, side=engine_order.side,
        type=engine_order.type, tif=engine_order.tif, qty=row.qty, limit=engine_order.limit,
        status=OrderStatus(row.status), reason=row.reason, accepted_ns=engine_order.accepted_ns,
        working_ns=to_ns(row.working_at) if row.working_at else None,
        closed_ns=to_ns(row.closed_at) if row.closed_at else None,
        expires_ns=to_ns(row.expires_at) if row.expires_at else None,
        arrival=_quote_facts(row.arrival), refusals={why: _quote_facts(facts) for why, facts in row.refusals.items()},
        fill=_fill_facts(fill, amount) if fill and amount is not None else None,
        now=QuoteFacts(
            quote_ns=quote.ts, bid=quote.bid, bid_size=quote.bid_size, ask=quote.ask, ask_size=quote.ask_size,
        ) if quote else None,
        now_ns=view.now_ns if view else None,
        session=calendar.of_feed(account.feed).current_or_next(view.now_ns) if view else None,
    ))  # fmt: skip


def ledger(account_id: UUID) -> Ledger:
    """The account's whole record as plain lines; `digest` of it identifies what happened."""
    account = Account.objects.get(pk=account_id)
    rows = list(Order.objects.filter(account_id=account_id))
    names = {row.pk: row.client_order_id for row in rows}
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
            for row in Activity.objects.filter(account_id=account_id)
        ],
        positions=list(held.values()),
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


def _quote_facts(stored: dict[str, int] | None) -> QuoteFacts | None:
    return QuoteFacts(**stored) if stored and "bid" in stored else None


def _fill_facts(fill: Fill, amount: Decimal) -> FillFacts:
    return FillFacts(
        price=to_ticks(fill.price), qty=fill.qty, filled_ns=to_ns(fill.filled_at), rule=fill.rule,
        rule_version=fill.rule_version, feed=fill.feed, amount=amount,
        quote=QuoteFacts(
            quote_ns=fill.quote_ns, bid=to_ticks(fill.nbbo_bid), bid_size=fill.nbbo_bid_size,
            ask=to_ticks(fill.nbbo_ask), ask_size=fill.nbbo_ask_size,
        ),
    )  # fmt: skip
