"""The numbers of the margin rules, as a dated table. Nothing else in this package knows a rate."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum

import msgspec

from raxx.kernel.errors import RaxxError

D = Decimal


class Model(StrEnum):
    REG_T = "reg_t"  # Regulation T, FINRA Rule 4210, the least of all legal groupings
    UNIVERSAL_SPREAD = "universal_spread"  # broker-style: the worst expiration of each underlying


class MarginRules(msgspec.Struct, frozen=True, kw_only=True):
    """Rates are fractions, amounts are dollars. The defaults are Reg T and FINRA Rule 4210 without house rules.

    `broad`: underlyings margined as broad-based indexes. `leverage`: the factor of a leveraged fund by ticker.
    `non_marginable`: stocks without loan value.
    """

    model: Model = Model.REG_T
    stock_initial: Decimal = D("0.50")
    long_maintenance: Decimal = D("0.25")
    long_low_price: Decimal = D(0)  # below it the whole value is required
    short_maintenance: Decimal = D("0.30")
    short_floor: Decimal = D("5.00")  # a share
    short_low_price: Decimal = D("5.00")  # below it the two lines that follow hold
    short_low_maintenance: Decimal = D("1.00")
    short_low_floor: Decimal = D("2.50")
    narrow_rate: Decimal = D("0.20")  # equities, funds and narrow indexes
    broad_rate: Decimal = D("0.15")
    floor_rate: Decimal = D("0.10")
    contract_minimum: Decimal = D(0)  # dollars a naked contract
    offset_rate: Decimal = D("0.10")  # of the strike: protective options, collars, conversions
    broad: frozenset[str] = frozenset()
    leverage: Mapping[str, Decimal] = {}
    non_marginable: frozenset[str] = frozenset()

    def leverage_of(self, ticker: str) -> Decimal:
        return self.leverage.get(ticker, D(1))

    def option_rate(self, ticker: str) -> Decimal:
        return (self.broad_rate if ticker in self.broad else self.narrow_rate) * self.leverage_of(ticker)

    def option_floor_rate(self, ticker: str) -> Decimal:
        return self.floor_rate * self.leverage_of(ticker)


class NoRules(RaxxError):
    """The day lies before the first entry of the table."""

    code = "NO_MARGIN_RULES"


# From (a day in New York): the general spread rule of FINRA Notice 12-44 took effect on the first of these.
SCHEDULE: tuple[tuple[date, MarginRules], ...] = ((date(2012, 10, 26), MarginRules()),)
HOUSE_SCHEDULE: tuple[tuple[date, MarginRules], ...] = (
    (date(2012, 10, 26), MarginRules(long_maintenance=D("0.30"), long_low_price=D("2.50"))),
)


def rules_on(day: date, schedule: Sequence[tuple[date, MarginRules]] = SCHEDULE) -> MarginRules:
    """The rules in force on a day. Raises NoRules for a day before the first entry."""
    for first_day, rules in sorted(schedule, key=lambda entry: entry[0], reverse=True):
        if day >= first_day:
            return rules
    raise NoRules(f"No margin rules are kept for {day}.", field="day", value=day)
