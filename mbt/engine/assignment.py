"""Before expiration: short options that are assigned early, and options that their holder exercises.

Nobody is on the other side of a paper position, so a rule decides when its holder would exercise: the
evening before a dividend that is worth more than what exercising gives up, and deep in the money where
waiting costs more interest than the option is worth. The rules as prose: docs/rules/assignment.md.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256

import msgspec

from mbt.engine.account import ZERO, Position, Posting, post
from mbt.engine.corporate import CashDividend, adjusts_options
from mbt.engine.expiry import Fate, Outcome, deliver
from mbt.engine.means import EMPTY, Book, Means, Prices, in_the_money, require_prices, shortfall
from raxx.kernel.clock import EXCHANGE_ZONE, from_ns
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import from_ticks, to_cents
from raxx.market.contracts import Right
from raxx.market.listing import ExerciseStyle, OptionTerms


class CannotExercise(RaxxError):
    """The position cannot be exercised as asked. The message says what could be."""

    code = "CANNOT_EXERCISE"
    http_status = 422


class Mode(StrEnum):
    OFF = "off"  # nobody exercises early
    RATIONAL = "rational"  # whoever should, does: all contracts at once
    RANDOM = "random"  # most who should, do, and now and then somebody who should not


class AssignmentRules(msgspec.Struct, frozen=True, kw_only=True):
    """When holders exercise early. `deep`: how far a put must be in the money, as a part of its strike. In
    random mode a contract that should be exercised is with chance `likely`, another one in the money with
    chance `stray` each evening."""

    effective: date
    mode: Mode = Mode.RATIONAL
    deep: Decimal = Decimal("0.05")
    likely: Decimal = Decimal("0.85")
    stray: Decimal = Decimal("0.001")


# Newest last.
ASSIGNMENT_RULES = (AssignmentRules(effective=date.min),)


class Early(msgspec.Struct, frozen=True):
    """What early exercise does to one account in one evening."""

    outcomes: tuple[Outcome, ...]
    postings: tuple[Posting, ...]


class DividendRisk(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Short calls worth exercising for a dividend. `extrinsic` and `dividend` in dollars per contract."""

    symbol: str
    qty: Decimal
    ex_date: date
    extrinsic: Decimal
    dividend: Decimal


def dividend_risks(
    book: Book, *, terms: Mapping[str, OptionTerms], marks: Prices, mids: Prices,
    dividends: Iterable[CashDividend], day: date,
) -> tuple[DividendRisk, ...]:  # fmt: skip
    """Short calls that will be assigned before an ex-date after `day`, if quotes stay as they are.

    `marks` of the underlyings and `mids` of the options in 1/10,000 dollar. A contract without a mid is
    left out: there is nothing to weigh the dividend against. Only dividends that leave strikes alone count.
    """
    ahead = sorted(
        (d for d in dividends if d.ex_date > day and not adjusts_options(d)), key=lambda d: (d.ex_date, d.symbol)
    )  # fmt: skip
    found: list[DividendRisk] = []
    for symbol, contract in _short_in_the_money(book, terms, marks):
        if contract.right is not Right.CALL or not mids.get(symbol):
            continue
        extrinsic = _extrinsic(contract, marks, mids[symbol])
        for event in ahead:
            dividend = contract.deliverable.of(event.symbol) * event.amount
            if event.ex_date <= contract.last_session.date and extrinsic < dividend:
                found.append(
                    DividendRisk(
                        symbol=symbol, qty=book[symbol].qty, ex_date=event.ex_date,
                        extrinsic=extrinsic, dividend=dividend,
                    )
                )  # fmt: skip
                break
    return tuple(found)


def early_assignments(
    book: Book, *, terms: Mapping[str, OptionTerms], marks: Prices, mids: Prices,
    dividends: Iterable[CashDividend], rate: Decimal, evening: date, next_session: date,
    account: str = "", seed: int = 0, rules: Iterable[AssignmentRules] = ASSIGNMENT_RULES,
) -> Early:  # fmt: skip
    """The short contracts of an account that are assigned in the evening of the session `evening`.

    `rate`: yearly interest, as a fraction. `account` and `seed` are for random mode, which draws from nothing
    else but them, the contract and the day. What expires this evening is not this rule's business.
    Source: docs/rules/assignment.md.
    """
    setting = [rule for rule in rules if rule.effective <= evening][-1]
    if setting.mode is Mode.OFF:
        return Early((), ())
    tomorrow = [event for event in dividends if event.ex_date == next_session]
    risks = dividend_risks(book, terms=terms, marks=marks, mids=mids, dividends=tomorrow, day=evening)
    for_dividend = {risk.symbol: risk for risk in risks}
    outcomes: list[Outcome] = []
    running: dict[str, Position] = dict(book)
    postings: list[Posting] = []
    for symbol, contract in _short_in_the_money(book, terms, marks):
        if contract.last_session.date <= evening:
            continue
        why = _why(contract, for_dividend.get(symbol), marks, mids.get(symbol, 0), rate, evening, setting)
        held = abs(book[symbol].qty)
        count = _count(held, bool(why), setting, f"{seed}|{account}|{symbol}|{evening}")
        if not count:
            continue
        reason = f"assigned early: {why or 'its holder exercised, for reasons of their own'}"
        outcome = _outcome(contract, -count, Fate.ASSIGNED, marks, reason)
        outcomes.append(outcome)
        for posting in deliver(contract, -count, book=running, prices=marks, note=reason):
            running[posting.symbol] = post(running.get(posting.symbol, EMPTY), posting)
            postings.append(posting)
    return Early(tuple(outcomes), tuple(postings))


