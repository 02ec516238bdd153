"""When a trade is paid and delivered, what cash has settled, and what a cash account may not do before.

Sources and worked examples: docs/rules/settlement.md.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache

import msgspec

from raxx.market.contracts import AssetClass
from raxx.market.sessions import Sessions

ZERO = Decimal(0)

# Business days from trade to settlement, by trade date. Newest last.
_STOCK_CYCLE = ((date(1995, 6, 7), 3), (date(2017, 9, 5), 2), (date(2024, 5, 28), 1))
_OPTION_CYCLE = ((date.min, 1),)

# Payment for a purchase in a cash account is due this many business days after settlement (12 CFR 220.2).
_GRACE_DAYS = 2

# No calendar of ours pauses longer than this; beyond it the calendar has ended.
_LONGEST_PAUSE = 14


def cycle(trade_date: date, asset_class: AssetClass) -> int:
    """Business days from trade to settlement. Raises LookupError for stock trades before 7 June 1995."""
    table = _OPTION_CYCLE if asset_class is AssetClass.OPTION else _STOCK_CYCLE
    days = next((days for since, days in reversed(table) if since <= trade_date), None)
    if days is None:
        raise LookupError(f"no settlement cycle on record before {table[0][0]}")
    return days


def settlement_date(trade_date: date, asset_class: AssetClass, sessions: Sessions) -> date:
    """The day on which cash and shares change hands.

    Counts sessions, except those on which banks are closed. Raises LookupError beyond the calendar.
    """
    return _later(trade_date, cycle(trade_date, asset_class), sessions, banks=True)


def payment_deadline(trade_date: date, asset_class: AssetClass, sessions: Sessions) -> date:
    """The last day to pay for a purchase in a cash account: the cycle and two business days more.

    A session on which banks are closed counts here. Raises LookupError beyond the calendar.
    """
    return _later(trade_date, cycle(trade_date, asset_class) + _GRACE_DAYS, sessions, banks=False)


def _later(day: date, count: int, sessions: Sessions, *, banks: bool) -> date:
    for _ in range(count):
        following = (day + timedelta(days=n) for n in range(1, _LONGEST_PAUSE + 1))
        found = next((d for d in following if sessions.on(d) and not (banks and _banks_closed(d))), None)
        if found is None:
            raise LookupError(f"calendar {sessions.name} knows no session after {day}")
        day = found
    return day


def _banks_closed(day: date) -> bool:
    """Columbus Day and Veterans Day: exchanges trade, but no money moves. A Sunday holiday is kept on Monday."""
    if day.month == 10:
        return day.weekday() == 0 and 8 <= day.day <= 14
    return day.month == 11 and (day.day == 11 or (day.day == 12 and day.weekday() == 0))


class Move(msgspec.Struct, frozen=True):
    """Cash that came (positive) or went (negative): on which day it was agreed, and on which it is there.

    For deposits, fees and interest both days are the same.
    """

    amount: Decimal
    day: date
    settles: date


def trade_cash(moves: Iterable[Move], on: date) -> Decimal:
    """Cash at the end of `on` as if everything agreed were paid."""
    return sum((m.amount for m in moves if m.day <= on), ZERO)


def settled_cash(moves: Iterable[Move], on: date) -> Decimal:
    """Cash that is there at the end of `on`: what interest is counted on."""
    return sum((m.amount for m in moves if m.settles <= on), ZERO)


def unsettled(moves: Iterable[Move], on: date) -> dict[date, Decimal]:
    """Proceeds agreed by `on` and still to come, by the day they settle. Payments still to go are not netted."""
    due: dict[date, Decimal] = {}
    for move in sorted(moves, key=lambda m: m.settles):
        if move.day <= on < move.settles and move.amount > 0:
            due[move.settles] = due.get(move.settles, ZERO) + move.amount
    return due


def free_settled_cash(moves: Iterable[Move], on: date) -> Decimal:
    """Settled cash that no purchase has claimed: what a restricted account may still spend, never negative."""
    moves = tuple(moves)
    claimed = sum((m.amount for m in moves if m.day <= on < m.settles and m.amount < 0), ZERO)
    return max(ZERO, settled_cash(moves, on) + claimed)


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One fill in a cash account. `qty` and `cash` are signed: a purchase has qty > 0, cash < 0 (dollars)."""

    fill_id: str
    order_id: str
    symbol: str
    qty: Decimal
    cash: Decimal
    day: date
    asset_class: AssetClass = AssetClass.EQUITY


class Deposit(msgspec.Struct, frozen=True):
    """Cash from outside, settled at once; negative when it leaves."""

    amount: Decimal
    day: date


