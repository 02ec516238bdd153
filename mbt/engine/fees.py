"""What a fill costs beside its price: regulators' fees from dated tables, and the broker's commission.

Each fill gives exact, unrounded items; the day's items of an account are summed per fee and rounded up to
the cent, once. Sources and worked examples: docs/rules/fees.md.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum

import msgspec

from mbt.engine.account import Kind, Posting
from mbt.engine.orders import Side
from raxx.kernel.money import from_ticks, up_to_cents
from raxx.market.contracts import AssetClass, Instrument

ZERO = Decimal(0)


class Fee(StrEnum):
    SEC = "sec"
    TAF = "taf"
    ORF = "orf"
    CAT = "cat"
    OCC = "occ"
    COMMISSION = "commission"


class Evidence(StrEnum):
    """How well a line of a table is known."""

    PRIMARY = "primary"  # read in a publication of the body that sets it
    SECONDARY = "secondary"  # read at a broker, in the press, or in a text that quotes the body
    ASSUMED = "assumed"  # the value or the day it began is our reading of incomplete sources


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A rate from a trade date on, until the next line. `most`: dollars for one order, None without a cap."""

    since: date
    rate: Decimal
    evidence: Evidence
    source: str
    most: Decimal | None = None


def _rate(since: str, rate: str, evidence: Evidence, source: str, *, most: str | None = None) -> Rate:
    return Rate(
        since=date.fromisoformat(since), rate=Decimal(rate), evidence=evidence, source=source,
        most=Decimal(most) if most else None,
    )  # fmt: skip


_P, _S, _A = Evidence.PRIMARY, Evidence.SECONDARY, Evidence.ASSUMED

# Dollars per dollar sold: stock, and options that are not on a broad index.
SEC_RATES = (
    _rate("2013-05-25", "0.0000174", _A, "rate: FINRA Information Notice 3/3/14; day not verified"),
    _rate("2014-03-18", "0.0000221", _P, "FINRA Information Notice 3/3/14"),
    _rate("2015-02-14", "0.0000184", _A, "not verified"),
    _rate("2016-02-16", "0.0000218", _A, "rate: FINRA Information Notice 3/15/16; day not verified"),
    _rate(
        "2017-07-04", "0.0000231", _S, "press, quoting the SEC; rate also in FINRA Information Notice 5/7/18"
    ),
    _rate("2018-05-22", "0.0000130", _P, "FINRA Information Notice 5/7/18"),
    _rate("2019-04-16", "0.0000207", _S, "press, quoting FINRA"),
    _rate("2020-02-18", "0.0000221", _S, "press, quoting FINRA Information Notice 2/3/20"),
    _rate("2021-02-25", "0.0000051", _P, "FINRA Information Notice of February 2021"),
    _rate("2022-05-14", "0.0000229", _A, "rate: press, quoting the SEC; day not verified"),
    _rate("2023-02-27", "0.0000080", _S, "press, quoting the SEC"),
    _rate("2024-05-22", "0.0000278", _A, "rate: press and brokers; day not verified"),
    _rate("2025-05-14", "0", _S, "press, quoting FINRA Information Notice 4/24/25"),
    _rate("2026-04-04", "0.0000206", _S, "fee rate advisory 2026-2 at second hand"),
)

_FINRA_2020 = "FINRA fee increase schedule, SR-FINRA-2020-032"
_FINRA_2024 = "SR-FINRA-2024-019 at second hand"

# Dollars per share sold.
TAF_STOCK_RATES = (
    _rate("2012-03-01", "0.000095", _P, "FINRA Regulatory Notice 12-06", most="4.75"),
    _rate("2012-07-01", "0.000119", _A, f"rate: {_FINRA_2020}; day not verified", most="5.95"),
    _rate("2022-01-01", "0.000130", _P, _FINRA_2020, most="6.49"),
    _rate("2023-01-01", "0.000145", _P, _FINRA_2020, most="7.27"),
    _rate("2024-01-01", "0.000166", _P, _FINRA_2020, most="8.30"),
    _rate("2026-01-01", "0.000195", _S, _FINRA_2024, most="9.79"),
    _rate("2027-01-01", "0.000232", _S, _FINRA_2024, most="11.61"),
)

