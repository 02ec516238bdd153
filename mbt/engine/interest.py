"""What time costs: interest on borrowed cash, fees for borrowed shares, interest on idle cash.

Every calendar day accrues exactly, unrounded; a month's accruals become one posting each, rounded once.
Sources and worked examples: docs/rules/interest.md.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

import msgspec

from mbt.engine.account import Kind, Posting
from raxx.kernel.money import from_ticks, to_cents
from raxx.market.sessions import Sessions

ZERO = Decimal(0)
LOT = 100  # shares are lent in lots of a hundred


class Accrues(StrEnum):
    MARGIN = "margin"  # the account owes cash
    BORROW = "borrow"  # the account owes shares
    CASH = "cash"  # the account has cash


class Tier(msgspec.Struct, frozen=True):
    """The annual rate (0.0625 is 6.25 %) that holds above a balance of `above` dollars."""

    above: Decimal
    rate: Decimal


class Rates(msgspec.Struct, frozen=True):
    """The tiers, lowest first, in force from a calendar day on."""

    since: date
    tiers: tuple[Tier, ...]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Dated rates and how they apply.

    `graduated`: each tier's rate on the part of the balance that lies in it; else the rate of the highest
    tier reached on the whole balance.
    """

    name: str
    table: tuple[Rates, ...]
    days_in_year: int = 360
    graduated: bool = False


def flat(name: str, rate: str, *, since: date = date.min) -> Terms:
    """Terms of one rate, whatever the balance. `rate` is annual: "0.0625"."""
    return Terms(name=name, table=(Rates(since, (Tier(ZERO, Decimal(rate)),)),))


# Illustrations, not anybody's price list: rates move with the central bank's and differ between brokers.
MARGIN_625 = flat("6.25 % on borrowed cash", "0.0625")
BORROW_3 = flat("3 % on borrowed shares", "0.03")
NO_INTEREST = flat("no interest", "0")


class Accrual(msgspec.Struct, frozen=True, kw_only=True):
    """One calendar day of one balance, in dollars, both positive; `amount` is exact.

    `symbol` and `shares` (those held short, before rounding to lots) are for borrowed shares.
    """

    kind: Accrues
    day: date
    balance: Decimal
    amount: Decimal
    days_in_year: int
    symbol: str = ""
    shares: Decimal = ZERO


def days_covered(day: date, sessions: Sessions) -> tuple[date, ...]:
    """The calendar days for which the balance at the end of that session stands: until the next session.

    A Friday covers Saturday and Sunday too. Raises ValueError when there is no session on `day`.
    """
    session = sessions.on(day)
    if session is None:
        raise ValueError(f"calendar {sessions.name} has no session on {day}")
    following = sessions.current_or_next(session.close_ns).date
    return tuple(day + timedelta(days=n) for n in range((following - day).days))


def on_cash(
    settled: Decimal, *, day: date, sessions: Sessions, debit: Terms = MARGIN_625, credit: Terms = NO_INTEREST
) -> tuple[Accrual, ...]:  # fmt: skip
    """What the settled cash at the end of session `day` accrues until the next: a debit costs, a credit earns.

    Cash that secures short sales is not idle: leave it out of `settled`. Raises LookupError for a day
    before the terms begin.
    """
    if not settled:
        return ()
    kind, terms = (Accrues.MARGIN, debit) if settled < 0 else (Accrues.CASH, credit)
    return tuple(
        Accrual(
            kind=kind, day=each, balance=abs(settled), amount=_per_day(abs(settled), each, terms),
            days_in_year=terms.days_in_year,
        )
        for each in days_covered(day, sessions)
    )  # fmt: skip


