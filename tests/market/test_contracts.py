from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raxx.market.contracts import (
    AssetClass,
    Instrument,
    Right,
    UnknownSymbolForm,
    osi,
    padded_osi,
    parse_symbol,
    price_step,
)

roots = st.from_regex(r"[A-Z][A-Z0-9]{0,5}", fullmatch=True)
expiries = st.dates(date(2000, 1, 1), date(2099, 12, 31))
strikes = st.integers(1, 99_999_999).map(lambda thousandths: thousandths * 10)


def test_an_equity_is_its_own_underlying() -> None:
    apple = parse_symbol("AAPL")
    assert (apple.symbol, apple.asset_class, apple.multiplier) == ("AAPL", AssetClass.EQUITY, 1)
    assert (apple.underlying, apple.expiry, apple.right, apple.strike) == ("AAPL", None, None, 0)


@pytest.mark.parametrize("symbol", ["F", "GOOGL", "BRK.B", "BAC.PRL", "SPAC.WS"])
def test_forms_of_equity_symbols(symbol: str) -> None:
    assert parse_symbol(symbol).symbol == symbol


@pytest.mark.parametrize("text", ["GOOG  151224C00750000", "GOOG151224C00750000"])
def test_both_spellings_of_an_option_are_one_instrument(text: str) -> None:
    assert parse_symbol(text) == Instrument(
        symbol="GOOG151224C00750000",
        asset_class=AssetClass.OPTION,
        multiplier=100,
        underlying="GOOG",
        expiry=date(2015, 12, 24),
        right=Right.CALL,
        strike=7_500_000,
        penny=True,
    )


@pytest.mark.parametrize(
    ("text", "underlying", "expiry", "right", "strike"),
    [
        # The example of the OSI: XYZ 42.50 call, 18 Dec 2026.
        pytest.param("XYZ   261218C00042500", "XYZ", date(2026, 12, 18), "C", 425_000, id="half dollar"),
        pytest.param("TWX   140621C00042500", "TWX", date(2014, 6, 21), "C", 425_000, id="a Saturday"),
        pytest.param("XYZ1  240119P00000500", "XYZ1", date(2024, 1, 19), "P", 5_000, id="adjusted root"),
        pytest.param("SPXW  210104P03700000", "SPXW", date(2021, 1, 4), "P", 37_000_000, id="index weekly"),
        pytest.param("ABCDEF240229C99999999", "ABCDEF", date(2024, 2, 29), "C", 999_999_990, id="full width"),
    ],
)
def test_option_symbols(text: str, underlying: str, expiry: date, right: str, strike: int) -> None:
    option = parse_symbol(text)
    assert (option.underlying, option.expiry, option.right, option.strike) == (
        underlying,
        expiry,
        right,
        strike,
    )


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "aapl", "AAPL ", " AAPL", "AAPL\n", "TOOLONG", "BRK.", "BRK.B.C", "BRK.BBBB", "BRK/B", "A1", "ÄPPL",
        "GOOG151224X00750000", "GOOG151224c00750000", "GOOG150230C00750000", "GOOG151324C00750000",
        "GOOG151224C00000000", "GOOG151224C0075000", "GOOG151224C007500000", "GOOG 151224C00750000",
        "GOOG   151224C00750000", "GOOG  151224C00750000\n", " GOOG 151224C00750000", "1GOOG151224C00750000",
        "ABCDEFG151224C00750000", "151224C00750000", "GOOG１５1224C00750000", "GOOG٢٥1224C00750000",
    ],
)  # fmt: skip
def test_other_text_is_refused_with_field_rule_and_remedy(text: str) -> None:
    with pytest.raises(UnknownSymbolForm) as refusal:
        parse_symbol(text)
    assert refusal.value.code == "UNKNOWN_SYMBOL"
    assert refusal.value.details["field"] == "symbol"
    assert refusal.value.details["rule"]
    assert "AAPL" in refusal.value.details["remedy"]


@given(roots, expiries, st.sampled_from(Right), strikes)
def test_what_is_spelled_is_read_again(root: str, expiry: date, right: Right, strike: int) -> None:
    symbol = osi(root, expiry, right, strike)
    option = parse_symbol(symbol)
    assert (option.underlying, option.expiry, option.right, option.strike) == (root, expiry, right, strike)
    padded = padded_osi(symbol)
    assert len(padded) == 21
    assert padded.replace(" ", "") == symbol
    assert parse_symbol(padded) == option


@given(st.text(max_size=24))
def test_any_text_is_read_or_refused_and_never_changed(text: str) -> None:
    try:
        instrument = parse_symbol(text)
    except UnknownSymbolForm:
        return
    assert instrument.symbol == text.replace(" ", "")


@pytest.mark.parametrize(
    ("root", "expiry", "strike"),
    [
        ("goog", date(2015, 12, 24), 7_500_000),
        ("ABCDEFG", date(2015, 12, 24), 7_500_000),
        ("GOOG", date(1999, 12, 24), 7_500_000),
        ("GOOG", date(2100, 1, 1), 7_500_000),
        ("GOOG", date(2015, 12, 24), 0),
        ("GOOG", date(2015, 12, 24), -10),
        ("GOOG", date(2015, 12, 24), 15),
        ("GOOG", date(2015, 12, 24), 1_000_000_000),
    ],
)
def test_what_osi_cannot_spell_is_refused(root: str, expiry: date, strike: int) -> None:
    with pytest.raises(UnknownSymbolForm):
        osi(root, expiry, Right.CALL, strike)


def test_an_equity_has_no_padded_form() -> None:
    with pytest.raises(UnknownSymbolForm):
        padded_osi("AAPL")


@pytest.mark.parametrize(
    ("symbol", "price", "step"),
    [
        # Rule 612 and the option increments as in docs/rules/market-data.md, in 1/10,000 dollar.
        pytest.param("AAPL", 10_000, 100, id="stock at 1.00"),
        pytest.param("AAPL", 9_999, 1, id="stock below 1.00"),
        pytest.param("AAPL261218C00200000", 29_900, 100, id="penny class below 3.00"),
        pytest.param("AAPL261218C00200000", 30_000, 500, id="penny class from 3.00"),
        pytest.param("SPY261218C00600000", 30_000, 100, id="SPY always in cents"),
        pytest.param("QQQ261218C00600000", 990_000, 100, id="QQQ always in cents"),
        pytest.param("IWM261218P00200000", 30_000, 100, id="IWM always in cents"),
        pytest.param("BLK261218C01000000", 29_500, 500, id="other class below 3.00"),
        pytest.param("BLK261218C01000000", 30_000, 1_000, id="other class from 3.00"),
    ],
)
def test_price_step(symbol: str, price: int, step: int) -> None:
    assert price_step(parse_symbol(symbol), price) == step