# Dollars per contract sold, options that are not on an index. No cap.
TAF_OPTION_RATES = (
    _rate("2012-03-01", "0.002", _A, f"rate: {_FINRA_2020}; day not verified"),
    _rate("2022-01-01", "0.00218", _P, _FINRA_2020),
    _rate("2023-01-01", "0.00244", _P, _FINRA_2020),
    _rate("2024-01-01", "0.00279", _P, _FINRA_2020),
    _rate("2026-01-01", "0.00329", _S, _FINRA_2024),
    _rate("2027-01-01", "0.00329", _A, "the rate of 2026: the one of 2027 is not on record here"),
)

# Dollars per contract, bought or sold: the sum over the exchanges, which change theirs twice a year.
ORF_RATES = (
    _rate("2013-01-01", "0.0377", _S, "trader's tax guide, quoting a broker"),
    _rate("2014-02-01", "0.0396", _S, "trader's tax guide, quoting a broker"),
    _rate("2015-08-01", "0.0427", _S, "trader's tax guide, quoting a broker"),
    _rate("2019-02-01", "0.0379", _A, "rate: Interactive Brokers; day not verified"),
    _rate("2025-03-03", "0.02815", _S, "Interactive Brokers, table by exchange"),
)

# Dollars per share, or per share of a contract, bought or sold.
CAT_RATES = (
    _rate("2024-09-01", "0.000035", _P, "CAT Fee 2024-1, catnmsplan.com"),
    _rate("2024-10-01", "0.000048", _P, "the same and Historical Assessment 1 of 0.000013, catnmsplan.com"),
    _rate("2025-01-01", "0.000046", _A, "rate: Alpaca; day not verified"),
    _rate("2025-07-01", "0.0000265", _A, "rate: Alpaca; day not verified"),
    _rate("2026-01-01", "0.000003", _S, "Alpaca"),
)

# Dollars per contract, bought or sold.
OCC_RATES = (
    _rate("2018-12-01", "0.055", _A, "rate: OCC schedule of fees, January 2020; day not verified", most="55"),
    _rate("2020-09-01", "0.045", _P, "OCC, 19 April 2021", most="55"),
    _rate("2021-06-01", "0.02", _P, "OCC, 19 April 2021", most="55"),
    _rate("2025-02-14", "0.025", _S, "90 FR 10544 in summary; the cap is gone"),
)

# Options on broad indexes are exempt from the SEC fee and from the TAF.
_BROAD_INDEX_ROOTS = frozenset(
    {
        "DJX", "MRUT", "NANOS", "NDX", "NDXP", "OEX", "RUT", "RUTW", "SPX", "SPXW", "VIX", "VIXW", "XEO", "XND", "XSP",
    }
)  # fmt: skip


class Holiday(msgspec.Struct, frozen=True, kw_only=True):
    """Trade dates, first to last, on which a fee is waived."""

    fee: Fee
    first: date
    last: date
    evidence: Evidence
    source: str


# Filed by FINRA; a broker need not pass it on, so it holds only for a schedule that names it.
TAF_HOLIDAY_2026 = Holiday(
    fee=Fee.TAF, first=date(2026, 10, 1), last=date(2026, 12, 31), evidence=_S, source="SR-FINRA-2026-021",
)  # fmt: skip


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one order pays on one day at least and at most, in dollars; `once` comes on top of the units.

    `most_share`: the most as a share of the value traded. A most wins over a least.
    """

    once: Decimal = ZERO
    least: Decimal = ZERO
    most: Decimal | None = None
    most_share: Decimal | None = None


class Commission(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker charges, in dollars per share and per contract, each with the limits of an order."""

    name: str
    per_share: Decimal = ZERO
    per_contract: Decimal = ZERO
    stock: Limits = Limits()
    option: Limits = Limits()


