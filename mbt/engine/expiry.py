"""What expiration does to an account: every contract's fate, decided in one step on one price per underlying.

The rules as prose: docs/rules/expiration.md. Contracts are decided first, together, because whether an
exercise can be paid for depends on all that is exercised and assigned with it; then postings are made.
What an account could not pay for is found before the close, and closed as the structure that it is.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from math import gcd

import msgspec

from mbt.engine.account import ZERO, Kind, Position, Posting, post, trade
from mbt.engine.orders import Leg, Side
from raxx.kernel.clock import SECOND_NS
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import CENT, TICKS_PER_DOLLAR, from_ticks, show_price, to_cents
from raxx.market.contracts import Right
from raxx.market.listing import Deliverable, OptionTerms, SettlementTime
from raxx.market.sessions import Hours

Book = Mapping[str, Position]
Prices = Mapping[str, int]
EMPTY = Position()


class NoSettlementPrice(RaxxError):
    """Contracts expire and the price of what they deliver is missing: nothing is decided."""

    code = "NO_SETTLEMENT_PRICE"


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


class Means(msgspec.Struct, frozen=True):
    """What an account has for exercise and assignment.

    `excess`: dollars that are free once the expiring contracts, and what is reserved for them, are gone: in
    a cash account its free cash, in a margin account equity less the requirements of the rest. `long_rate`:
    the part of bought shares that must be the account's own money (1 in a cash account, 0.5 under Reg T).
    `short_rate`: the deposit on shares sold short, None where an account may not be short. `pledged`: shares that
    short calls stand on which stay, where the account may hold no naked call: an exercise must not deliver them.
    """

    excess: Decimal
    long_rate: Decimal = Decimal(1)
    short_rate: Decimal | None = None
    pledged: Mapping[str, Decimal] = {}

    def lacking(self, symbol: str, held: Decimal) -> Decimal:
        """How many shares too few it is to hold so many."""
        if self.short_rate is not None and symbol not in self.pledged:
            return ZERO
        return max(ZERO, self.pledged.get(symbol, ZERO) - held)

    def backing(self, qty: Decimal, price: int) -> Decimal:
        """What `qty` shares add to the excess (short ones take away), beside the cash they cost or brought."""
        rate = 1 - self.long_rate if qty >= 0 else 1 + (self.short_rate or ZERO)
        return qty * from_ticks(price) * rate


class RiskRules(msgspec.Struct, frozen=True):
    """The broker's precautions on expiration day, in seconds before the regular close: when it takes no more
    opening orders in what expires, when it closes what the account could not pay for; [0] classes that trade
    to the regular close, [1] those that trade a quarter of an hour longer. `pin`: how near to the strike,
    as a part of it, counts as undecided."""

    effective: date
    no_opening_s: tuple[int, int]
    close_s: tuple[int, int]
    pin: Decimal


# Newest last.
RISK_RULES = (
    RiskRules(date.min, no_opening_s=(45 * 60, 30 * 60), close_s=(30 * 60, 15 * 60), pin=Decimal("0.005")),
)


def risk_rules(day: date, rules: Sequence[RiskRules] = RISK_RULES) -> RiskRules:
    """The precautions in force on `day`."""
    return next(rule for rule in reversed(rules) if rule.effective <= day)


def no_opening_ns(terms: OptionTerms, rules: Sequence[RiskRules] = RISK_RULES) -> int:
    """From this instant on no order may open a position in the contract."""
    seconds = risk_rules(terms.last_session.date, rules).no_opening_s[terms.hours is Hours.LATE]
    return terms.last_session.close_ns - seconds * SECOND_NS


def risk_close_ns(terms: OptionTerms, rules: Sequence[RiskRules] = RISK_RULES) -> int:
    """From this instant on the contract is closed where its account could not pay for it."""
    seconds = risk_rules(terms.last_session.date, rules).close_s[terms.hours is Hours.LATE]
    return terms.last_session.close_ns - seconds * SECOND_NS


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
    wanted: dict[str, _Line] = {}
    for contract in expiring:
        qty = book[contract.symbol].qty
        taken = _exercised(contract, qty, prices, instructions)
        if taken:
            wanted[contract.symbol] = _Line(contract, taken)
    dropped = _unaffordable(wanted, book, prices, means)
    parts: list[_Part] = []
    for contract in expiring:
        parts.extend(_parts(contract, book[contract.symbol].qty, wanted, dropped, prices, instructions))
    kept = [
        _Line(line.terms, line.qty - dropped.get(symbol, _NOTHING).qty) for symbol, line in wanted.items()
    ]
    change, _ = _effect(kept, book, prices, means)
    return Expiration(
        outcomes=tuple(part.outcome for part in parts),
        postings=_postings(parts, book, prices),
        deficit=max(ZERO, -(means.excess + change)),
    )


class _Line(msgspec.Struct, frozen=True):
    """`qty` contracts that are exercised (positive) or assigned (negative)."""

    terms: OptionTerms
    qty: Decimal

    @property
    def sign(self) -> int:
        """1 when shares come in: a call exercised, a put assigned."""
        return 1 if (self.terms.right is Right.CALL) is (self.qty > 0) else -1


class _Forgone(msgspec.Struct, frozen=True):
    """Contracts in the money that are not exercised, and why."""

    qty: Decimal
    why: str


_NOTHING = _Forgone(ZERO, "")


class _Part(msgspec.Struct, frozen=True):
    terms: OptionTerms
    outcome: Outcome


_TAKEN = frozenset({Fate.EXERCISED, Fate.ASSIGNED, Fate.CASH_SETTLED})


def in_the_money(terms: OptionTerms, prices: Prices) -> bool:
    """Whether exercise by exception takes the contract: by at least a cent a share."""
    return terms.intrinsic(prices) >= CENT * terms.multiplier


def _exercised(terms: OptionTerms, qty: Decimal, prices: Prices, instructions: Instructions) -> Decimal:
    """How many of `qty` contracts would be exercised or assigned, if it cost nothing. Signed."""
    if qty < 0:
        return qty if in_the_money(terms, prices) else ZERO
    if in_the_money(terms, prices):
        return max(ZERO, qty - instructions.do_not_exercise.get(terms.symbol, ZERO))
    return min(qty, instructions.exercise.get(terms.symbol, ZERO))


def _effect(lines: Iterable[_Line], book: Book, prices: Prices, means: Means) -> tuple[Decimal, Decimal]:
    """What carrying out `lines` together does: the change of the excess, and the dollar value of shares
    that the account would lack although it may not."""
    cash = ZERO
    shares: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for line in lines:
        terms = line.terms
        if not terms.is_physical:
            cash += line.qty * terms.intrinsic(prices)
            continue
        count = line.sign * abs(line.qty)
        cash += count * (terms.deliverable.cash - terms.exercise_cost)
        for symbol, qty in terms.deliverable.shares:
            shares[symbol] += count * qty
    change, forbidden = cash, ZERO
    for symbol, moved in shares.items():
        held = book.get(symbol, EMPTY).qty
        change += means.backing(held + moved, prices[symbol]) - means.backing(held, prices[symbol])
        lacking = means.lacking(symbol, held + moved) - means.lacking(symbol, held)
        forbidden += lacking * from_ticks(prices[symbol])
    return change, max(ZERO, forbidden)


# What an account lacks: the value of shares that it may not be short, then dollars. The first counts first:
# money cannot replace shares.
_Strain = tuple[Decimal, Decimal]
_NO_STRAIN: _Strain = (ZERO, ZERO)


def _strain(lines: Iterable[_Line], book: Book, prices: Prices, means: Means) -> _Strain:
    """What the account lacks to carry out `lines`. Both parts are convex in each quantity."""
    change, forbidden = _effect(lines, book, prices, means)
    return forbidden, max(ZERO, -(means.excess + change))


def shortfall(
    contracts: Mapping[str, Decimal], *, book: Book, terms: Mapping[str, OptionTerms], prices: Prices, means: Means
) -> Decimal:  # fmt: skip
    """Dollars, or the value of shares, that the account lacks for exercising (positive) and being assigned
    (negative) all of `contracts` together; 0 when it can."""
    lines = (_Line(terms[symbol], qty) for symbol, qty in contracts.items())
    return sum(_strain(lines, book, prices, means), ZERO)


def _unaffordable(
    wanted: Mapping[str, _Line], book: Book, prices: Prices, means: Means
) -> dict[str, _Forgone]:
    """Contracts, by symbol, that are better not exercised.

    The cheapest to forgo go first, no more than must. A long that offsets an assigned short of the same
    kind is never forgone: that would turn a spread into a naked short at its worst moment.
    """
    lines = dict(wanted)
    dropped: dict[str, _Forgone] = {}

    def strain_without(symbol: str, count: int) -> _Strain:
        line = lines[symbol]
        reduced = {**lines, symbol: _Line(line.terms, line.qty - count)}
        return _strain(reduced.values(), book, prices, means)

    while (missing := _strain(lines.values(), book, prices, means)) > _NO_STRAIN:
        spare = _net(lines.values())
        candidates = {
            symbol: int(min(line.qty, max(ZERO, spare[_kind_of(line.terms)])))
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
        lines[symbol] = _Line(lines[symbol].terms, lines[symbol].qty - count)
        dropped[symbol] = _Forgone(dropped.get(symbol, _NOTHING).qty + count, why)
    return dropped


def _kind_of(terms: OptionTerms) -> tuple[Deliverable, Right]:
    return terms.deliverable, terms.right


def _net(lines: Iterable[_Line]) -> Mapping[tuple[Deliverable, Right], Decimal]:
    """Exercised less assigned contracts, by what they deliver and right: what does not offset itself."""
    net: dict[tuple[Deliverable, Right], Decimal] = defaultdict(lambda: ZERO)
    for line in lines:
        net[_kind_of(line.terms)] += line.qty
    return net


def _parts(
    terms: OptionTerms, qty: Decimal, wanted: Mapping[str, _Line], dropped: Mapping[str, _Forgone],
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
    return (0 if _Line(part.terms, part.outcome.qty).sign > 0 else 1), part.outcome.symbol


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
    count = _Line(terms, qty).sign * abs(qty)
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


def require_prices(expiring: Iterable[OptionTerms], prices: Prices) -> None:
    """Raises NoSettlementPrice when a price is missing that decides about one of these."""
    for terms in expiring:
        needed = (
            [symbol for symbol, _ in terms.deliverable.shares] if terms.is_physical else [terms.underlying]
        )
        missing = [symbol for symbol in needed if not prices.get(symbol)]
        if missing:
            raise NoSettlementPrice(
                f"{terms.symbol} expires and {missing[0]} has no price. Nothing was decided.",
                field="prices", rule="every underlying of what expires has one price", value=missing[0],
                remedy="Try again when the price is there.",
            )  # fmt: skip


class PinRisk(msgspec.Struct, frozen=True, gc=False):
    """Contracts that expire undecided: the mark is within `distance` (a part of the strike) of it."""

    symbol: str
    qty: Decimal
    mark: int
    distance: Decimal


def pin_risks(
    book: Book, *, terms: Mapping[str, OptionTerms], marks: Prices, day: date,
    rules: Sequence[RiskRules] = RISK_RULES,
) -> tuple[PinRisk, ...]:  # fmt: skip
    """Positions that expire on `day` and are too near their strike to know how. Marks in 1/10,000 dollar."""
    pin = risk_rules(day, rules).pin
    found = []
    for symbol in sorted(book):
        contract = terms.get(symbol)
        if contract is None or not book[symbol].qty or contract.last_session.date != day:
            continue
        distance = abs(contract.intrinsic(marks)) / contract.exercise_cost
        if distance <= pin:
            found.append(PinRisk(symbol, book[symbol].qty, marks.get(contract.underlying, 0), distance))
    return tuple(found)


class Structure(msgspec.Struct, frozen=True):
    """Option legs that belong together: contracts by symbol, signed as held."""

    name: str
    legs: tuple[tuple[str, Decimal], ...]


class CloseIntent(msgspec.Struct, frozen=True, kw_only=True):
    """A structure to be closed as one package: `qty` times `legs`, whole or not at all. `reason`: a sentence."""

    name: str
    legs: tuple[Leg, ...]
    qty: Decimal
    reason: str

    @property
    def trades(self) -> tuple[tuple[str, Decimal], ...]:
        """What it trades in all: contracts by symbol, negative when sold."""
        return tuple(
            (leg.symbol, self.qty * leg.ratio * (1 if leg.side is Side.BUY else -1)) for leg in self.legs
        )


def structures(
    book: Book, *, terms: Mapping[str, OptionTerms], declared: Iterable[Structure] = ()
) -> tuple[Structure, ...]:
    """The option positions of a book as structures, every contract in exactly one.

    Those declared (opened as one) stand as far as the book still holds all their legs. Of the rest a short
    goes with a long of the same right and deliverable that lives at least as long: the one that expires
    first, and of those the nearest strike. What is left stands alone.
    """
    left = {symbol: book[symbol].qty for symbol in sorted(book) if symbol in terms and book[symbol].qty}
    found: list[Structure] = []
    for structure in declared:
        if all(_holds(left.get(symbol, ZERO), qty) for symbol, qty in structure.legs):
            found.append(structure)
            for symbol, qty in structure.legs:
                left[symbol] -= qty
    for short in sorted((s for s, qty in left.items() if qty < 0), key=lambda s: (terms[s].expires_ns, s)):
        for long in sorted(
            (s for s, qty in left.items() if qty > 0), key=lambda s: _cover_key(terms, short, s)
        ):
            count = min(-left[short], left[long])
            if count > 0 and _covers(terms[long], terms[short]):
                found.append(Structure("spread", ((short, -count), (long, count))))
                left[short] += count
                left[long] -= count
    found.extend(Structure("single", ((symbol, qty),)) for symbol, qty in left.items() if qty)
    return tuple(found)


def _holds(held: Decimal, qty: Decimal) -> bool:
    return held * qty > 0 and abs(held) >= abs(qty)


def _covers(long: OptionTerms, short: OptionTerms) -> bool:
    return _kind_of(long) == _kind_of(short) and long.expires_ns >= short.expires_ns and (
        long.underlying == short.underlying
    )  # fmt: skip


def _cover_key(terms: Mapping[str, OptionTerms], short: str, long: str) -> tuple[int, int, str]:
    return terms[long].expires_ns, abs(terms[long].strike - terms[short].strike), long


def risk_close(
    book: Book, *, terms: Mapping[str, OptionTerms], marks: Prices, means: Means, now_ns: int,
    declared: Iterable[Structure] = (), instructions: Instructions = NO_INSTRUCTIONS,
    rules: Sequence[RiskRules] = RISK_RULES,
) -> tuple[CloseIntent, ...]:  # fmt: skip
    """The structures that must be closed now because the account could not pay for their expiration.

    `marks`: underlyings now, in 1/10,000 dollar. What is in the money at the mark must be affordable;
    within the pin band around it, what could be assigned. Structures go whole, the one that helps most
    first, until what stays can be paid for. Shares stay. Source: docs/rules/expiration.md#risk-close.
    """
    due = {
        symbol: contract
        for symbol, contract in terms.items()
        if symbol in book
        and contract.settles is SettlementTime.PM
        and risk_close_ns(contract, rules) <= now_ns < contract.last_trade_ns
    }
    if not due:
        return ()
    day = next(iter(due.values())).last_session.date
    require_prices(due.values(), marks)
    scenarios = _scenarios(due, marks, risk_rules(day, rules).pin)
    danger = _Danger(book, due, scenarios, means, instructions.do_not_exercise)
    opened = [
        s for s in structures(book, terms=terms, declared=declared) if any(leg in due for leg, _ in s.legs)
    ]
    values = [_value(structure, terms, marks) for structure in opened]

    def exposed(closed: Sequence[int]) -> _Exposure:
        """What is left of the danger when these have been closed, at what their legs are worth at the mark."""
        stays = [structure for n, structure in enumerate(opened) if n not in closed]
        return danger.of(stays, means.excess + sum(values[n] for n in closed))

    closed = _closings(len(opened), lambda tried: exposed(tried).strain)
    return tuple(_intent(opened[n], terms, exposed(closed[:place])) for place, n in enumerate(closed))


def _closings(count: int, strain: Callable[[Sequence[int]], _Strain]) -> list[int]:
    """Which of `count` structures to close so that the strain is gone, or as small as it gets: none but those.

    In the order of how much each would help by itself, as far as it takes; then back again, giving up every
    closing without which the rest does as well. The way on and back matters: two may offset each other, so
    that closing either makes things worse and closing both makes them better.
    """
    least = strain([])
    if least == _NO_STRAIN:
        return []
    order = sorted(range(count), key=lambda n: (strain([n]), n))
    needed = 0
    for length in range(1, count + 1):
        if (now := strain(order[:length])) < least:
            needed, least = length, now
        if least == _NO_STRAIN:
            break
    closed = order[:needed]
    for n in reversed(closed):
        without = [other for other in closed if other != n]
        if strain(without) <= least:
            closed = without
    return closed


class _Exposure(msgspec.Struct, frozen=True):
    """The worst case: what the account lacks then, the dollars it takes, and the price of each underlying."""

    strain: _Strain
    needed: Decimal
    available: Decimal
    at: Mapping[str, int]


class _Scenario(msgspec.Struct, frozen=True):
    """One underlying at one price near its mark: the contracts in the money there, by how much each."""

    price: int
    prices: Prices
    inside: Mapping[str, Decimal]
    is_mark: bool


def _scenarios(due: Mapping[str, OptionTerms], marks: Prices, pin: Decimal) -> dict[str, list[_Scenario]]:
    """By underlying: the mark first, then the ends of the pin band and both sides of every strike inside."""
    contracts: dict[str, list[OptionTerms]] = defaultdict(list)
    for symbol in sorted(due):
        contracts[due[symbol].underlying].append(due[symbol])
    found: dict[str, list[_Scenario]] = {}
    for underlying, group in sorted(contracts.items()):
        mark = marks.get(underlying, 0)
        low, high = int(mark * (1 - pin)), int(mark * (1 + pin))
        near = {low, high}
        for terms in group:
            # The price at which the contract is at the money; for 100 shares that is the strike.
            shares = terms.deliverable.of(underlying) if terms.is_physical else Decimal(terms.multiplier)
            if shares:
                level = int((terms.exercise_cost - terms.deliverable.cash) * TICKS_PER_DOLLAR / shares)
                near.update(price for price in (level - 100, level, level + 100) if low <= price <= high)
        found[underlying] = []
        for price in (mark, *sorted(near - {mark})):
            prices = {**marks, underlying: price}
            inside = {t.symbol: t.intrinsic(prices) for t in group if in_the_money(t, prices)}
            found[underlying].append(_Scenario(price, prices, inside, price == mark))
    return found


class _Danger(msgspec.Struct, frozen=True):
    """What expiration could bring, as it looks shortly before."""

    book: Book
    due: Mapping[str, OptionTerms]
    scenarios: Mapping[str, Sequence[_Scenario]]
    means: Means
    do_not_exercise: Mapping[str, Decimal]

    def of(self, opened: Iterable[Structure], excess: Decimal) -> _Exposure:
        """Each underlying at its own worst price near the mark, all of them at once."""
        change = forbidden = ZERO
        at: dict[str, int] = {}
        for underlying, lines in sorted(self._lines(opened).items()):
            cases = [
                (*_effect(_taken(lines, scenario), self.book, scenario.prices, self.means), scenario.price)
                for scenario in self.scenarios[underlying]
            ]
            # The first of equals is the mark itself.
            gain, short, at[underlying] = min(cases, key=lambda case: (-case[1], case[0]))
            change += gain
            forbidden += short
        strain = forbidden, max(ZERO, -(excess + change))
        return _Exposure(strain, max(ZERO, -change), max(ZERO, excess), at)

    def _lines(self, opened: Iterable[Structure]) -> dict[str, list[_Line]]:
        counts: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for structure in opened:
            for symbol, qty in structure.legs:
                counts[symbol] += qty
        lines: dict[str, list[_Line]] = defaultdict(list)
        for symbol, qty in sorted(counts.items()):
            if symbol in self.due:
                spared = min(max(qty, ZERO), self.do_not_exercise.get(symbol, ZERO))
                lines[self.due[symbol].underlying].append(_Line(self.due[symbol], qty - spared))
        return lines


def _taken(lines: Iterable[_Line], scenario: _Scenario) -> list[_Line]:
    """What would be exercised and assigned. At another price than the mark only those long contracts count
    that offset an assignment: the others could be left alone."""
    inside = [line for line in lines if line.terms.symbol in scenario.inside]
    if scenario.is_mark:
        return inside
    taken = [line for line in inside if line.qty < 0]
    room = {kind: -qty for kind, qty in _net(taken).items()}
    for line in sorted(inside, key=lambda line: (-scenario.inside[line.terms.symbol], line.terms.symbol)):
        kind = _kind_of(line.terms)
        count = min(line.qty, room.get(kind, ZERO))
        if count > 0:
            room[kind] -= count
            taken.append(_Line(line.terms, count))
    return taken


def _value(structure: Structure, terms: Mapping[str, OptionTerms], marks: Prices) -> Decimal:
    """Dollars that closing it brings (negative: costs), if every leg trades at what it is in the money."""
    return sum((qty * max(ZERO, terms[symbol].intrinsic(marks)) for symbol, qty in structure.legs), ZERO)


def _intent(closed: Structure, terms: Mapping[str, OptionTerms], exposure: _Exposure) -> CloseIntent:
    packages = gcd(*(int(abs(qty)) for _, qty in closed.legs))
    legs = tuple(
        Leg(symbol, Side.SELL if qty > 0 else Side.BUY, int(abs(qty)) // packages, terms[symbol].multiplier)
        for symbol, qty in sorted(closed.legs)
    )
    underlying = terms[closed.legs[0][0]].underlying
    at = exposure.at.get(underlying, 0)
    lacking = (
        f"expiration could sell shares worth ${exposure.strain[0]:,.2f} that the account does not have free"
        if exposure.strain[0]
        else f"expiration could take ${exposure.needed:,.2f}; ${exposure.available:,.2f} is available"
    )
    return CloseIntent(
        name=closed.name, legs=legs, qty=Decimal(packages),
        reason=f"With {underlying} at {show_price(at)}, {lacking}. Closed as a whole before the close.",
    )  # fmt: skip