def exercise(
    symbol: str, qty: Decimal, *, book: Book, terms: Mapping[str, OptionTerms], prices: Prices, means: Means,
    now_ns: int,
) -> Early:  # fmt: skip
    """Exercise `qty` long contracts now, because their holder asks for it. Raises CannotExercise, NoSettlementPrice.

    `prices`: of the underlyings, in 1/10,000 dollar. `means`: with nothing but these contracts gone.
    """
    held = book.get(symbol, EMPTY).qty
    contract = terms.get(symbol)
    if contract is None or held <= 0:
        raise _cannot(
            symbol, "only a long option is exercised", qty, "Name an option that the account holds."
        )
    if qty <= 0 or qty != qty.to_integral_value() or qty > held:
        rule = "a whole number of the contracts held"
        raise _cannot(symbol, rule, qty, f"Ask for 1 to {held.normalize():f}.")
    if now_ns >= contract.expires_ns:
        raise _cannot(symbol, "an option can be exercised until it expires", qty, "It has been settled.")
    if contract.style is ExerciseStyle.EUROPEAN:
        remedy = (
            f"It is exercised by itself on {_day(contract.expires_ns)} if it is in the money; or sell it."
        )
        raise _cannot(symbol, "a European option is exercised at expiration only", qty, remedy)
    require_prices([contract], prices)
    missing = shortfall({symbol: qty}, book=book, terms=terms, prices=prices, means=means)
    if missing:
        most = _most(symbol, qty, book, terms, prices, means)
        remedy = f"{most} can be exercised." if most else "Sell it instead."
        rule = f"exercising must be paid for or delivered in full, and ${missing:,.2f} is missing"
        raise _cannot(symbol, rule, qty, remedy)
    reason = "exercised on request of its holder"
    outcome = _outcome(contract, qty, Fate.EXERCISED, prices, reason)
    return Early((outcome,), deliver(contract, qty, book=book, prices=prices, note=reason))


def draw(key: str, number: int) -> Decimal:
    """A number in [0, 1) that depends on nothing but `key` and `number`: the same on every machine, always."""
    digest = sha256(f"{key}|{number}".encode()).digest()
    return Decimal(int.from_bytes(digest[:8])) / 2**64


def _short_in_the_money(
    book: Book, terms: Mapping[str, OptionTerms], marks: Prices
) -> list[tuple[str, OptionTerms]]:
    return [
        (symbol, terms[symbol])
        for symbol in sorted(book)
        if symbol in terms
        and book[symbol].qty < 0
        and terms[symbol].style is ExerciseStyle.AMERICAN
        and terms[symbol].is_physical
        and in_the_money(terms[symbol], marks)
    ]


def _extrinsic(contract: OptionTerms, marks: Prices, mid: int) -> Decimal:
    """What exercising gives up, in dollars per contract. A mid below intrinsic value is noise, not a loss."""
    return max(ZERO, from_ticks(mid) * contract.multiplier - contract.intrinsic(marks))


def _why(
    contract: OptionTerms, risk: DividendRisk | None, marks: Prices, mid: int, rate: Decimal, evening: date,
    rules: AssignmentRules,
) -> str:  # fmt: skip
    """Why a rational holder exercises this evening; empty when they do not."""
    if risk is not None:
        return (
            f"the dividend of {risk.dividend:.2f} per contract, ex {risk.ex_date}, is worth more than the "
            f"{risk.extrinsic:.2f} that exercising gives up"
        )
    if contract.right is not Right.PUT or not mid:
        return ""
    if contract.intrinsic(marks) < rules.deep * contract.exercise_cost:
        return ""
    days = (contract.last_session.date - evening).days
    interest = contract.exercise_cost * rate * days / 365
    extrinsic = _extrinsic(contract, marks, mid)
    if extrinsic >= interest:
        return ""
    return (
        f"{interest:.2f} of interest per contract in {days} days is worth more than the {extrinsic:.2f} that "
        "exercising gives up"
    )


def _count(held: Decimal, rational: bool, rules: AssignmentRules, key: str) -> Decimal:
    """How many of `held` contracts are assigned."""
    if rules.mode is Mode.RATIONAL:
        return held if rational else ZERO
    chance = rules.likely if rational else rules.stray
    return Decimal(sum(draw(key, number) < chance for number in range(int(held))))


def _most(
    symbol: str, qty: Decimal, book: Book, terms: Mapping[str, OptionTerms], prices: Prices, means: Means
) -> int:
    """The largest number, up to `qty`, that can be exercised."""

    def missing(count: int) -> Decimal:
        return shortfall({symbol: Decimal(count)}, book=book, terms=terms, prices=prices, means=means)

    return next((count for count in range(int(qty), 0, -1) if not missing(count)), 0)


def _outcome(contract: OptionTerms, qty: Decimal, fate: Fate, prices: Prices, reason: str) -> Outcome:
    each = max(ZERO, contract.intrinsic(prices))
    return Outcome(
        symbol=contract.symbol, qty=qty, fate=fate, price=prices.get(contract.underlying, 0),
        amount=to_cents(qty * each), reason=reason,
    )  # fmt: skip


def _cannot(symbol: str, rule: str, qty: Decimal, remedy: str) -> CannotExercise:
    return CannotExercise(
        f"{symbol} cannot be exercised: {rule}. {remedy}",
        field="qty", rule=rule, value=f"{qty.normalize():f}", remedy=remedy,
    )  # fmt: skip


def _day(at_ns: int) -> date:
    return from_ns(at_ns).astimezone(EXCHANGE_ZONE).date()
