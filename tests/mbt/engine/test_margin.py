"""The worked examples of docs/rules/margin.md, brute force over all groupings, and what follows from the rules.

Numbers are by hand, next to each case; the random books are judged by tests/oracle/margin_brute_force.py.
"""

import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal as D
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt.engine.margin import (
    HOUSE_SCHEDULE,
    Approval,
    Group,
    Holding,
    Level,
    MarginRules,
    Model,
    NoMark,
    NoRules,
    Requirement,
    UncoveredShort,
    cash_requirement,
    covering_shares,
    effect,
    excess,
    margin_equity,
    net_liq,
    required_level,
    requirement,
    rules_on,
)
from mbt.engine.strategies import Name
from raxx.kernel.errors import InvalidInput
from raxx.kernel.money import to_ticks, up_to_cents
from raxx.market.contracts import AssetClass, Instrument, Right, osi, parse_symbol
from tests.oracle import margin_brute_force as oracle

RULES = MarginRules()
EXPIRIES = {"": date(2026, 12, 18), "+": date(2027, 1, 15), "++": date(2027, 2, 19)}
STOCK = parse_symbol("XYZ")
BOOKS = 10_000 if os.environ.get("RAXX_SOAK") else 1_000


@dataclass(frozen=True)
class Position:
    """A book as text: `-1 70C@1.10`, `+100 stock`, `+1 75C+` (the next month). Prices in dollars."""

    price: str
    legs: Sequence[str]
    root: str = "XYZ"
    marks: dict[str, int] = field(default_factory=dict)

    def holdings(self) -> list[Holding]:
        self.marks[self.root] = to_ticks(D(self.price))
        return [self._holding(*leg.split()) for leg in self.legs]

    def _holding(self, qty: str, text: str) -> Holding:
        if text == "stock":
            return Holding(parse_symbol(self.root), D(qty))
        name, _, mark = text.partition("@")
        instrument = option(name, root=self.root)
        if mark:
            self.marks[instrument.symbol] = to_ticks(D(mark))
        return Holding(instrument, D(qty))


def option(text: str, *, root: str = "XYZ") -> Instrument:
    strike_and_right, later = text.rstrip("+"), "+" * text.count("+")
    strike, right = D(strike_and_right[:-1]), Right(strike_and_right[-1])
    return parse_symbol(osi(root, EXPIRIES[later], right, to_ticks(strike)))


def of(price: str, *legs: str, rules: MarginRules = RULES, root: str = "XYZ") -> Requirement:
    position = Position(price, legs, root)
    holdings = position.holdings()
    return requirement(holdings, marks=position.marks, rules=rules)


def names(found: Requirement) -> Counter[str]:
    return Counter(group.name for group in found.groups)


