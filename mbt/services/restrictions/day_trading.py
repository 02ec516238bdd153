"""Day trades of margin accounts: what an order is judged by, what an account shows, what a day's end records.

Until June 2026 the figures of the last close count, so they are kept then; since then none are needed.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from uuid import UUID

import structlog
from django.db import connection, transaction

from audit import log as audit
from audit import pseudonym
from mbt import events, selectors
from mbt.engine import daytrades, margin
from mbt.engine.buying_power import AccountType as Kind
from mbt.engine.buying_power import AccountView, Holding, standing
from mbt.engine.daytrades import LEGACY, Day, Model, Traded
from mbt.engine.margin import NoMark
from mbt.engine.restrictions import DayTrading
from mbt.models import Account
from mbt.selectors.markets import QuoteOf, quotes_of, with_tickers
from raxx.kernel.clock import EXCHANGE_ZONE, exchange_date, from_ns
from raxx.market import calendar
from raxx.market.listing import instrument_of

log = structlog.get_logger(__name__)
ZERO = Decimal(0)

# The changes of positions since a day, in order, and what there was before them: by events too, without an order.
_CHANGES = """
SELECT (occurred_at AT TIME ZONE 'America/New_York')::date, order_id, symbol, CASE side WHEN 'buy' THEN qty ELSE -qty END,
       activity_type = 'fill'
  FROM mbt_activities WHERE account_id = %(id)s AND side <> '' AND occurred_at >= %(since)s ORDER BY occurred_at, line, id
"""


@dataclass(frozen=True, slots=True)
class DayTradeFacts:
    """Which rules the account has chosen, since when it is marked, and its equity of the last close."""

    setting: str
    pattern_since: date | None
    equity: Decimal | None


def regime_on(day: date, setting: str) -> Model:
    return daytrades.model_on(day, Model(setting))


def limits(
    account_id: UUID, feed: str, known: DayTradeFacts, *, now_ns: int, cash: Decimal, held: Mapping[str, Decimal],
    closes: bool,
) -> DayTrading:  # fmt: skip
    """What limits an order of a margin account now. Reads the account's last trades where they can matter: under the
    old rule, for an order that closes something, below the minimum. `held` is what it holds; `cash` stands in for the equity of an account without a close.
    """
    today, sessions = exchange_date(now_ns), calendar.of_feed(feed)
    regime = regime_on(today, known.setting)
    equity = known.equity if known.equity is not None else cash
    limit = DayTrading(
        regime=regime, today=today, sessions=sessions, equity=equity, pattern=known.pattern_since is not None
    )
    if regime is not Model.LEGACY_PDT or not closes or equity >= LEGACY.minimum_equity:
        return limit
    return _with_trades(limit, account_id, held)


def _with_trades(limit: DayTrading, account_id: UUID, now_held: Mapping[str, Decimal]) -> DayTrading:
    dates = daytrades.window(limit.today, limit.sessions, LEGACY.window) or (limit.today,)
    since = datetime.combine(dates[0], time(), EXCHANGE_ZONE)
    with connection.cursor() as cursor:
        cursor.execute(_CHANGES, {"id": account_id, "since": since})
        changes = cursor.fetchall()
    held = dict(now_held)
    for _, _, symbol, qty, _ in changes:
        held[symbol] = held.get(symbol, ZERO) - qty
    days: list[Day] = []
    for day in sorted({row[0] for row in changes if row[0] < limit.today}):
        fills = _fills(changes, day)
        trips = daytrades.round_trips(fills, held=held)
        days.append(Day(day, len(trips), len({fill.order_id for fill in fills})))
        for changed_on, _, symbol, qty, _ in changes:
            if changed_on == day:
                held[symbol] = held.get(symbol, ZERO) + qty
    # What events brought today was not opened by an order: it counts as held.
    for changed_on, _, symbol, qty, by_order in changes:
        if changed_on == limit.today and not by_order:
            held[symbol] = held.get(symbol, ZERO) + qty
    return DayTrading(
        regime=limit.regime, today=limit.today, sessions=limit.sessions, equity=limit.equity, pattern=limit.pattern,
        fills=_fills(changes, limit.today), held=held, days=tuple(days),
    )  # fmt: skip


def _fills(changes: Iterable[tuple[date, UUID | None, str, Decimal, bool]], day: date) -> tuple[Traded, ...]:
    return tuple(
        Traded(str(order_id), symbol, qty)
        for changed_on, order_id, symbol, qty, by_order in changes
        if changed_on == day and by_order
    )


def _held(account: Account) -> dict[str, Decimal]:
    return dict(account.positions.filter(closed_at__isnull=True).values_list("symbol", "qty"))


# -- what an account shows ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Summary:
    """`day_trades` in the window that ends today. Under the old rule `power` is what may be bought today to be sold
    today; since then there is no such number, and `excess` says what is left over the maintenance requirement."""

    regime: Model
    day_trades: int
    pattern: bool
    power: Decimal | None
    excess: Decimal | None


def now(account: Account, now_ns: int) -> DayTrading:
    """Everything that limits a margin account's day trades now."""
    today, sessions = exchange_date(now_ns), calendar.of_feed(account.feed)
    known = account.closing_equity if account.closing_equity is not None else account.cash_balance
    limit = DayTrading(
        regime=regime_on(today, account.day_trade_rules), today=today, sessions=sessions, equity=known,
        pattern=account.pattern_since is not None,
    )  # fmt: skip
    return _with_trades(limit, account.pk, _held(account))


