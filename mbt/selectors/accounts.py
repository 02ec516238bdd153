"""What an account has: cash, positions, what its positions need, and what restricts it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import msgspec
from django.db import connection, transaction
from django.db.models import QuerySet, Sum

from mbt.engine.buying_power import AccountType, AccountView, Standing, standing
from mbt.engine.buying_power import Holding as Reserved
from mbt.engine.margin import MarginRules, NoMark, UncoveredShort, rules_on
from mbt.engine.margin import Model as MarginModel
from mbt.engine.restrictions import SettledOnly
from mbt.engine.settlement import Breach, still_due
from mbt.models import Account, Activity, ExerciseInstruction, Position
from mbt.selectors.account_refs import AccountRef
from mbt.selectors.markets import adjusted_classes, marks, tickers, view_of
from raxx.kernel import clock
from raxx.kernel.clock import from_ns
from raxx.kernel.errors import NotFound
from raxx.kernel.money import from_ticks, to_cents
from raxx.market.contracts import parse_symbol
from raxx.market.quotes import Quote


def held_symbols(account: AccountRef) -> list[str]:
    """Everything that an account holds."""
    return [position.symbol for position in open_positions(account.id)]


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
        positions = open_positions(account.id)
    symbols = {position.symbol for position in positions}
    adjusted = adjusted_classes(account.feed, symbols)
    board = view_of(account.feed, sorted(symbols | tickers(symbols, adjusted)))
    holdings = {position.symbol: Reserved(position.qty, position.qty_held) for position in positions}
    quotes = board.quotes if board else {}
    now_ns = board.now_ns if board else clock.now_ns()
    view = AccountView(
        type=AccountType(row.account_type), cash=row.cash_balance, cash_held=row.cash_held, holdings=holdings,
        marks=marks(quotes), rules=margin_rules(now_ns, model or row.margin_model),
        adjusted=adjusted, options_level=row.options_level,
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
        rows = open_positions(account.id)
        realized = Position.objects.filter(account_id=account.id).aggregate(total=Sum("realized"))["total"]
    found, marked_at = _marked(rows, account.feed)
    return AccountSummary(row, found, realized or Decimal("0.00"), marked_at)


def holdings(account: AccountRef) -> tuple[list[Holding], datetime | None]:
    """Open positions by symbol, marked at the middle of a two-sided NBBO, and the instant of the marks."""
    return _marked(open_positions(account.id), account.feed)


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


def open_positions(account_id: UUID) -> list[Position]:
    return list(Position.objects.filter(account_id=account_id, closed_at__isnull=True).order_by("symbol"))


def _marked(rows: list[Position], feed: str) -> tuple[list[Holding], datetime | None]:
    view = view_of(feed, [row.symbol for row in rows])
    if view is None:
        return [Holding(row, None) for row in rows], None
    return [Holding(row, _mark(view.quotes.get(row.symbol))) for row in rows], from_ns(view.now_ns)


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


def instructions_of(account_id: UUID) -> list[ExerciseInstruction]:
    """Those in force."""
    rows = ExerciseInstruction.objects.filter(account_id=account_id, withdrawn_at__isnull=True)
    return list(rows.order_by("symbol"))
