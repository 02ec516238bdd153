"""What expiration does to an account: every contract's fate, decided in one step on one price per underlying.

The rules as prose: docs/rules/expiration.md. Contracts are decided first, together, because whether an
exercise can be paid for depends on all that is exercised and assigned with it; then postings are made.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from mbt.engine.account import ZERO, Kind, Posting, post, trade
from mbt.engine.means import (
    EMPTY,
    NO_STRAIN,
    Book,
    Line,
    Means,
    Prices,
    Strain,
    effect,
    in_the_money,
    kind_of,
    net,
    require_prices,
    strain,
)
from raxx.kernel.money import TICKS_PER_DOLLAR, show_price, to_cents
from raxx.market.listing import OptionTerms


class Fate(StrEnum):
    """What became of contracts at expiration, or of a short one before."""

    WORTHLESS = "worthless"
    EXERCISED = "exercised"
    ASSIGNED = "assigned"
    CASH_SETTLED = "cash_settled"
    NOT_EXERCISED_INSTRUCTED = "not_exercised.instructed"
    NOT_EXERCISED_UNAFFORDABLE = "not_exercised.unaffordable"


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`qty` contracts, signed as they were held, met one fate.

    `price`: the official price of the underlying in 1/10,000 dollar, 0 when only cash is delivered.
    `amount`: dollars by which all these contracts were in the money for the account, negative when against
    it. `reason`: one sentence.
    """

    symbol: str
    qty: Decimal
    fate: Fate
    price: int
    amount: Decimal
    reason: str


class Expiration(msgspec.Struct, frozen=True):
    """All that one expiration does to one account. `deficit`: dollars by which it falls short afterwards,
    because assignment cannot be refused; 0 as a rule."""

    outcomes: tuple[Outcome, ...]
    postings: tuple[Posting, ...]
    deficit: Decimal


class Instructions(msgspec.Struct, frozen=True):
    """What the holder has asked for: contracts by symbol. `exercise` matters only at or out of the money."""

    do_not_exercise: Mapping[str, Decimal] = {}
    exercise: Mapping[str, Decimal] = {}


NO_INSTRUCTIONS = Instructions()


def expire(
    book: Book, *, terms: Mapping[str, OptionTerms], prices: Prices, means: Means, at_ns: int,
    instructions: Instructions = NO_INSTRUCTIONS,
) -> Expiration:  # fmt: skip
    """Settle every contract of an account whose `expires_ns` has come by `at_ns`, all in one step.

    `book`: positions by symbol, stock included. `terms`: of every option in it. `prices`: one official price
    per underlying, in 1/10,000 dollar, for all legs. Raises NoSettlementPrice.
    Source: docs/rules/expiration.md; OCC Rule 805 (exercise by exception).
    """
    expiring = [
        terms[symbol]
        for symbol in sorted(book)
        if book[symbol].qty and symbol in terms and terms[symbol].expires_ns <= at_ns
    ]
    require_prices(expiring, prices)
    wanted: dict[str, Line] = {}
    for contract in expiring:
        qty = book[contract.symbol].qty
        taken = _exercised(contract, qty, prices, instructions)
        if taken:
            wanted[contract.symbol] = Line(contract, taken)
    dropped = _unaffordable(wanted, book, prices, means)
    parts: list[_Part] = []
    for contract in expiring:
        parts.extend(_parts(contract, book[contract.symbol].qty, wanted, dropped, prices, instructions))
    kept = [Line(line.terms, line.qty - dropped.get(symbol, _NOTHING).qty) for symbol, line in wanted.items()]
    change, _ = effect(kept, book, prices, means)
    return Expiration(
        outcomes=tuple(part.outcome for part in parts),
        postings=_postings(parts, book, prices),
        deficit=max(ZERO, -(means.excess + change)),
    )


class _Forgone(msgspec.Struct, frozen=True):
    """Contracts in the money that are not exercised, and why."""

    qty: Decimal
    why: str


_NOTHING = _Forgone(ZERO, "")


class _Part(msgspec.Struct, frozen=True):
    terms: OptionTerms
    outcome: Outcome