# Price, legs, initial, maintenance.
EXAMPLES = {
    "long stock": ("80", ["+200 stock"], "8000", "4000"),
    "short stock": ("12", ["-100 stock"], "600", "500"),
    "short stock below 5": ("4", ["-100 stock"], "200", "400"),
    "short stock below 2.50": ("2", ["-100 stock"], "100", "250"),
    "short stock above the floor": ("100", ["-10 stock"], "500", "300"),
    "a part of a share, rounded up once": ("80.05", ["+0.5 stock"], "20.02", "10.01"),  # 20.0125, 10.00625
    "naked call": ("64", ["-1 70C@1.10"], "790", "790"),
    "naked put": ("64", ["-1 52P@0.35"], "555", "555"),
    "covered call": ("58", ["+100 stock", "-1 55C@4.10"], "2900", "1675"),
    "covered call, out of the money": ("58", ["+100 stock", "-1 60C@1.00"], "2900", "1450"),
    "covered put": ("58", ["-100 stock", "-1 60P@3.00"], "2900", "1940"),  # 30% of 5,800 + 200
    "protective put": ("40", ["+100 stock", "+1 38P"], "2000", "580"),
    "protective put far away": ("40", ["+100 stock", "+1 20P"], "2000", "1000"),  # min(2 + 20, 10)
    "protective call": ("40", ["-100 stock", "+1 42C"], "2000", "620"),  # min(4.20 + 2, 12)
    "collar": ("90", ["+100 stock", "+1 85P", "-1 97C@2"], "4500", "1350"),
    # By its call: 25% of 97 + 103 = 127.25; by its put: 8.50 + 115 = 123.50; as a covered call 127.25.
    "collar far above its call": ("200", ["+100 stock", "+1 85P", "-1 97C@103"], "10000", "12350"),
    "short collar": ("40", ["-100 stock", "+1 42C", "-1 41P@2"], "2000", "720"),  # 6.20 + 1
    "conversion": ("30.40", ["+100 stock", "+1 30P", "-1 30C@1"], "1520", "340"),
    "reverse conversion": ("29.40", ["-100 stock", "+1 30C", "-1 30P@1"], "1470", "360"),  # 3 + 0.60
    "long option": ("50", ["+3 45P"], "0", "0"),
    "put credit spread": ("50", ["-1 45P@2", "+1 40P"], "500", "500"),
    "call credit spread": ("50", ["-1 52C@2", "+1 55C"], "300", "300"),
    "put debit spread": ("50", ["+1 45P", "-1 40P@1"], "0", "0"),
    "call debit spread": ("50", ["+1 45C", "-1 50C@1"], "0", "0"),
    "iron condor": ("50", ["-4 45P@1", "+4 40P", "-4 55C@1", "+4 58C"], "2000", "2000"),
    "iron butterfly": ("50", ["-1 50P@2", "+1 45P", "-1 50C@2", "+1 57C"], "700", "700"),
    "long butterfly": ("100", ["+1 95C", "-2 100C@4", "+1 105C"], "0", "0"),
    "broken wing": ("100", ["+1 95C", "-2 100C@4", "+1 110C"], "500", "500"),
    "short butterfly, calls": ("100", ["-1 95C@7", "+2 100C", "-1 105C@2"], "500", "500"),
    "short butterfly, puts": ("100", ["-1 95P@2", "+2 100P", "-1 107P@9"], "700", "700"),  # high − mid
    "long condor": ("100", ["+1 90C", "-1 95C@7", "-1 105C@2", "+1 110C"], "0", "0"),
    "long box": ("100", ["+1 95C", "-1 105C@2", "-1 95P@2", "+1 105P"], "0", "0"),
    "short box": ("100", ["-1 95C@7", "+1 105C", "+1 95P", "-1 105P@7"], "1000", "1000"),
    "strangle": ("120", ["-1 130C@2.40", "-1 105P@1.70"], "1810", "1810"),
    "straddle": ("100", ["-1 100C@4", "-1 100P@3"], "2700", "2700"),  # 24 + 3
    "calendar": ("100", ["-1 100C@4", "+1 100C+"], "0", "0"),
    "diagonal for us": ("100", ["-1 105C@4", "+1 100C+"], "0", "0"),
    "diagonal against us": ("100", ["-1 100C@4", "+1 105C+"], "500", "500"),
    "calendar, the long first": ("100", ["-1 100C+@6", "+1 100C"], "2600", "2600"),  # naked: 6 + 20
    "distant wings": ("100", ["-1 100C@4", "+1 160C"], "2400", "2400"),
    "ratio": ("100", ["+1 95C", "-2 100C@4"], "2400", "2400"),  # one of two is naked
    "backspread": ("100", ["-1 100C@4", "+2 105C"], "500", "500"),
    "a long put covers no call": ("100", ["-1 100C@4", "+1 100P"], "2400", "2400"),
    "99 shares": ("64", ["+99 stock", "-1 70C@1.10"], "3958", "2374"),  # 3,168 / 1,584 + 790
    "199 shares, two calls": ("64", ["+199 stock", "-2 70C@1.10"], "7158", "3974"),  # 6,368 / 3,184 + 790
    "long stock covers no put": ("64", ["+100 stock", "-1 52P@0.35"], "3755", "2155"),
    "condor and strangle share nothing across months": (
        "50",
        ["-1 45P@4", "+1 40P", "-1 55C+@4", "+1 58C+"],
        "800",
        "800",
    ),
    "an iron butterfly with unequal wings": (
        "100",
        ["-1 100C@4", "+1 130C", "-1 100P@12", "+1 85P"],
        "3000",
        "3000",
    ),
    "two of them are cheaper than twice one": (  # one naked call 2,400; the rest loses at most 30 on either side
        "100",
        ["-2 100C@4", "+2 130C", "-2 100P@12", "+2 85P"],
        "5400",
        "5400",
    ),
}


