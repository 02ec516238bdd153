"""What time costs an account and earns it: accrued every evening, posted once a month.

The engine reckons, in `mbt.engine.interest`; here settled balances are found, days are kept, and a month's postings
are written. Accruing an evening again, or posting a month again, changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import structlog
from django.db import transaction
from django.db.models import Q

from mbt import events as vocabulary
from mbt.engine import interest, settlement
from mbt.engine.interest import Accrual, Accrues, Terms
from mbt.models import Account, Activity, InterestAccrual, Position
from mbt.selectors.markets import QuoteOf, middle
from mbt.services import fills
from mbt.services.events.applying import Decided, Effects, Record, apply_event
from mbt.services.events.store import State
from raxx.kernel.clock import exchange_date, from_ns, to_ns
from raxx.kernel.money import from_ticks, to_ticks
from raxx.market.contracts import AssetClass, parse_symbol
from raxx.market.sessions import Session, Sessions

log = structlog.get_logger(__name__)

ZERO = Decimal(0)
# No trade takes longer to settle: three sessions, with a weekend, a holiday and a day without banks among them.
_UNSETTLED_DAYS = 14


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """The rates of an account."""

    debit: Terms = interest.MARGIN_625
    borrow: Terms = interest.BORROW_3
    credit: Terms = interest.NO_INTEREST


# What an account's `interest_schedule` names.
INTEREST_SCHEDULES: Mapping[str, Schedule] = {
    "none": Schedule(debit=interest.NO_INTEREST, borrow=interest.NO_INTEREST, credit=interest.NO_INTEREST),
    "standard": Schedule(),
    "idle_cash": Schedule(credit=interest.flat("1 % on idle cash", "0.01")),
}


@dataclass
class _Unsettled:
    """What trades of the last days have still to bring, or to take, by account: cash, and shares by symbol."""

    cash: dict[UUID, Decimal]
    shares: dict[UUID, dict[str, Decimal]]


def accrue(*, feed: str, sessions: Sessions, session: Session, at_ns: int, quote_of: QuoteOf) -> None:
    """Note what the settled balances at the end of `session` accrue until the next, for every account of the feed."""
    pending = _unsettled(feed, session.date, sessions, at_ns)
    for account in _concerned(feed, pending):
        if account.interest_schedule == "none":
            continue
        with fills.isolated(account.pk, at=from_ns(at_ns), event=f"interest accrued on {session.date}"):
            _accrue(account, pending, session, sessions, quote_of)


def _accrue(
    account: Account, pending: _Unsettled, session: Session, sessions: Sessions, quote_of: QuoteOf
) -> None:
    try:
        accruals = _of_account(account, pending, session, sessions, quote_of)
    except LookupError as problem:
        log.warning("interest waits", feed=account.feed, account=str(account.pk), reason=str(problem))
        return
    InterestAccrual.objects.bulk_create(
        [
            InterestAccrual(
                account_id=account.pk, day=each.day, kind=each.kind, symbol=each.symbol, balance=each.balance,
                amount=each.amount, days_in_year=each.days_in_year, shares=each.shares,
            )
            for each in accruals
        ],
        ignore_conflicts=True,
    )  # fmt: skip


def _concerned(feed: str, pending: _Unsettled) -> Iterable[Account]:
    """Whoever owes, has traded, is short, or is paid for idle cash."""
    short = Position.objects.filter(
        account__feed=feed, closed_at__isnull=True, asset_class=AssetClass.EQUITY, qty__lt=0
    )
    earning = [
        name for name, schedule in INTEREST_SCHEDULES.items() if schedule.credit != interest.NO_INTEREST
    ]
    wanted = Q(cash_balance__lt=0) | Q(pk__in=short.values("account_id")) | Q(pk__in=list(pending.cash))
    rows = Account.objects.filter(wanted | Q(interest_schedule__in=earning), feed=feed)
    return rows.order_by("created_at", "id")


@transaction.atomic
def _of_account(
    account: Account, pending: _Unsettled, session: Session, sessions: Sessions, quote_of: QuoteOf
) -> list[Accrual]:
    state = State.locked(account.pk)
    schedule = INTEREST_SCHEDULES[state.account.interest_schedule]
    day = session.date
    found: list[Accrual] = []
    lent = ZERO
    shares = pending.shares.get(account.pk, {})
    for symbol in sorted({*state.rows, *shares}):
        if parse_symbol(symbol).asset_class is not AssetClass.EQUITY:
            continue
        row = state.rows.get(symbol)
        settled = (row.qty if row else ZERO) - shares.get(symbol, ZERO)
        if settled < 0:
            mark = _mark(account.pk, symbol, row, quote_of)
            lent += -settled * from_ticks(mark)
            found += interest.on_short(
                symbol, -settled, mark, day=day, sessions=sessions, terms=schedule.borrow
            )
    cash = state.account.cash_balance - pending.cash.get(account.pk, ZERO)
    if cash > 0:
        cash = max(ZERO, cash - lent)  # what secures short sales is not idle
    found += interest.on_cash(cash, day=day, sessions=sessions, debit=schedule.debit, credit=schedule.credit)
    return [each for each in found if each.amount]


def _mark(account_id: UUID, symbol: str, row: Position | None, quote_of: QuoteOf) -> int:
    """What a borrowed share is worth, in 1/10,000 dollar: at its quote; without one, what it was last taken to be
    worth; and before any, what it was sold for."""
    now = middle(quote_of(symbol))
    if now:
        return now
    before = InterestAccrual.objects.filter(account_id=account_id, symbol=symbol, kind=Accrues.BORROW)
    last = before.order_by("-day").first()
    if last is not None:
        return to_ticks((last.balance / interest.lots(last.shares)).quantize(Decimal("0.0001")))
    return to_ticks(abs(row.cost / row.qty).quantize(Decimal("0.0001"))) if row else 0


def _unsettled(feed: str, day: date, sessions: Sessions, at_ns: int) -> _Unsettled:
    """Of the fills until now, those that settle after `day`."""
    since = from_ns(at_ns) - timedelta(days=_UNSETTLED_DAYS)
    rows = Activity.objects.filter(
        account__feed=feed, activity_type=Activity.Type.FILL, occurred_at__gte=since, occurred_at__lte=from_ns(at_ns)
    ).values_list("account_id", "symbol", "side", "qty", "amount", "occurred_at")  # fmt: skip
    cash: dict[UUID, Decimal] = defaultdict(lambda: ZERO)
    shares: dict[UUID, dict[str, Decimal]] = defaultdict(lambda: defaultdict(lambda: ZERO))
    settles: dict[tuple[date, AssetClass], date] = {}
    for account_id, symbol, side, qty, amount, occurred_at in rows.iterator():
        key = exchange_date(to_ns(occurred_at)), parse_symbol(symbol).asset_class
        if key not in settles:
            settles[key] = settlement.settlement_date(*key, sessions)
        if settles[key] > day:
            cash[account_id] += amount
            shares[account_id][symbol] += (qty or ZERO) * (1 if side == "buy" else -1)
    return _Unsettled(dict(cash), {account: dict(held) for account, held in shares.items()})


def post_months(*, feed: str, sessions: Sessions, session: Session, at_ns: int) -> Effects:
    """Post the months whose every day has accrued: on the evening of the last session of each."""
    following = sessions.current_or_next(session.close_ns).date
    effects = Effects()
    month = session.date.replace(day=1)
    if following.replace(day=1) == month:
        return effects
    after = (month + timedelta(days=32)).replace(day=1)
    rows = InterestAccrual.objects.filter(account__feed=feed, day__gte=month, day__lt=after)
    accounts = (
        rows.order_by("account__created_at", "account_id").values_list("account_id", flat=True).distinct()
    )
    for account_id in dict.fromkeys(accounts):

        def decide(state: State) -> Decided:
            accruals = [
                _value(row) for row in rows.filter(account_id=state.account.pk).order_by("day", "symbol")
            ]
            postings = interest.post_month(accruals, year=month.year, month=month.month)
            total = sum((posting.cash for posting in postings), ZERO)
            changes = {"month": f"{month:%Y-%m}", "amount": total}
            return Decided(postings=postings, records=[Record(vocabulary.INTEREST_POSTED, changes)])

        effects.add(apply_event(account_id, name=f"interest:{month:%Y-%m}", at_ns=at_ns, decide=decide))
    return effects


def _value(row: InterestAccrual) -> Accrual:
    return Accrual(
        kind=Accrues(row.kind), day=row.day, balance=row.balance, amount=row.amount, days_in_year=row.days_in_year,
        symbol=row.symbol, shares=Decimal(f"{row.shares.normalize():f}"),
    )  # fmt: skip
