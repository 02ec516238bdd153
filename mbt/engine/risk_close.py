"""What an account could not pay for at an expiration is found before the close, and closed as the structure that it is.

The rules as prose: docs/rules/expiration.md, section 7.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from math import gcd

import msgspec

from mbt.engine.account import ZERO
from mbt.engine.expiry import NO_INSTRUCTIONS, Instructions
from mbt.engine.means import (
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
)
from mbt.engine.orders import Leg, Side
from raxx.kernel.clock import SECOND_NS
from raxx.kernel.money import TICKS_PER_DOLLAR, show_price
from raxx.market.listing import OptionTerms, SettlementTime
from raxx.market.sessions import Hours


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
    return kind_of(long) == kind_of(short) and long.expires_ns >= short.expires_ns and (
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


def _closings(count: int, strain: Callable[[Sequence[int]], Strain]) -> list[int]:
    """Which of `count` structures to close so that the strain is gone, or as small as it gets: none but those.

    In the order of how much each would help by itself, as far as it takes; then back again, giving up every
    closing without which the rest does as well. The way on and back matters: two may offset each other, so
    that closing either makes things worse and closing both makes them better.
    """
    least = strain([])
    if least == NO_STRAIN:
        return []
    order = sorted(range(count), key=lambda n: (strain([n]), n))
    needed = 0
    for length in range(1, count + 1):
        if (now := strain(order[:length])) < least:
            needed, least = length, now
        if least == NO_STRAIN:
            break
    closed = order[:needed]
    for n in reversed(closed):
        without = [other for other in closed if other != n]
        if strain(without) <= least:
            closed = without
    return closed


class _Exposure(msgspec.Struct, frozen=True):
    """The worst case: what the account lacks then, the dollars it takes, and the price of each underlying."""

    strain: Strain
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
                (*effect(_taken(lines, scenario), self.book, scenario.prices, self.means), scenario.price)
                for scenario in self.scenarios[underlying]
            ]
            # The first of equals is the mark itself.
            gain, short, at[underlying] = min(cases, key=lambda case: (-case[1], case[0]))
            change += gain
            forbidden += short
        strain = forbidden, max(ZERO, -(excess + change))
        return _Exposure(strain, max(ZERO, -change), max(ZERO, excess), at)

    def _lines(self, opened: Iterable[Structure]) -> dict[str, list[Line]]:
        counts: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for structure in opened:
            for symbol, qty in structure.legs:
                counts[symbol] += qty
        lines: dict[str, list[Line]] = defaultdict(list)
        for symbol, qty in sorted(counts.items()):
            if symbol in self.due:
                spared = min(max(qty, ZERO), self.do_not_exercise.get(symbol, ZERO))
                lines[self.due[symbol].underlying].append(Line(self.due[symbol], qty - spared))
        return lines


def _taken(lines: Iterable[Line], scenario: _Scenario) -> list[Line]:
    """What would be exercised and assigned. At another price than the mark only those long contracts count
    that offset an assignment: the others could be left alone."""
    inside = [line for line in lines if line.terms.symbol in scenario.inside]
    if scenario.is_mark:
        return inside
    taken = [line for line in inside if line.qty < 0]
    room = {kind: -qty for kind, qty in net(taken).items()}
    for line in sorted(inside, key=lambda line: (-scenario.inside[line.terms.symbol], line.terms.symbol)):
        kind = kind_of(line.terms)
        count = min(line.qty, room.get(kind, ZERO))
        if count > 0:
            room[kind] -= count
            taken.append(Line(line.terms, count))
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