@pytest.mark.parametrize(("price", "legs", "initial", "maintenance"), EXAMPLES.values(), ids=EXAMPLES)
def test_worked_examples(price: str, legs: list[str], initial: str, maintenance: str) -> None:
    found = of(price, *legs)
    assert (found.initial, found.maintenance) == (D(initial), D(maintenance))
    assert found.is_least


def test_a_broad_index_needs_less() -> None:
    broad = MarginRules(broad=frozenset({"SPX"}))
    position = Position("5200", ["-1 5000P@21"], "SPXW")
    holdings = position.holdings()
    marks = position.marks | {"SPX": position.marks["SPXW"]}
    assert requirement(holdings, marks=marks, rules=broad).maintenance == 60_100
    # 21 + max(20% × 5,200 − 200, 500)
    assert requirement(holdings, marks=marks, rules=RULES).maintenance == 86_100


def test_a_leveraged_fund_needs_more() -> None:
    rules = MarginRules(leverage={"XYZ": D(2)})
    assert of("64", "-1 70C@1.10", rules=rules).maintenance == 2_070  # 1.10 + max(40% × 64 − 6, 20% × 64)
    assert of("64", "+100 stock", rules=rules).maintenance == 3_200  # 50%
    assert (
        of("64", "+100 stock", rules=MarginRules(leverage={"XYZ": D(5)})).maintenance == 6_400
    )  # at most all


def test_a_contract_minimum() -> None:
    rules = MarginRules(contract_minimum=D(100))
    assert of("2", "-3 4C@0.01", rules=rules).maintenance == 300  # each 0.01 + 0.20, but at least 100
    assert of("64", "-1 70C@1.10", rules=rules).maintenance == 790


def test_house_rates_and_stock_without_loan_value() -> None:
    house = rules_on(date(2026, 11, 20), HOUSE_SCHEDULE)
    assert of("80", "+200 stock", rules=house).maintenance == 4_800
    assert of("2.40", "+100 stock", rules=house).maintenance == 240
    assert of("58", "+100 stock", "-1 55C@4.10", rules=house).maintenance == 1_950  # 30% × 5,500 + 300
    without = MarginRules(non_marginable=frozenset({"XYZ"}))
    found = of("40", "+100 stock", "+1 38P", rules=without)
    assert (found.initial, found.maintenance) == (D(4_000), D(4_000))
    assert of("58", "+100 stock", "-1 55C@4.10", rules=without).maintenance == 5_800  # all of 55, and 3


def test_rules_have_dates() -> None:
    first, later = date(2012, 10, 26), date(2026, 1, 1)
    table = ((first, RULES), (later, MarginRules(narrow_rate=D("0.25"))))
    assert rules_on(date(2025, 12, 31), table).narrow_rate == D("0.20")
    assert rules_on(later, table).narrow_rate == D("0.25")
    with pytest.raises(NoRules):
        rules_on(date(2012, 10, 25), table)


def test_the_identity() -> None:
    holdings = [Holding(STOCK, D(-100)), Holding(option("52P"), D(-1)), Holding(option("70C"), D(2))]
    marks = {"XYZ": to_ticks(D(64)), option("52P").symbol: 20_000, option("70C").symbol: 10_000}
    assert net_liq(D(20_000), holdings, marks) == 20_000 - 6_400 - 200 + 200
    assert margin_equity(D(20_000), holdings, marks) == 20_000 - 6_400
    assert margin_equity(D(20_200), holdings[1:], marks) == 20_200
    assert excess(D(20_200), D(1_400)) == 18_800
    with pytest.raises(NoMark):
        net_liq(D(0), holdings, {})


def test_the_effect_of_an_order() -> None:
    after = of("50", "-5 45P@1.35", "+5 40P").initial
    assert after == 2_500
    taken = effect(D(0), after, net_debit=D(-675), fees=D("0.30"))
    assert excess(D(10_000), taken) == D("8174.70")
    assert effect(D(0), D(500), net_debit=D(-135), fees=D(0)) == 365


