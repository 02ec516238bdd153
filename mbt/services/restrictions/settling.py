"""Cash accounts and settlement: violations are found in an account's own fills, recorded, and restrict it.

An account is looked at in the evening of every day on which it sold. Everything is computed from its history of the
last days: what was bought before them has long been paid.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import F

from audit import log as audit
from audit import pseudonym
from mbt import events
from mbt.engine import settlement
from mbt.engine.settlement import Deposit, Trade
from mbt.models import Account, Activity, Position, Violation
from raxx.kernel import outbox
from raxx.kernel.clock import EXCHANGE_ZONE, exchange_date, from_ns, to_ns
from raxx.market import calendar
from raxx.market.contracts import parse_symbol
from raxx.market.sessions import Sessions

# Longer than any settlement and payment period of the tables: what is older is settled and paid.
LOOK_BACK = timedelta(days=16)
THE_POLICY = settlement.THREE_STRIKES
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class History:
    """What settlement asks of an account: its last events in order, and what it held before them."""

    events: tuple[Trade | Deposit, ...]
    held: dict[str, Decimal]

    def violations(self, sessions: Sessions, *, as_of: date) -> tuple[settlement.Violation, ...]:
        return settlement.violations(self.events, sessions, as_of=as_of, held=self.held)


def history_of(account: Account, *, today: date) -> History:
    """The account's last days. Its row is as of now; call it inside a transaction or a snapshot."""
    since = today - LOOK_BACK
    start = datetime.combine(since, time(), EXCHANGE_ZONE)
    # What somebody pays in counts as there from the start: it bears the time of the wall, not that of the feed.
    rows = Activity.objects.filter(account_id=account.pk, occurred_at__gte=start)
    rows = rows.exclude(activity_type=Activity.Type.ADJUSTMENT).order_by("occurred_at", "line", "id")
    found: list[Trade | Deposit] = []
    held = dict(
        Position.objects.filter(account_id=account.pk, closed_at__isnull=True).values_list("symbol", "qty")
    )
    moved = ZERO
    for row in rows:
        day = exchange_date(to_ns(row.occurred_at))
        moved += row.amount
        if row.activity_type == Activity.Type.FILL and row.qty is not None:
            qty = row.qty if row.side == "buy" else -row.qty
            # What events brought or took counts as held before: only orders can come too early.
            held[row.symbol] = held.get(row.symbol, ZERO) - qty
            found.append(Trade(
                fill_id=str(row.ref_id), order_id=str(row.order_id), symbol=row.symbol, qty=qty, cash=row.amount, day=day,
                asset_class=parse_symbol(row.symbol).asset_class,
            ))  # fmt: skip
        else:
            found.append(Deposit(row.amount, day))
    opening = Deposit(account.cash_balance - moved, since)
    return History((opening, *found), {symbol: qty for symbol, qty in held.items() if qty})


Within = Callable[[UUID], AbstractContextManager[object]]


def review(*, feed: str, day: date, at_ns: int, within: Within = nullcontext) -> int:
    """Find and record the violations of `day` in the cash accounts of a feed that sold then. How many are new.

    Doing it again records nothing twice. `within`: what each account is looked at in, by its id.
    """
    start = datetime.combine(day, time(), EXCHANGE_ZONE)
    end = datetime.combine(day + timedelta(days=1), time(), EXCHANGE_ZONE)
    sold = Activity.objects.filter(
        account__feed=feed, account__account_type=Account.Type.CASH, activity_type=Activity.Type.FILL, side="sell",
        occurred_at__gte=start, occurred_at__lt=end,
    )  # fmt: skip
    ids = sold.values_list("account_id", flat=True).order_by("account_id").distinct()
    new = 0
    for account_id in ids:
        with within(account_id):
            new += _review(account_id, day, at_ns)
    return new