_TAKEN = frozenset({Fate.EXERCISED, Fate.ASSIGNED, Fate.CASH_SETTLED})


def _exercised(terms: OptionTerms, qty: Decimal, prices: Prices, instructions: Instructions) -> Decimal:
    """How many of `qty` contracts would be exercised or assigned, if it cost nothing. Signed."""
    if qty < 0:
        return qty if in_the_money(terms, prices) else ZERO
    if in_the_money(terms, prices):
        return max(ZERO, qty - instructions.do_not_exercise.get(terms.symbol, ZERO))
    return min(qty, instructions.exercise.get(terms.symbol, ZERO))


def _unaffordable(
    wanted: Mapping[str, Line], book: Book, prices: Prices, means: Means
) -> dict[str, _Forgone]:
    """Contracts, by symbol, that are better not exercised.

    The cheapest to forgo go first, no more than must. A long that offsets an assigned short of the same
    kind is never forgone: that would turn a spread into a naked short at its worst moment.
    """
    lines = dict(wanted)
    dropped: dict[str, _Forgone] = {}

    def strain_without(symbol: str, count: int) -> Strain:
        line = lines[symbol]
        reduced = {**lines, symbol: Line(line.terms, line.qty - count)}
        return strain(reduced.values(), book, prices, means)

    while (missing := strain(lines.values(), book, prices, means)) > NO_STRAIN:
        spare = net(lines.values())
        candidates = {
            symbol: int(min(line.qty, max(ZERO, spare[kind_of(line.terms)])))
            for symbol, line in lines.items()
            if line.terms.is_physical and line.qty > 0
        }
        helpful = [s for s, most in candidates.items() if most and strain_without(s, 1) < missing]
        if not helpful:
            break
        symbol = min(helpful, key=lambda s: (lines[s].terms.intrinsic(prices), s))
        # The strain is convex: it falls, then stops falling. The first number after which it no longer does.
        count = 1 + bisect_left(
            range(1, candidates[symbol]),
            True,
            key=lambda n: strain_without(symbol, n + 1) >= strain_without(symbol, n),
        )
        why = (
            f"it would sell shares worth ${missing[0]:,.2f} that the account does not have free" if missing[0]
            else f"the account would be ${missing[1]:,.2f} short of paying for it"
        )  # fmt: skip
        lines[symbol] = Line(lines[symbol].terms, lines[symbol].qty - count)
        dropped[symbol] = _Forgone(dropped.get(symbol, _NOTHING).qty + count, why)
    return dropped


def _parts(
    terms: OptionTerms, qty: Decimal, wanted: Mapping[str, Line], dropped: Mapping[str, _Forgone],
    prices: Prices, instructions: Instructions,
) -> list[_Part]:  # fmt: skip
    """The position in one contract, divided by fate."""
    asked = wanted[terms.symbol].qty if terms.symbol in wanted else ZERO
    forgone = dropped.get(terms.symbol, _NOTHING)
    each = terms.intrinsic(prices)
    price = prices.get(terms.underlying, 0)
    depth = _depth(each, terms)
    where = f"{depth} at the official price of {show_price(price)}" if price else depth
    fates: list[tuple[Fate, Decimal, str]] = []
    if not terms.is_physical:
        paid = f"{where}: settled in cash for ${abs(asked * each):,.2f}"
        fates.append((Fate.CASH_SETTLED, asked, paid))
    elif asked > 0:
        by = "" if in_the_money(terms, prices) else ", exercised as instructed"
        fates.append((Fate.EXERCISED, asked - forgone.qty, f"{where}{by or ': exercised'}"))
        unpaid = f"{where}, not exercised: {forgone.why}"
        fates.append((Fate.NOT_EXERCISED_UNAFFORDABLE, forgone.qty, unpaid))
    else:
        fates.append((Fate.ASSIGNED, asked, f"{where}: assigned"))
    rest = qty - asked
    if rest and in_the_money(terms, prices):
        fates.append((Fate.NOT_EXERCISED_INSTRUCTED, rest, f"{where}, not exercised as instructed"))
    else:
        fates.append((Fate.WORTHLESS, rest, f"{where}: expired worthless"))
    return [
        _Part(
            terms,
            Outcome(
                symbol=terms.symbol, qty=count, fate=fate, price=price, amount=to_cents(count * max(ZERO, each)),
                reason=reason,
            ),
        )
        for fate, count, reason in fates
        if count
    ]  # fmt: skip