class Breach(StrEnum):
    GOOD_FAITH = "good_faith"  # sold before the unsettled money that paid for it had arrived
    FREE_RIDING = "free_riding"  # sold without ever having been paid for


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase sold too early. `paid_with`: the sales whose unsettled proceeds paid for it, if any.

    `day`: of the sale. `fine_from`: the first day on which the same sale would have been in order.
    """

    breach: Breach
    day: date
    purchase: Trade
    sale: Trade
    paid_with: tuple[Trade, ...]
    fine_from: date
    message: str
    remedy: str


class _Money(msgspec.Struct):
    """What is left of a deposit or of the proceeds of a sale."""

    amount: Decimal
    settles: date
    sale: Trade | None = None


class _Purchase(msgspec.Struct):
    """An order to buy, by its first fill, and what has paid for its fills so far."""

    trade: Trade
    unpaid: Decimal
    paid: list[_Money]


class _Lot(msgspec.Struct):
    purchase: _Purchase
    qty: Decimal


class _Ride(msgspec.Struct):
    """A purchase sold while unpaid: forgiven when deposits cover it in time."""

    purchase: Trade
    sale: Trade
    missing: Decimal
    deadline: date


class _CashAccount:
    """Who paid for what: settled money first, then the earliest to settle; lots are sold first in, first out."""

    def __init__(self, sessions: Sessions, held: Mapping[str, Decimal]) -> None:
        self.sessions = sessions
        self.money: list[_Money] = []
        self.purchases: dict[str, _Purchase] = {}
        self.unpaid: deque[_Purchase] = deque()
        self.lots: dict[str, deque[_Lot]] = {}
        self.short: dict[str, Decimal] = {symbol: -qty for symbol, qty in held.items() if qty < 0}
        self.held = {symbol: qty for symbol, qty in held.items() if qty > 0}
        self.violations: dict[str, Violation] = {}
        self.rides: dict[str, _Ride] = {}

    def deposit(self, event: Deposit) -> None:
        if event.amount < 0:
            self._spend(-event.amount)
            return
        left = event.amount
        for ride in self.rides.values():
            if event.day <= ride.deadline:
                cured = min(left, ride.missing)
                ride.missing -= cured
                left -= cured
        self._receive(_Money(event.amount, event.day))

    def buy(self, trade: Trade) -> None:
        paid, missing = self._spend(-trade.cash)
        # All fills of an order are one purchase, so that it does not matter in how many it came.
        purchase = self.purchases.setdefault(trade.order_id, _Purchase(trade, ZERO, []))
        purchase.paid += paid
        if missing and not purchase.unpaid:
            self.unpaid.append(purchase)
        purchase.unpaid += missing
        closing = min(trade.qty, self.short.get(trade.symbol, ZERO))
        self.short[trade.symbol] = self.short.get(trade.symbol, ZERO) - closing
        if trade.qty > closing:
            self.lots.setdefault(trade.symbol, deque()).append(_Lot(purchase, trade.qty - closing))

    def sell(self, trade: Trade) -> None:
        left = -trade.qty
        from_before = min(left, self.held.get(trade.symbol, ZERO))
        self.held[trade.symbol] = self.held.get(trade.symbol, ZERO) - from_before
        left -= from_before
        lots = self.lots.get(trade.symbol, deque())
        while left and lots:
            lot = lots[0]
            self._judge(lot.purchase, trade)
            taken = min(left, lot.qty)
            lot.qty -= taken
            left -= taken
            if not lot.qty:
                lots.popleft()
        self.short[trade.symbol] = self.short.get(trade.symbol, ZERO) + left
        settles = settlement_date(trade.day, trade.asset_class, self.sessions)
        self._receive(_Money(trade.cash, settles, trade))

    def _spend(self, cost: Decimal) -> tuple[list[_Money], Decimal]:
        """What pays for `cost`, and how much is missing."""
        self.money.sort(key=lambda m: m.settles)
        paid = []
        for money in self.money:
            part = min(cost, money.amount)
            if part > 0:
                paid.append(_Money(part, money.settles, money.sale))
                money.amount -= part
                cost -= part
        self.money = [m for m in self.money if m.amount > 0]
        return paid, max(cost, ZERO)

    def _receive(self, money: _Money) -> None:
        """New money first pays what is still unpaid."""
        while self.unpaid and money.amount > 0:
            purchase = self.unpaid[0]
            part = min(purchase.unpaid, money.amount)
            purchase.unpaid -= part
            purchase.paid.append(_Money(part, money.settles, money.sale))
            money.amount -= part
            if not purchase.unpaid:
                self.unpaid.popleft()
        if money.amount > 0:
            self.money.append(money)

    def _judge(self, purchase: _Purchase, sale: Trade) -> None:
        bought = purchase.trade
        if bought.order_id in self.rides:
            return
        if purchase.unpaid:
            deadline = payment_deadline(bought.day, bought.asset_class, self.sessions)
            self.rides[bought.order_id] = _Ride(bought, sale, purchase.unpaid, deadline)
            return
        late = [m for m in purchase.paid if m.settles > sale.day]
        if late and bought.order_id not in self.violations:
            self.violations[bought.order_id] = _good_faith(bought, sale, late)

    def found(self, as_of: date) -> tuple[Violation, ...]:
        rides = {
            order_id: _free_ride(ride)
            for order_id, ride in self.rides.items()
            if ride.missing and ride.deadline < as_of
        }
        every = (self.violations | rides).values()
        return tuple(sorted(every, key=lambda v: (v.day, v.sale.fill_id, v.purchase.fill_id)))


def violations(
    events: Iterable[Trade | Deposit], sessions: Sessions, *, as_of: date, held: Mapping[str, Decimal] | None = None
) -> tuple[Violation, ...]:  # fmt: skip
    """Every good-faith violation and free ride in the history of a cash account, as known on `as_of`.

    `events` in the order in which they happened, from the start of the account or from a day on which it
    held `held` (negative: short), fully paid. A purchase order violates once, however many fills it and its sales have. A
    purchase that was sold unpaid is a free ride once the deadline for payment has passed without a deposit.
    """
    account = _CashAccount(sessions, held or {})
    for event in events:
        if isinstance(event, Deposit):
            account.deposit(event)
        elif event.qty > 0:
            account.buy(event)
        else:
            account.sell(event)
    return account.found(as_of)


def _good_faith(bought: Trade, sale: Trade, late: list[_Money]) -> Violation:
    fine_from = max(m.settles for m in late)
    sales = {m.sale.fill_id: m.sale for m in late if m.sale is not None}
    sources = ", ".join(sorted({s.symbol for s in sales.values()}))
    return Violation(
        breach=Breach.GOOD_FAITH, day=sale.day, purchase=bought, sale=sale, paid_with=tuple(sales.values()),
        fine_from=fine_from,
        message=(
            f"{bought.symbol} was bought on {bought.day} with the proceeds of {sources}, which settle on "
            f"{fine_from}, and sold on {sale.day}, before they had."
        ),
        remedy=f"Hold {bought.symbol} until {fine_from}, or buy with settled cash.",
    )  # fmt: skip


def _free_ride(ride: _Ride) -> Violation:
    return Violation(
        breach=Breach.FREE_RIDING, day=ride.sale.day, purchase=ride.purchase, sale=ride.sale, paid_with=(),
        fine_from=ride.deadline,
        message=(
            f"{ride.purchase.symbol} was bought on {ride.purchase.day} and sold on {ride.sale.day} without having "
            f"been paid for: {ride.missing:,.2f} were missing, and did not come by {ride.deadline}."
        ),
        remedy=f"Deposit what a purchase costs before selling it, at the latest on {ride.deadline}.",
    )  # fmt: skip


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """When violations restrict an account. The free ride is regulation; the good-faith count is the broker's."""

    name: str
    good_faith_count: int
    good_faith_window_days: int = 365
    restricted_days: int = 90