def test_groups_say_what_they_are_and_why() -> None:
    found = of("640", "-4 630P@2", "+4 625P", "-4 650C@2", "+4 653C", "+1 700C", "+50 stock")
    assert [(group.label, group.formula, group.maintenance) for group in found.groups] == [
        (
            "XYZ long stock ×50",
            "initial 50% × 640.00 × 50 = 16,000.00; maintenance 25% × 640.00 × 50 = 8,000.00",
            D(8_000),
        ),
        (
            "XYZ 18 Dec 2026 625/630/650/653 short iron condor ×4",
            "max(puts 5.00, calls 3.00) × 100 × 4 = 2,000.00",
            D(2_000),
        ),
        ("XYZ 18 Dec 2026 700 long call", "0.00, paid in full", D(0)),
    ]


def test_formulas() -> None:
    def formulas(*given: str) -> list[str]:
        return [group.formula for group in of(*given).groups if group.maintenance]

    assert formulas("64", "-2 70C@1.10") == [
        "(1.10 + max(20% × 64.00 − 6.00, 10% × 64.00)) × 100 × 2 = 1,580.00"
    ]
    assert formulas("50", "-1 45P@2", "+1 40P") == ["width 5.00 × 100 = 500.00"]
    assert formulas("100", "+1 95C", "-2 100C@4", "+1 110C") == [
        "largest loss at expiry 5.00, at 110.00, × 100 = 500.00"
    ]
    assert formulas("58", "+100 stock", "-1 55C@4.10") == [
        "initial 50% × 58.00 × 100 = 2,900.00; maintenance (25% × 55.00 + 3.00) × 100 = 1,675.00"
    ]
    assert formulas("120", "-1 130C@2.40", "-1 105P@1.70") == [
        "(2.40 + max(20% × 120.00 − 10.00, 10% × 120.00) + 1.70) × 100 = 1,810.00"
    ]


def test_a_book_is_taken_apart_into_structures_with_names() -> None:
    found = of("100", "-2 90P@1", "+2 85P", "-2 110C@1", "+2 115C", "+1 120C", "-2 125C@0.2", "+1 130C")
    assert names(found)[Name.IRON_CONDOR] == 1
    assert names(found)[Name.CUSTOM] == 0
    assert found.maintenance == 1_000


def test_initial_and_maintenance_may_need_different_groupings() -> None:
    # Naked, the 90 call requires 12 + 20 = 32 a share, the 101 call 12 + 19 = 31. Initial: a covered call adds nothing,
    # so the dearer one is covered. Maintenance: covering the 90 call gives 22.50 + 10 + 31, the other one 25 + 32.
    found = of("100", "+100 stock", "-1 90C@12", "-1 101C+@12")
    assert found.initial == 5_000 + 3_100
    assert found.maintenance == 2_500 + 3_200
    assert sum(group.initial for group in found.initial_groups) == found.initial
    assert sum(group.maintenance for group in found.groups) == found.maintenance


def test_an_am_settled_long_does_not_cover_a_pm_settled_short_of_its_day() -> None:
    morning, evening = option("100C", root="SPX"), option("100C", root="SPXW")
    marks = {"SPX": 1_000_000, morning.symbol: 40_000, evening.symbol: 40_000}

    def held(long: Instrument, short: Instrument) -> D:
        holdings = [Holding(long, D(1)), Holding(short, D(-1))]
        return requirement(holdings, marks=marks, rules=RULES).maintenance

    assert held(evening, morning) == 0
    assert held(morning, evening) == 2_400


def test_no_mark_no_requirement() -> None:
    with pytest.raises(NoMark):
        of("64", "-1 70C")
    with pytest.raises(NoMark):
        requirement([Holding(STOCK, D(1))], marks={}, rules=RULES)
    assert requirement([Holding(option("70C"), D(1))], marks={}, rules=RULES).maintenance == 0
    with pytest.raises(InvalidInput):
        of("64", "-0.5 70C@1")


def test_nothing_held_needs_nothing() -> None:
    assert requirement([], marks={}, rules=RULES).maintenance == 0
    assert of("64", "-1 70C@1", "+1 70C").groups == ()


UNIVERSAL = MarginRules(model=Model.UNIVERSAL_SPREAD)