FREE = Commission(name="none")
# Typical price lists, not anybody's.
PER_UNIT = Commission(
    name="per share or contract", per_share=Decimal("0.005"), per_contract=Decimal("0.65"),
    stock=Limits(least=Decimal("1.00"), most_share=Decimal("0.01")), option=Limits(least=Decimal("1.00")),
)  # fmt: skip
PER_ORDER = Commission(
    name="per order", stock=Limits(once=Decimal("4.95")), option=Limits(once=Decimal("4.95"))
)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Which fees an account pays."""

    name: str
    fees: frozenset[Fee] = frozenset()
    commission: Commission = FREE
    holidays: tuple[Holiday, ...] = ()


NOTHING = Schedule(name="no fees")
PASSED_ON = Schedule(name="regulators' fees", fees=frozenset(Fee) - {Fee.COMMISSION})
PASSED_ON_WITH_HOLIDAY = Schedule(
    name="regulators' fees, TAF holiday passed on", fees=PASSED_ON.fees, holidays=(TAF_HOLIDAY_2026,)
)
# What an account's `fee_schedule` names.
SCHEDULES: Mapping[str, Schedule] = {
    "none": NOTHING,
    "regulatory": PASSED_ON,
    "regulatory_holiday": PASSED_ON_WITH_HOLIDAY,
    "per_unit": Schedule(
        name="regulators' fees and a commission per unit", fees=PASSED_ON.fees, commission=PER_UNIT
    ),
    "per_order": Schedule(
        name="regulators' fees and a commission per order", fees=PASSED_ON.fees, commission=PER_ORDER
    ),
}


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One fee of one fill: exact dollars before the limits of its order, and how they came about.

    `value`: dollars traded. `known` is False when no rate is on record for the day; nothing is charged then.
    """

    fee: Fee
    day: date
    order_id: str
    amount: Decimal
    value: Decimal
    formula: str
    limits: Limits = Limits()
    known: bool = True


def rate_on(table: tuple[Rate, ...], day: date) -> Rate | None:
    """The line in force on that trade date; None before the table begins."""
    return next((line for line in reversed(table) if line.since <= day), None)


def of_fill(
    *, order_id: str, instrument: Instrument, side: Side, qty: Decimal, price: int, day: date, schedule: Schedule
) -> tuple[Item, ...]:  # fmt: skip
    """The fees of one fill of `qty` shares or contracts at `price` (1/10,000 dollar) on trade date `day`.

    A fee that the rule does not ask of this side or instrument gives no item; one that is waived or whose
    rate is not on record gives an item of 0 that says so.
    """
    value = qty * from_ticks(price) * instrument.multiplier
    option = instrument.asset_class is AssetClass.OPTION
    units = "contract" if option else "share"
    items = [
        _item(fee, table, base, what, day, order_id, value, schedule)
        for fee, table, base, what in _due(instrument, side, qty, value, units)
        if fee in schedule.fees
    ]
    commission = schedule.commission
    rate, limits = (
        (commission.per_contract, commission.option) if option else (commission.per_share, commission.stock)
    )
    if rate or limits != Limits():
        formula = _formula(qty, _counted(units, qty), rate, limits)
        items.append(
            Item(
                fee=Fee.COMMISSION, day=day, order_id=order_id, amount=qty * rate, value=value,
                formula=formula, limits=limits,
            )
        )  # fmt: skip
    return tuple(items)


_Due = tuple[Fee, tuple[Rate, ...], Decimal, str]


def _due(instrument: Instrument, side: Side, qty: Decimal, value: Decimal, units: str) -> Iterable[_Due]:
    """The fees that the rules ask of such a fill: what each is counted on, and its name."""
    option = instrument.asset_class is AssetClass.OPTION
    broad_index = option and instrument.underlying in _BROAD_INDEX_ROOTS
    counted = _counted(units, qty)
    if side is Side.SELL and not broad_index:
        yield Fee.SEC, SEC_RATES, value, "dollars sold"
        yield Fee.TAF, TAF_OPTION_RATES if option else TAF_STOCK_RATES, qty, f"{counted} sold"
    if option:
        yield Fee.ORF, ORF_RATES, qty, counted
    shares = qty * instrument.multiplier
    yield Fee.CAT, CAT_RATES, shares, _counted("equivalent share" if option else "share", shares)
    if option:
        yield Fee.OCC, OCC_RATES, qty, counted


