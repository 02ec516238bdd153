"""What is traded: equities and listed options as values, and the symbols that name them. Pure.

Inside the product a symbol is compact: `AAPL`, `BRK.B`, `GOOG151224C00750000`. The 21-character
OSI form with a padded root (`GOOG  151224C00750000`) is read as well. Source: docs/rules/market-data.md.
"""

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from raxx.kernel.errors import InvalidInput
from raxx.kernel.money import TICKS_PER_DOLLAR

SHARES_PER_CONTRACT = 100
_TICKS_PER_STRIKE_UNIT = 10  # OSI counts strikes in 1/1000 dollar
_STRIKE_MAX = 99_999_999 * _TICKS_PER_STRIKE_UNIT

# One to five letters, then at most one suffix for a share class, a preferred series, a unit or a warrant.
_EQUITY = re.compile(r"[A-Z]{1,5}(?:\.[A-Z]{1,3})?")
_ROOT = re.compile(r"[A-Z][A-Z0-9]{0,5}")
_OPTION = re.compile(r"([A-Z][A-Z0-9]{0,5})( *)([0-9]{2})([0-9]{2})([0-9]{2})([CP])([0-9]{8})")
_PADDED_ROOT = 6

# (from price, increment), both in ticks, highest price first.
_Steps = tuple[tuple[int, int], ...]
_EQUITY_STEPS: _Steps = ((TICKS_PER_DOLLAR, 100), (0, 1))  # Rule 612
_PENNY_STEPS: _Steps = ((3 * TICKS_PER_DOLLAR, 500), (0, 100))
_ALWAYS_PENNY_STEPS: _Steps = ((0, 100),)
_NICKEL_STEPS: _Steps = ((3 * TICKS_PER_DOLLAR, 1_000), (0, 500))

_ALWAYS_PENNY_ROOTS = frozenset({"IWM", "QQQ", "SPY"})

# The most traded classes of the Penny Interval Program, as of 2026. A root that is missing here is
# quoted in the wider increments, which every venue accepts.
_PENNY_CLASSES = """
    AA AAL AAPL ABBV ABNB ABT ADBE AFRM AMAT AMC AMD AMZN ARKK AVGO AXP BA BABA BAC BIDU BMY BP C CAT CCL
    CHWY CLF COIN COP COST CRM CRWD CSCO CVNA CVS CVX DAL DIA DIS DKNG EBAY EEM EFA ENPH ETSY EWZ F FCX FDX
    FSLR FXI GDX GE GILD GLD GM GME GOOG GOOGL GS HAL HD HOOD HYG IBM INTC IWM JD JNJ JPM KHC KO KRE KWEB
    LCID LLY LOW LULU LVS LYFT MA MARA MCD META MGM MO MRK MRNA MRVL MS MSFT MSTR MU NEM NFLX NIO NKE NVDA ORCL
    OXY PBR PDD PEP PFE PG PINS PLTR PLUG PYPL QCOM QQQ RBLX RIOT RIVN RKT ROKU SBUX SCHW SHOP SLB SLV
    SMCI SMH SNAP SNOW SOFI SOXL SPY SQQQ T TGT TLT TNA TQQQ TSLA TSM TXN UAL UBER UNG UNH UPS USO UVXY V VALE VXX VZ
    WFC WMT WYNN XBI XHB XLB XLE XLF XLI XLK XLP XLU XLV XLY XOM XOP XRT XYZ Z ZM
    """
_PENNY_ROOTS = frozenset(_PENNY_CLASSES.split())


class AssetClass(StrEnum):
    EQUITY = "equity"
    OPTION = "option"


class Right(StrEnum):
    CALL = "C"
    PUT = "P"