@pytest.mark.parametrize(
    ("price", "legs", "needed"),
    [
        pytest.param("48", ["-1 50C@3", "+1 55C"], "500", id="credit spread"),
        pytest.param(
            "50",
            ["-1 45P@1", "+1 40P", "-1 55C@1", "+1 60C", "-1 45P+@1", "+1 42P+"],
            "500",
            id="the worst of two months",
        ),
        pytest.param("100", ["-1 100C@4", "+1 100C+"], "0", id="calendar"),
        pytest.param("50", ["-2 45P@1"], "9000", id="puts at their strike"),
        pytest.param("64", ["-1 70C@1.10"], "790", id="naked call"),
        pytest.param("58", ["+100 stock", "-1 55C@4"], "1675", id="covered call"),
        pytest.param("58", ["+150 stock", "-2 55C@4"], "3960", id="half covered"),  # 1,675 + 725 + 4 + 11.60
        # Long 100 and 200, short 110 and 190 calls: what one spread loses the other has won.
        pytest.param("150", ["+1 100C", "-1 110C@1", "+1 200C", "-1 190C@1"], "0", id="offset"),
    ],
)
def test_the_broker_style_model(price: str, legs: list[str], needed: str) -> None:
    found = of(price, *legs, rules=UNIVERSAL)
    assert found.maintenance == D(needed)
    assert sum(group.maintenance for group in found.groups) == found.maintenance


def test_cost_basis_of_the_broker_style_model() -> None:
    after = of("48", "-1 50C@3", "+1 55C", rules=UNIVERSAL).initial
    assert effect(D(0), after, net_debit=D(-180), fees=D(0)) == 320


def test_shares_that_short_calls_stand_on() -> None:
    held = "+350 stock"
    assert covering_shares(of("70", held, "-2 75C@1.10").groups) == {"XYZ": 200}
    assert covering_shares(of("70", held, "-2 65P@1.10").groups) == {}
    assert covering_shares(of("70", "-100 stock", "-1 65P@1.10").groups) == {}
    position = Position("70", [held, "-3 75C@1.10", "+1 80P@10.10"])
    in_cash = cash_requirement(position.holdings())
    assert covering_shares(in_cash.groups) == {"XYZ": 300}


def test_cash_accounts() -> None:
    def reserved(*legs: str) -> Requirement:
        position = Position("50", legs)
        holdings = position.holdings()
        return cash_requirement(holdings)

    found = reserved("+250 stock", "-2 55C@1", "-1 45P@1", "+1 60C")
    assert found.maintenance == 4_500
    assert names(found) == Counter({Name.COVERED_CALL: 1, Name.PUT: 1, Name.STOCK: 1, Name.CALL: 1})
    for legs in (["+250 stock", "-3 55C@1"], ["-1 55C@1", "+1 50C"], ["-100 stock"]):
        with pytest.raises(UncoveredShort):
            reserved(*legs)
    assert reserved("-1 45P@1", "+1 40P").maintenance == 4_500  # no spreads


@pytest.mark.parametrize(
    ("legs", "approval"),
    [
        (["+100 stock"], Approval(Level.NONE, False)),
        (["-100 stock"], Approval(Level.NONE, False)),
        (["+100 stock", "-1 55C@1"], Approval(Level.COVERED, False)),
        (["+1 55C"], Approval(Level.LONG, False)),
        (["+100 stock", "+1 45P", "-1 55C@1"], Approval(Level.LONG, False)),
        (["-1 45P@1", "+1 40P"], Approval(Level.SPREADS, False)),
        (["-100 stock", "-1 45P@1"], Approval(Level.SPREADS, False)),
        (["-1 55C@1"], Approval(Level.SPREADS, True)),
        (["+100 stock", "-2 55C@1"], Approval(Level.SPREADS, True)),
        (["-1 45P@1", "-1 55C@1"], Approval(Level.SPREADS, True)),
    ],
)
def test_levels(legs: list[str], approval: Approval) -> None:
    assert required_level(of("50", *legs).groups) == approval


def test_a_put_with_its_strike_in_cash_needs_level_1() -> None:
    groups = of("50", "-1 45P@1").groups
    assert required_level(groups, puts_are_cash_secured=True) == Approval(Level.COVERED, False)
    assert required_level(groups) == Approval(Level.SPREADS, True)
    both = of("50", "-1 45P@1", "-1 55C@1").groups
    assert required_level(both, puts_are_cash_secured=True).naked_shorts


# Random books, and what holds for all of them.