def summary(account: Account, *, now_ns: int, excess: Decimal | None) -> Summary:
    """For a margin account. `excess`: margin equity less maintenance now, None where it cannot be told."""
    limit = now(account, now_ns)
    regime, days, known = limit.regime, limit.so_far, limit.equity
    pattern = limit.pattern or daytrades.is_pattern(days, on=limit.today, sessions=limit.sessions)
    if regime is Model.INTRADAY_MARGIN:
        return Summary(regime, sum(day.day_trades for day in days), False, None, excess)
    maintenance = account.closing_maintenance or ZERO
    power = daytrades.day_trading_power(equity=known, maintenance=maintenance, pattern=pattern)
    return Summary(regime, sum(day.day_trades for day in days), pattern, power, excess)


# -- what a day's end records -----------------------------------------------------------------------------


def close_day(
    *, feed: str, day: date, at_ns: int, quote_of: QuoteOf,
    within: Callable[[UUID], AbstractContextManager[object]] = nullcontext,
) -> None:  # fmt: skip
    """Under the old rule: keep what each margin account of the feed was worth at the close, and mark those whose day
    trades have made a pattern. An account that cannot be valued keeps its figures of before. `within`: what each account
    is looked at in, by its id."""
    rows = Account.objects.filter(feed=feed, account_type=Account.Type.MARGIN).order_by("pk")
    for account_id, setting in rows.values_list("pk", "day_trade_rules"):
        if regime_on(day, setting) is Model.LEGACY_PDT:
            with within(account_id):
                _close(account_id, day, at_ns, quote_of)


@transaction.atomic
def _close(account_id: UUID, day: date, at_ns: int, quote_of: QuoteOf) -> None:
    account = Account.objects.select_for_update().get(pk=account_id)
    if account.closing_on is not None and account.closing_on >= day:
        return
    try:
        account.closing_equity, account.closing_maintenance = _figures(account, at_ns, quote_of)
    except NoMark as problem:
        log.warning("close not valued", account=str(account_id), reason=problem.message)
    account.closing_on = day
    sessions = calendar.of_feed(account.feed)
    limit = DayTrading(regime=Model.LEGACY_PDT, today=day, sessions=sessions)
    limit = _with_trades(limit, account.pk, _held(account))
    if account.pattern_since is None and daytrades.is_pattern(limit.so_far, on=day, sessions=sessions):
        account.pattern_since = day
        audit.record(
            events.ACCOUNT_PATTERN, actor=pseudonym.ENGINE, object_type="mbt.account", object_id=account.pk,
            at=from_ns(at_ns), changes={"since": day.isoformat(), "day_trades": sum(d.day_trades for d in limit.so_far)},
        )  # fmt: skip
    account.save(update_fields=["closing_on", "closing_equity", "closing_maintenance", "pattern_since"])
    changes = {
        "day": day.isoformat(),
        "equity": account.closing_equity,
        "not_free": account.closing_maintenance,
    }
    audit.record(
        events.ACCOUNT_CLOSED_DAY, actor=pseudonym.ENGINE, object_type="mbt.account", object_id=account.pk,
        at=from_ns(at_ns), changes=changes,
    )  # fmt: skip


def _figures(account: Account, at_ns: int, quote_of: QuoteOf) -> tuple[Decimal, Decimal]:
    """What the account is worth, and what of that is not free: the requirement, and options, which nobody lends on."""
    held = _held(account)
    adjusted = selectors.adjusted_classes(account.feed, held)
    marks = selectors.marks(quotes_of(with_tickers(held, adjusted), quote_of))
    instruments = [instrument_of(symbol, adjusted) for symbol in held]
    view = AccountView(
        type=Kind.MARGIN, cash=account.cash_balance, cash_held=ZERO,
        holdings={symbol: Holding(qty, ZERO) for symbol, qty in held.items()}, marks=marks,
        rules=selectors.margin_rules(at_ns, account.margin_model), adjusted=adjusted,
    )  # fmt: skip
    now = standing(view)
    worth = margin.net_liq(
        account.cash_balance, [margin.Holding(one, held[one.symbol]) for one in instruments], marks
    )
    return worth, worth - (now.equity - now.requirement.maintenance)