class UnknownSymbolForm(InvalidInput):
    """The text names neither an equity nor a listed option."""

    code = "UNKNOWN_SYMBOL"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable instrument as its symbol describes it.

    `multiplier` is dollars per dollar of its price and unit of quantity: 1, or 100 for an option; of one that a
    corporate action has changed what its class says (`raxx.market.listing.instrument_of`).
    `underlying` is the symbol itself for an equity and the OSI root for an option, which is not
    always the ticker of what is delivered (SPXW, adjusted roots such as XYZ1). `strike` is in
    ticks of 1/10,000 dollar, 0 for an equity. `penny` is False for an option class outside the penny
    program.
    """

    symbol: str
    asset_class: AssetClass
    multiplier: int
    underlying: str
    expiry: date | None = None
    right: Right | None = None
    strike: int = 0
    penny: bool = True


def parse_symbol(text: str) -> Instrument:
    """The instrument that `text` names, compact or padded. Raises UnknownSymbolForm.

    An expiry is any calendar day of 2000 to 2099: before February 2015 monthly options carried a Saturday.
    """
    if _EQUITY.fullmatch(text):
        return Instrument(symbol=text, asset_class=AssetClass.EQUITY, multiplier=1, underlying=text)
    parts = _OPTION.fullmatch(text)
    if parts is None:
        raise _unknown(text, "is neither an equity symbol nor an OSI option symbol")
    root, padding, yy, mm, dd, right, strike_text = parts.groups()
    if padding and len(root) + len(padding) != _PADDED_ROOT:
        raise _unknown(text, "a padded option symbol has its root filled with spaces to 6 characters")
    try:
        expiry = date(2000 + int(yy), int(mm), int(dd))
    except ValueError:
        raise _unknown(text, f"{yy}{mm}{dd} is not a date") from None
    strike = int(strike_text) * _TICKS_PER_STRIKE_UNIT
    if not strike:
        raise _unknown(text, "the strike is above 0")
    return Instrument(
        symbol=f"{root}{yy}{mm}{dd}{right}{strike_text}",
        asset_class=AssetClass.OPTION,
        multiplier=SHARES_PER_CONTRACT,
        underlying=root,
        expiry=expiry,
        right=Right(right),
        strike=strike,
        penny=root in _PENNY_ROOTS,
    )


def osi(root: str, expiry: date, right: Right, strike_ticks: int) -> str:
    """The compact symbol of a listed option. Raises UnknownSymbolForm for what OSI cannot spell."""
    shown = f"{root} {expiry} {right} {strike_ticks}"
    if not _ROOT.fullmatch(root):
        raise _unknown(shown, "the root has 1 to 6 capital letters and digits and starts with a letter")
    if not 2000 <= expiry.year <= 2099:
        raise _unknown(shown, "the expiry lies in 2000 to 2099")
    if strike_ticks % _TICKS_PER_STRIKE_UNIT or not 0 < strike_ticks <= _STRIKE_MAX:
        raise _unknown(shown, "the strike is a multiple of 0.001 above 0 and below 100,000")
    return f"{root}{expiry:%y%m%d}{right}{strike_ticks // _TICKS_PER_STRIKE_UNIT:08d}"


def padded_osi(symbol: str) -> str:
    """The 21-character form of an option symbol. Raises UnknownSymbolForm for anything else."""
    option = parse_symbol(symbol)
    if option.asset_class is not AssetClass.OPTION:
        raise _unknown(symbol, "is an equity symbol, which OSI does not pad")
    return option.underlying.ljust(_PADDED_ROOT) + option.symbol[len(option.underlying) :]


def price_step(instrument: Instrument, price_ticks: int) -> int:
    """The increment, in ticks, on which an order at `price_ticks` must lie.

    Equities are decided by the price of the order itself (Rule 612), options by the class of
    the root and whether the price reaches 3.00. Source: docs/rules/market-data.md#increments.
    """
    steps = _steps(instrument)
    return next(step for from_price, step in steps if price_ticks >= from_price)


def _steps(instrument: Instrument) -> _Steps:
    if instrument.asset_class is AssetClass.EQUITY:
        return _EQUITY_STEPS
    if instrument.underlying in _ALWAYS_PENNY_ROOTS:
        return _ALWAYS_PENNY_STEPS
    return _PENNY_STEPS if instrument.penny else _NICKEL_STEPS


def _unknown(text: str, rule: str) -> UnknownSymbolForm:
    return UnknownSymbolForm(
        field="symbol",
        rule=rule,
        value=text,
        remedy="Write an equity like AAPL or BRK.B, an option like GOOG151224C00750000.",
    )
