"""Terms of listed options. Dates and hours are from the exchanges' calendars and product specifications."""

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from raxx.kernel.clock import to_ns
from raxx.market.calendar import xnys
from raxx.market.contracts import parse_symbol
from raxx.market.listing import (
    Deliverable,
    ExerciseStyle,
    NotAnOption,
    OptionClass,
    OptionTerms,
    SettlementType,
    UnknownDeliverable,
    class_of,
    root_of,
    stock_of,
    terms_of,
    trading_ends_ns,
)

NEW_YORK = ZoneInfo("America/New_York")


def at(text: str) -> int:
    """`2015-12-24 13:00` in New York."""
    return to_ns(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=NEW_YORK))


def terms(symbol: str) -> OptionTerms:
    return terms_of(parse_symbol(symbol), xnys())


def test_a_standard_equity_option() -> None:
    contract = terms("GOOG160115C00750000")
    assert (contract.underlying, contract.multiplier, contract.strike) == ("GOOG", 100, 7_500_000)
    assert contract.deliverable == Deliverable((("GOOG", Decimal(100)),))
    assert (contract.style, contract.settlement) == (ExerciseStyle.AMERICAN, SettlementType.PHYSICAL)
    assert contract.exercise_cost == Decimal("75000.00")


@pytest.mark.parametrize(
    ("symbol", "last_trade", "expires"),
    [
        pytest.param("IBM131018C00180000", "2013-10-18 16:00", "2013-10-18 16:00", id="a Friday"),
        pytest.param("TWX140621C00070000", "2014-06-20 16:00", "2014-06-20 16:00", id="dated on a Saturday"),
        pytest.param("IBM140419C00190000", "2014-04-17 16:00", "2014-04-17 16:00", id="Saturday after Good Friday"),
        pytest.param("GOOG151224C00750000", "2015-12-24 13:00", "2015-12-24 13:00", id="a half day"),
        pytest.param("SPY151224C00205000", "2015-12-24 13:15", "2015-12-24 13:15", id="a half day, late class"),
        pytest.param("SPY131018C00170000", "2013-10-18 16:15", "2013-10-18 16:15", id="late class"),
        pytest.param("SPXW210104C03700000", "2021-01-04 16:00", "2021-01-04 16:00", id="PM index"),
        pytest.param("SPX210115C03700000", "2021-01-14 16:15", "2021-01-15 09:30", id="AM index"),
        pytest.param("SPX140419C01850000", "2014-04-16 16:15", "2014-04-17 09:30", id="AM before Good Friday"),
        pytest.param("VIX210120C00025000", "2021-01-19 16:15", "2021-01-20 09:30", id="VIX, a Wednesday"),
        pytest.param("SPY250109C00590000", "2025-01-08 16:15", "2025-01-08 16:15", id="an unscheduled closure"),
    ],
)  # fmt: skip
def test_when_it_ends(symbol: str, last_trade: str, expires: str) -> None:
    contract = terms(symbol)
    assert contract.last_trade_ns == at(last_trade)
    assert contract.expires_ns == at(expires)


def test_a_fund_trades_a_quarter_of_an_hour_past_the_price_that_settles_it() -> None:
    contract = terms("SPY131018C00170000")
    assert contract.price_ns == at("2013-10-18 16:00")
    assert contract.last_trade_ns == at("2013-10-18 16:15")


@pytest.mark.parametrize(
    ("root", "underlying", "settles", "style"),
    [
        ("SPX", "SPX", "am", "european"), ("SPXW", "SPX", "pm", "european"), ("XSP", "XSP", "pm", "european"),
        ("NDX", "NDX", "am", "european"), ("NDXP", "NDX", "pm", "european"),
        ("RUT", "RUT", "am", "european"), ("RUTW", "RUT", "pm", "european"),
        ("VIX", "VIX", "am", "european"), ("VIXW", "VIX", "am", "european"), ("DJX", "DJX", "am", "european"),
        ("OEX", "OEX", "pm", "american"), ("XEO", "OEX", "pm", "european"),
    ],
)  # fmt: skip
def test_index_classes_are_settled_in_cash(root: str, underlying: str, settles: str, style: str) -> None:
    listed = class_of(root)
    assert listed.settlement is SettlementType.CASH
    assert (listed.underlying, listed.settles, listed.style) == (underlying, settles, style)
    assert listed.deliverable == Deliverable()


def test_trading_hours_until_the_last_day() -> None:
    contract = terms("SPXW210108C03700000")
    session = {day.date.isoformat(): day for day in xnys() if day.date.isoformat().startswith("2021-01")}
    assert trading_ends_ns(contract, session["2021-01-04"]) == at("2021-01-04 16:15")
    assert trading_ends_ns(contract, session["2021-01-08"]) == at("2021-01-08 16:00")
    assert trading_ends_ns(contract, session["2021-01-11"]) == 0


@pytest.mark.parametrize(
    ("symbol", "spot", "dollars"),
    [
        pytest.param("GOOG151224C00740000", "748.40", "840.00", id="call in the money"),
        pytest.param("GOOG151224C00750000", "748.40", "-160.00", id="call out of the money"),
        pytest.param("GOOG151224P00750000", "748.40", "160.00", id="put in the money"),
        pytest.param("SPXW210104C03700000", "3700.65", "65.00", id="index"),
    ],
)
def test_intrinsic_value(symbol: str, spot: str, dollars: str) -> None:
    contract = terms(symbol)
    price = int(Decimal(spot) * 10_000)
    assert contract.intrinsic({contract.underlying: price}) == Decimal(dollars)


def test_an_adjusted_contract_is_what_the_event_made_it() -> None:
    # 1-for-8: 12 shares and half a share at 40.00, still for 600.
    made = OptionClass(underlying="XYZ", deliverable=Deliverable((("XYZ", Decimal(12)),), Decimal("20.00")))
    contract = terms_of(parse_symbol("XYZ1261218C00006000"), xnys(), {"XYZ1": made})
    assert contract.exercise_cost == 600
    # 12 x 55 + 20 - 600 = 80
    assert contract.intrinsic({"XYZ": 550_000}) == 80
    with pytest.raises(UnknownDeliverable):
        terms("XYZ1261218C00006000")


def test_a_point_in_the_ticker_is_not_in_the_root() -> None:
    assert root_of("BRK.B") == "BRKB"
    assert class_of("BRKB").deliverable == Deliverable((("BRK.B", Decimal(100)),))


def test_an_equity_has_no_terms() -> None:
    with pytest.raises(NotAnOption):
        terms("IBM")


def test_beyond_the_calendar_nothing_is_known() -> None:
    with pytest.raises(LookupError):
        terms("IBM991218C00180000")


def test_the_stock_that_a_root_is_named_after() -> None:
    roots = ("XYZ", "XYZ1", "XYZ12", "SPXW", "BRKB", "BRKB1", "SPX")
    assert [stock_of(root) for root in roots] == ["XYZ", "XYZ", "XYZ", "SPX", "BRK.B", "BRK.B", "SPX"]