def _depth(each: Decimal, terms: OptionTerms) -> str:
    """`8.40 in the money`, per share."""
    ticks = int(abs(each) * TICKS_PER_DOLLAR / terms.multiplier)
    if not ticks:
        return "at the money"
    return f"{show_price(ticks)} {'in' if each > 0 else 'out of'} the money"


def _postings(parts: Sequence[_Part], book: Book, prices: Prices) -> tuple[Posting, ...]:
    """Shares come in before they go out, so that no leg makes the account short in passing."""
    running = dict(book)
    postings: list[Posting] = []
    for part in sorted(parts, key=_turn):
        outcome = part.outcome
        if outcome.fate in _TAKEN:
            made = deliver(part.terms, outcome.qty, book=running, prices=prices, note=outcome.reason)
        else:
            before = running[outcome.symbol]
            made = (
                trade(
                    before, symbol=outcome.symbol, qty=-outcome.qty, cash=ZERO, kind=Kind.EXPIRATION,
                    note=outcome.reason,
                ),
            )  # fmt: skip
        for posting in made:
            running[posting.symbol] = post(running.get(posting.symbol, EMPTY), posting)
        postings.extend(made)
    return tuple(postings)


def _turn(part: _Part) -> tuple[int, str]:
    if part.outcome.fate not in _TAKEN:
        return 2, part.outcome.symbol
    return (0 if Line(part.terms, part.outcome.qty).sign > 0 else 1), part.outcome.symbol


def deliver(
    terms: OptionTerms, qty: Decimal, *, book: Book, prices: Prices, note: str = ""
) -> tuple[Posting, ...]:
    """The postings of `qty` contracts, exercised (positive) or assigned (negative), at any time.

    The option leaves with its cost, and the cost goes where the shares go: they cost the exercise price and
    the premium, or bring the exercise price less the premium. So the option itself realizes nothing. Over
    the postings cash + cost = realized. Where nothing but cash is delivered, the difference is paid.
    """
    kind = Kind.EXERCISE if qty > 0 else Kind.ASSIGNMENT
    position = book[terms.symbol]
    shares = terms.deliverable.shares
    if not terms.is_physical or not shares:
        each = terms.intrinsic(prices)
        price = int(max(ZERO, each) * TICKS_PER_DOLLAR / terms.multiplier)
        cash = to_cents(qty * each)
        return (trade(position, symbol=terms.symbol, qty=-qty, cash=cash, price=price, kind=kind, note=note),)
    closed = trade(position, symbol=terms.symbol, qty=-qty, cash=ZERO)
    postings = [Posting(kind=kind, symbol=terms.symbol, qty=-qty, cost=closed.cost, note=note)]
    count = Line(terms, qty).sign * abs(qty)
    cash_parts = _split(count * (terms.deliverable.cash - terms.exercise_cost), shares, prices)
    cost_parts = _split(-closed.cost, shares, prices)
    for (symbol, each), cash, carried in zip(shares, cash_parts, cost_parts, strict=True):
        before = book.get(symbol, EMPTY)
        traded = trade(
            before, symbol=symbol, qty=count * each, cash=cash - carried, price=terms.strike, kind=kind, note=note
        )  # fmt: skip
        postings.append(msgspec.structs.replace(traded, cash=cash))
    return tuple(postings)


def _split(amount: Decimal, shares: Sequence[tuple[str, Decimal]], prices: Prices) -> list[Decimal]:
    """Dollars divided among what is delivered, by its value; the last takes what rounding leaves."""
    parts: list[Decimal] = []
    left = to_cents(amount)
    values = [qty * prices[symbol] for symbol, qty in shares] if len(shares) > 1 else []
    for value in values[:-1]:
        parts.append(to_cents(amount * value / sum(values)))
        left -= parts[-1]
    return [*parts, left]