THREE_STRIKES = Policy(name="three good-faith violations in twelve months", good_faith_count=3)
FIVE_STRIKES = Policy(name="five good-faith violations in twelve months", good_faith_count=5)


class Restriction(msgspec.Struct, frozen=True, kw_only=True):
    """From `since` until the day before `until`, purchases are paid with settled cash only."""

    breach: Breach
    since: date
    until: date
    because: tuple[Violation, ...]


def restriction(
    found: Sequence[Violation], *, on: date, policy: Policy = THREE_STRIKES
) -> Restriction | None:
    """The restriction in force on a day, the longest-lasting one if there are several; None without one."""
    causes: list[tuple[Breach, tuple[Violation, ...]]] = [
        (v.breach, (v,)) for v in found if v.breach is Breach.FREE_RIDING
    ]
    good_faith = sorted((v for v in found if v.breach is Breach.GOOD_FAITH), key=lambda v: v.day)
    for end in range(policy.good_faith_count, len(good_faith) + 1):
        run = tuple(good_faith[end - policy.good_faith_count : end])
        if (run[-1].day - run[0].day).days < policy.good_faith_window_days:
            causes.append((Breach.GOOD_FAITH, run))
    restrictions = [
        Restriction(
            breach=breach, since=run[-1].day, until=run[-1].day + timedelta(days=policy.restricted_days), because=run,
        )
        for breach, run in causes
    ]  # fmt: skip
    in_force = [r for r in restrictions if r.since <= on < r.until]
    return max(in_force, key=lambda r: r.until, default=None)


# --- What an account carries along: proceeds still to come, by day ------------------------------------------


@lru_cache(maxsize=1_024)
def _settles(trade_date: date, asset_class: AssetClass, sessions: Sessions) -> str:
    return settlement_date(trade_date, asset_class, sessions).isoformat()


def owed(
    due: Mapping[str, str], amount: Decimal, *, day: date, asset_class: AssetClass, sessions: Sessions
) -> dict[str, str]:
    """`due` (dollars by the ISO day on which they settle, as text) with the proceeds of one more sale of `day`, and
    without what has settled by then."""
    left = {when: text for when, text in due.items() if when > day.isoformat()}
    settles = _settles(day, asset_class, sessions)
    left[settles] = str(Decimal(left.get(settles, "0")) + amount)
    return left


def still_due(due: Mapping[str, str], on: date) -> dict[date, Decimal]:
    """What is still to come after `on`, by day."""
    return {date.fromisoformat(when): Decimal(due[when]) for when in sorted(due) if when > on.isoformat()}