def _item(
    fee: Fee, table: tuple[Rate, ...], base: Decimal, what: str, day: date, order_id: str, value: Decimal,
    schedule: Schedule,
) -> Item:  # fmt: skip
    line = rate_on(table, day)
    off = next((h for h in schedule.holidays if h.fee is fee and h.first <= day <= h.last), None)
    if line is None or off is not None:
        formula = (
            f"waived from {off.first} to {off.last} ({off.source})" if off
            else f"no rate on record before {table[0].since}, nothing charged"
        )  # fmt: skip
        return Item(
            fee=fee, day=day, order_id=order_id, amount=ZERO, value=value, formula=formula, known=line is not None,
        )  # fmt: skip
    limits = Limits(most=line.most)
    return Item(
        fee=fee, day=day, order_id=order_id, amount=base * line.rate, value=value,
        formula=_formula(base, what, line.rate, limits), limits=limits,
    )  # fmt: skip


def _formula(base: Decimal, what: str, rate: Decimal, limits: Limits) -> str:
    parts = []
    if rate or not limits.once:
        parts.append(f"{_plain(base)} {what} × {_plain(rate)} = {_plain(base * rate)}")
    if limits.once:
        parts.append(f"{_plain(limits.once)} an order")
    if limits.least:
        parts.append(f"at least {_plain(limits.least)} an order")
    if limits.most is not None:
        parts.append(f"at most {_plain(limits.most)} an order")
    if limits.most_share is not None:
        parts.append(f"at most {_plain(limits.most_share * 100)} % of the value traded")
    return ", ".join(parts)


def of_order(items: Iterable[Item]) -> Decimal:
    """What the items of one fee, one order and one day come to within their limits, exact."""
    items = tuple(items)
    limits = items[0].limits
    amount = max(limits.once + sum((i.amount for i in items), ZERO), limits.least)
    if limits.most is not None:
        amount = min(amount, limits.most)
    if limits.most_share is not None:
        amount = min(amount, limits.most_share * sum((i.value for i in items), ZERO))
    return amount


_NAMES = {
    Fee.SEC: "SEC fee on what was sold",
    Fee.TAF: "FINRA trading activity fee on what was sold",
    Fee.ORF: "Options regulatory fee of the exchanges",
    Fee.CAT: "Consolidated audit trail fee",
    Fee.OCC: "Clearing fee of the Options Clearing Corporation",
    Fee.COMMISSION: "The broker's commission",
}


def charge(items: Iterable[Item]) -> tuple[Posting, ...]:
    """One posting for each fee of one account and one trade date, rounded up to the cent as a day's sum.

    The order of the items does not matter. Raises ValueError for items of different days.
    """
    items = tuple(items)
    if len({item.day for item in items}) > 1:
        raise ValueError("the items of one charge belong to one day")
    postings = []
    for fee in Fee:
        mine = [item for item in items if item.fee is fee]
        orders: dict[tuple[str, Limits], list[Item]] = {}
        for item in mine:
            orders.setdefault((item.order_id, item.limits), []).append(item)
        exact = sum((of_order(group) for group in orders.values()), ZERO)
        amount = up_to_cents(exact)
        if amount:
            postings.append(
                Posting(kind=Kind.FEE, cash=-amount, realized=-amount, note=_note(fee, mine, exact, amount))
            )
    return tuple(postings)


def _note(fee: Fee, items: list[Item], exact: Decimal, amount: Decimal) -> str:
    how = items[0].formula if len(items) == 1 else f"{_plain(exact)} on {len(items)} fills"
    rounded = "" if amount == exact else f", rounded up to {amount}"
    return f"{_NAMES[fee]}: {how}{rounded}."


def _counted(unit: str, qty: Decimal) -> str:
    return unit if qty == 1 else f"{unit}s"


def _plain(number: Decimal) -> str:
    """All its digits and no more: 50,000 and 0.0000206, never 5E+4."""
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