@dataclass(frozen=True)
class Book:
    """Contracts (strike and right, months ahead, quantity, mark), lots of stock, and the price."""

    price: D
    options: tuple[tuple[Instrument, int, D], ...]
    lots: int

    def holdings(self, times: int = 1) -> list[Holding]:
        held = [Holding(instrument, D(qty * times)) for instrument, qty, _ in self.options]
        return held + [Holding(STOCK, D(100 * self.lots * times))] * bool(self.lots)

    def marks(self) -> Mapping[str, int]:
        found = {instrument.symbol: to_ticks(mark) for instrument, _, mark in self.options}
        return found | {"XYZ": to_ticks(self.price)}

    def required(self, times: int = 1) -> Requirement:
        return requirement(self.holdings(times), marks=self.marks(), rules=RULES)

    def for_the_oracle(self) -> tuple[oracle.Leg, ...]:
        legs = []
        for instrument, qty, mark in self.options:
            assert instrument.expiry is not None
            kind: Literal["call", "put"] = "call" if instrument.right is Right.CALL else "put"
            legs.append(
                oracle.Leg(kind, qty, D(instrument.strike) / 10_000, instrument.expiry.toordinal(), mark)
            )
        return (*legs, *([oracle.Leg("stock", self.lots)] if self.lots else []))


def random_book(chance: random.Random) -> Book:
    """1 to 8 option legs of up to 9 contracts in all, in one to three months, and often some lots of stock."""
    price = chance.choice([D(4), D(40), D(100), D("103.5")])
    months = list(EXPIRIES)[: chance.choice([1, 1, 2, 3])]
    legs: dict[Instrument, tuple[int, D]] = {}
    count, contracts = chance.randint(1, 8), 9
    while len(legs) < count:
        strike = (price * chance.randint(12, 28) / 20).quantize(D("0.1"))
        right = chance.choice("CP")
        instrument = option(f"{strike}{right}{chance.choice(months)}")
        if instrument in legs:
            continue
        qty = min(chance.choice([1, 1, 1, 2, 3]), contracts - (count - len(legs) - 1))
        contracts -= qty
        intrinsic = max(D(0), price - strike if right == "C" else strike - price)
        time_value = price * chance.randint(1, 150) / chance.choice([1_000, 2_000])
        legs[instrument] = (
            qty * chance.choice([1, -1]),
            (intrinsic + time_value).quantize(D("0.01")) + D("0.01"),
        )
    held = tuple((instrument, qty, mark) for instrument, (qty, mark) in legs.items())
    return Book(price, held, chance.choice([0, 0, 0, 1, 2, -1, -2]))