@transaction.atomic
def _review(account_id: UUID, day: date, at_ns: int) -> int:
    account = Account.objects.select_for_update().get(pk=account_id)
    sessions = calendar.of_feed(account.feed)
    at = from_ns(at_ns)
    new = 0
    for found in history_of(account, today=day).violations(sessions, as_of=day):
        _, created = Violation.objects.get_or_create(
            account=account, purchase_id=UUID(found.purchase.order_id),
            defaults={
                "kind": found.breach, "day": found.day, "symbol": found.purchase.symbol,
                "sale_id": UUID(found.sale.order_id), "fine_from": found.fine_from, "message": found.message[:300],
                "remedy": found.remedy[:300], "found_at": at,
            },
        )  # fmt: skip
        if created:
            new += 1
            _tell(account, events.ACCOUNT_VIOLATION, at, found.breach, {
                "kind": found.breach, "day": found.day.isoformat(), "symbol": found.purchase.symbol,
                "purchase": found.purchase.order_id, "sale": found.sale.order_id, "what": found.message,
            })  # fmt: skip
    if new:
        _restrict(account, sessions, day, at)
    return new


def _restrict(account: Account, sessions: Sessions, day: date, at: datetime) -> None:
    rows = Violation.objects.filter(account=account)
    known = rows.order_by("day", "found_at").values_list("kind", "day", "symbol")
    found = settlement.restriction([_as_found(*row) for row in known], on=day, policy=THE_POLICY)
    if found is None or (account.restricted_until is not None and found.until <= account.restricted_until):
        return
    account.restricted_until, account.restriction = found.until, found.breach
    account.save(update_fields=["restricted_until", "restriction"])
    changes = {"until": found.until.isoformat(), "because": found.breach, "violations": len(found.because)}
    _tell(account, events.ACCOUNT_RESTRICTED, at, found.breach, changes)


def _as_found(kind: str, day: date, symbol: str) -> settlement.Violation:
    """As much of a recorded violation as a restriction asks for."""
    trade = Trade(fill_id="", order_id="", symbol=symbol, qty=ZERO, cash=ZERO, day=day)
    return settlement.Violation(
        breach=settlement.Breach(kind), day=day, purchase=trade, sale=trade, paid_with=(), fine_from=day, message="",
        remedy="",
    )  # fmt: skip


def _tell(account: Account, action: str, at: datetime, reason: str, changes: dict[str, object]) -> None:
    audit.record(
        action, actor=pseudonym.ENGINE, object_type="mbt.account", object_id=account.pk, at=at, reason=reason,
        changes=changes,
    )  # fmt: skip
    outbox.add(
        topic=events.ACCOUNTS_TOPIC,
        key=str(account.pk),
        payload={"account_id": account.pk, "event": action, **changes},
    )


# -- what an order would do ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an order would mean for settlement if it filled now.

    `violations`: those that it would be. `unsettled`: dollars by the day on which they settle that would pay for it.
    """

    violations: tuple[settlement.Violation, ...] = ()
    unsettled: tuple[tuple[date, Decimal], ...] = ()


def outlook(account: Account, trades: Sequence[Trade]) -> Outlook:
    """`trades` are the order's, with the account's `day` and the money that is expected."""
    if not trades:
        return Outlook()
    today = trades[0].day
    sessions = calendar.of_feed(account.feed)
    past = history_of(account, today=today)
    known = {found.purchase.order_id for found in past.violations(sessions, as_of=today)}
    after = History((*past.events, *trades), past.held)
    new = tuple(v for v in after.violations(sessions, as_of=today) if v.purchase.order_id not in known)
    due = settlement.still_due(account.unsettled, today)
    needed = -sum((trade.cash for trade in trades), ZERO)
    free = account.cash_balance - account.cash_held - sum(due.values(), ZERO)
    missing = min(needed, needed - free)
    used = []
    for day, amount in due.items():
        part = min(missing, amount)
        if part > 0:
            used.append((day, part))
            missing -= part
    return Outlook(new, tuple(used))


def violations_of(account_id: UUID) -> list[Violation]:
    """The newest first."""
    return list(Violation.objects.filter(account_id=account_id).order_by("-day", "-found_at", F("id").desc()))