def on_short(
    symbol: str, shares: Decimal, mark: int, *, day: date, sessions: Sessions, terms: Terms = BORROW_3
) -> tuple[Accrual, ...]:  # fmt: skip
    """What a settled short position of `shares` (positive) at `mark` (1/10,000 dollar) accrues until the next session.

    Raises LookupError for a day before the terms begin.
    """
    if shares <= 0:
        return ()
    value = lots(shares) * from_ticks(mark)
    return tuple(
        Accrual(
            kind=Accrues.BORROW, day=each, balance=value, amount=_per_day(value, each, terms),
            days_in_year=terms.days_in_year, symbol=symbol, shares=shares,
        )
        for each in days_covered(day, sessions)
    )  # fmt: skip


def lots(shares: Decimal) -> Decimal:
    """Shares rounded up to whole lots."""
    return (shares / LOT).to_integral_value(rounding=ROUND_CEILING) * LOT


def _per_day(balance: Decimal, day: date, terms: Terms) -> Decimal:
    rates = next((line for line in reversed(terms.table) if line.since <= day), None)
    if rates is None:
        raise LookupError(f"{terms.name}: no rate on record before {terms.table[0].since}")
    return _per_year(balance, rates.tiers, graduated=terms.graduated) / terms.days_in_year


def _per_year(balance: Decimal, tiers: tuple[Tier, ...], *, graduated: bool) -> Decimal:
    if not graduated:
        rate = next((t.rate for t in reversed(tiers) if balance > t.above), ZERO)
        return balance * rate
    tops = [t.above for t in tiers[1:]] + [balance]
    parts = ((max(ZERO, min(top, balance) - t.above), t.rate) for t, top in zip(tiers, tops, strict=True))
    return sum((part * rate for part, rate in parts), ZERO)


def post_month(accruals: Iterable[Accrual], *, year: int, month: int) -> tuple[Posting, ...]:
    """The month's postings: one for each kind and symbol, the exact sum rounded half-even to the cent.

    Accruals of other months are left for their own. Raises ValueError when a day would count twice.
    """
    groups: dict[tuple[Accrues, str], list[Accrual]] = {}
    for accrual in accruals:
        if (accrual.day.year, accrual.day.month) == (year, month):
            groups.setdefault((accrual.kind, accrual.symbol), []).append(accrual)
    postings = []
    for (kind, symbol), group in sorted(groups.items()):
        if len({a.day for a in group}) != len(group):
            raise ValueError(f"a day of {kind} {symbol} accrues once")
        amount = to_cents(sum((a.amount for a in group), ZERO))
        if not amount:
            continue
        cash = amount if kind is Accrues.CASH else -amount
        postings.append(
            Posting(
                kind=Kind.FEE if kind is Accrues.BORROW else Kind.INTEREST, symbol=symbol, cash=cash,
                realized=cash, note=_note(kind, symbol, group, f"{date(year, month, 1):%B %Y}"),
            )
        )  # fmt: skip
    return tuple(postings)


def _note(kind: Accrues, symbol: str, group: list[Accrual], month: str) -> str:
    total = sum((a.balance for a in group), ZERO)
    basis = group[0].days_in_year
    rate = sum((a.amount for a in group), ZERO) * basis * 100 / total
    days = f"{len(group)} day{'' if len(group) == 1 else 's'}"
    facts = f"{total / len(group):,.2f} on average over {days}, at {_percent(rate)} % a year of {basis} days"
    if kind is Accrues.MARGIN:
        return f"You bought with money of the broker, who asks interest on the loan. {month}: {facts}."
    if kind is Accrues.CASH:
        return f"Your cash lay idle at the broker, who pays interest on it. {month}: {facts}."
    rounded = sorted({a.shares for a in group if lots(a.shares) != a.shares})
    note = (
        f" Shares are lent in lots of {LOT}, so {rounded[-1]:,f} counted as {lots(rounded[-1]):,f}."
        if rounded
        else ""
    )
    return f"You sold {symbol} that you had to borrow, and the lender asks a fee. {month}: {facts}.{note}"


def _percent(rate: Decimal) -> str:
    """At most four decimals, without trailing zeros."""
    text = f"{rate:.4f}".rstrip("0")
    return text.rstrip(".")