def check_proof(book: Book, groups: Sequence[Group], goal: Literal["initial", "maintenance"]) -> None:
    """The groups use up the book exactly, each is legal, and each requires what the chapter says."""
    used: Counter[str] = Counter()
    legs = book.for_the_oracle()
    symbols = [instrument.symbol for instrument, _, _ in book.options] + ["XYZ"] * bool(book.lots)
    for group in groups:
        for part in group.legs:
            used[part.instrument.symbol] += int(part.qty)
        counts = {part.instrument.symbol: abs(int(part.qty)) for part in group.legs}
        if "XYZ" in counts:
            counts["XYZ"] //= 100
        # Groups of one kind are shown together: a covered call ×3 is three of one.
        is_spread = {part.qty > 0 for part in group.legs} == {True, False} and "XYZ" not in counts
        times = 1 if is_spread else min(counts.values())
        need = oracle.charge(
            legs, tuple(counts.get(symbol, 0) // times for symbol in symbols), oracle.Market(book.price)
        )
        assert need is not None, group
        assert getattr(need, goal) * times == getattr(group, goal), group
    held = {one.instrument.symbol: int(one.qty) for one in book.holdings()}
    assert dict(used) == held


def test_random_books_against_brute_force() -> None:
    """The least of all groupings, to the cent, with a proof that holds. 10,000 books with RAXX_SOAK."""
    chance = random.Random(20261120)
    for _ in range(BOOKS):
        book = random_book(chance)
        found = book.required()
        least = oracle.least(book.for_the_oracle(), oracle.Market(book.price))
        assert found.maintenance == up_to_cents(least.maintenance), book
        assert found.initial == up_to_cents(least.initial), book
        assert found.is_least, book
        check_proof(book, found.groups, "maintenance")
        check_proof(book, found.initial_groups, "initial")


any_book = st.integers(0, 2**32).map(lambda seed: random_book(random.Random(seed)))


@given(any_book, st.randoms(use_true_random=False))
def test_the_order_of_positions_does_not_matter(book: Book, chance: random.Random) -> None:
    shuffled = book.holdings()
    chance.shuffle(shuffled)
    assert requirement(shuffled, marks=book.marks(), rules=RULES) == book.required()


@given(any_book, st.integers(2, 7))
def test_several_times_a_book_need_no_more_than_as_often_its_requirement(book: Book, times: int) -> None:
    once, often = book.required(), book.required(times)
    assert sum(group.maintenance for group in often.groups) <= times * sum(
        group.maintenance for group in once.groups
    )
    assert sum(group.initial for group in often.initial_groups) <= times * sum(
        group.initial for group in once.initial_groups
    )


@pytest.mark.parametrize(
    ("price", "legs", "initial", "maintenance"),
    [example for name, example in EXAMPLES.items() if "unequal" not in name and "199" not in name and "99 " not in name],
)  # fmt: skip
def test_twice_a_structure_needs_twice_as_much(
    price: str, legs: list[str], initial: str, maintenance: str
) -> None:
    position = Position(price, legs)
    twice = [Holding(one.instrument, 2 * one.qty) for one in position.holdings()]
    found = requirement(twice, marks=position.marks, rules=RULES)
    assert sum(group.maintenance for group in found.groups) == 2 * sum(
        group.maintenance for group in of(price, *legs).groups
    )


@given(
    any_book,
    st.integers(12, 28),
    st.sampled_from("CP"),
    st.sampled_from(sorted(EXPIRIES)),
    st.integers(1, 3),
)
def test_a_long_option_more_never_raises_it(
    book: Book, twentieths: int, right: str, month: str, qty: int
) -> None:
    strike = (book.price * twentieths / 20).quantize(D("0.1"))
    more = Holding(option(f"{strike}{right}{month}"), D(qty))
    before, holdings = book.required(), [*book.holdings(), more]
    if any(one.instrument == more.instrument and one.qty < 0 for one in holdings):
        return
    after = requirement(holdings, marks=book.marks(), rules=RULES)
    assert after.maintenance <= before.maintenance
    assert after.initial <= before.initial


@given(any_book)
def test_never_above_the_sum_of_single_positions(book: Book) -> None:
    alone = oracle.one_by_one(book.for_the_oracle(), oracle.Market(book.price))
    found = book.required()
    assert found.maintenance <= up_to_cents(alone.maintenance)
    assert found.initial <= up_to_cents(alone.initial)


@given(any_book)
def test_where_cover_is_cheap_nothing_stays_naked(book: Book) -> None:
    """Beside every short option a long one of its strike and of the last month: a spread that loses nothing."""
    cover = [
        Holding(option(f"{D(one.instrument.strike) / 10_000:f}{one.instrument.right}++"), -one.qty)
        for one in book.holdings()
        if one.qty < 0 and one.instrument.asset_class is AssetClass.OPTION
    ]
    shorts_only = [
        one for one in book.holdings() if one.qty < 0 and one.instrument.asset_class is AssetClass.OPTION
    ]
    found = requirement([*shorts_only, *cover], marks=book.marks(), rules=RULES)
    assert found.maintenance == 0
    assert not required_level(found.groups).naked_shorts


def test_a_book_too_large_to_search_is_legal_and_no_dearer_than_its_parts() -> None:
    chance = random.Random(7)
    for _ in range(5):
        legs: dict[Instrument, tuple[int, D]] = {}
        while len(legs) < 40:
            name = f"{chance.randint(14, 26) * 5}{chance.choice('CP')}{chance.choice(list(EXPIRIES))}"
            sign = chance.choice([1, -1, -1])
            legs[option(name)] = (chance.randint(1, 9) * sign, D(chance.randint(1, 900)) / 100)
        book = Book(D(100), tuple((one, qty, mark) for one, (qty, mark) in legs.items()), 0)
        found = book.required()
        assert not found.is_least
        check_proof(book, found.groups, "maintenance")
        alone = oracle.one_by_one(book.for_the_oracle(), oracle.Market(book.price))
        assert 0 < found.maintenance < alone.maintenance
        holdings = book.holdings()
        chance.shuffle(holdings)
        assert requirement(holdings, marks=book.marks(), rules=RULES) == found
