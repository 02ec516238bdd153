"""What a listed option is beyond its symbol: what it delivers, how and when it is settled. Pure.

A symbol names root, expiry, right and strike. The rest follows from the root: a table of the index and
fund classes with terms of their own, and for every other root the standard contract, 100 shares of the
stock of that name. What an adjusted root delivers (`XYZ1`) is known from the event that made it; it is
passed in, never guessed. Source: docs/rules/expiration.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

from raxx.kernel import clock
from raxx.kernel.errors import InvalidInput
from raxx.kernel.money import from_ticks
from raxx.market.contracts import SHARES_PER_CONTRACT, Instrument, Right, parse_symbol
from raxx.market.sessions import Hours, Session, Sessions


class ExerciseStyle(StrEnum):
    AMERICAN = "american"  # on any day
    EUROPEAN = "european"  # at expiration only


class SettlementType(StrEnum):
    PHYSICAL = "physical"  # the deliverable changes hands for the exercise price
    CASH = "cash"  # the difference is paid


class SettlementTime(StrEnum):
    AM = "am"  # on the opening prices of the expiration day; trading ends the session before
    PM = "pm"  # on the closing price of the expiration day


class NotAnOption(InvalidInput):
    """The instrument has no option terms."""

    code = "NOT_AN_OPTION"


class UnknownDeliverable(InvalidInput):
    """Nothing says what an adjusted contract delivers."""

    code = "UNKNOWN_DELIVERABLE"


@dataclass(frozen=True, slots=True)
class Deliverable:
    """What one contract delivers: shares by symbol, in a fixed order, and dollars."""

    shares: tuple[tuple[str, Decimal], ...] = ()
    cash: Decimal = Decimal(0)

    def of(self, symbol: str) -> Decimal:
        """How many shares of `symbol` it holds."""
        return sum((qty for name, qty in self.shares if name == symbol), Decimal(0))

    def value(self, prices: Mapping[str, int]) -> Decimal:
        """Dollars at these prices (1/10,000 dollar). Raises KeyError for a share without a price."""
        return sum((qty * from_ticks(prices[name]) for name, qty in self.shares), self.cash)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionClass:
    """What all contracts of one root have in common.

    `underlying`: the ticker whose official price settles them (`SPX` for `SPXW`). `multiplier`: dollars of
    premium and of exercise price per dollar quoted; the deliverable is a matter of its own. A cash-settled
    class delivers nothing. `hours`: how late it trades on a day on which it does not expire.
    """

    underlying: str
    deliverable: Deliverable
    multiplier: int = SHARES_PER_CONTRACT
    style: ExerciseStyle = ExerciseStyle.AMERICAN
    settlement: SettlementType = SettlementType.PHYSICAL
    settles: SettlementTime = SettlementTime.PM
    hours: Hours = Hours.REGULAR

    @property
    def is_physical(self) -> bool:
        return self.settlement is SettlementType.PHYSICAL

    @property
    def delivers_cash_alone(self) -> bool:
        """What its contracts are worth at the end is known, and never changes."""
        return self.is_physical and not self.deliverable.shares


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionTerms(OptionClass):
    """One contract, whole.

    It trades for the last time in `last_session`, until `last_trade_ns`. `price_ns` is the instant whose
    official price settles it: the close of its expiration session, or for AM settlement the open. At
    `expires_ns`, when both have passed, its fate is decided. `strike` in 1/10,000 dollar.
    """

    symbol: str
    right: Right
    strike: int
    last_session: Session
    last_trade_ns: int
    price_ns: int
    expires_ns: int

    @property
    def exercise_cost(self) -> Decimal:
        """Dollars that change hands for the deliverable of one contract."""
        return from_ticks(self.strike) * self.multiplier

    def intrinsic(self, prices: Mapping[str, int]) -> Decimal:
        """Dollars by which one contract is in the money at these prices; negative when out of it.

        The prices are official ones, or marks, in 1/10,000 dollar. Raises KeyError when one is missing.
        """
        if self.is_physical:
            value = self.deliverable.value(prices)
        else:
            value = from_ticks(prices[self.underlying]) * self.multiplier
        return value - self.exercise_cost if self.right is Right.CALL else self.exercise_cost - value


def _cash(
    underlying: str,
    *,
    settles: SettlementTime = SettlementTime.PM,
    style: ExerciseStyle = ExerciseStyle.EUROPEAN,
) -> OptionClass:
    return OptionClass(
        underlying=underlying, deliverable=Deliverable(), settlement=SettlementType.CASH,
        style=style, settles=settles, hours=Hours.LATE,
    )  # fmt: skip


_AM = SettlementTime.AM

# Cash-settled index classes. Monthly expirations of the broad indexes settle on opening prices under the
# root of the index itself; those under a root of their own (W, P) settle on the close.
_INDEX_CLASSES = {
    "SPX": _cash("SPX", settles=_AM), "SPXW": _cash("SPX"), "SPXPM": _cash("SPX"), "XSP": _cash("XSP"),
    "NDX": _cash("NDX", settles=_AM), "NDXP": _cash("NDX"),
    "RUT": _cash("RUT", settles=_AM), "RUTW": _cash("RUT"), "MRUT": _cash("MRUT"),
    "VIX": _cash("VIX", settles=_AM), "VIXW": _cash("VIX", settles=_AM),
    "DJX": _cash("DJX", settles=_AM),
    "OEX": _cash("OEX", style=ExerciseStyle.AMERICAN), "XEO": _cash("OEX"),
}  # fmt: skip

# Options on funds and notes that trade a quarter of an hour longer than the stock market.
_LATE_CLASSES = """
    AMJ DBA DBB DBC DBO DIA EEM EFA GLD IWM IWN IWO IWV KBE KRE MDY MOO OEF QQQ SLX SPY SVIX SVXY UNG UUP
    UVIX UVXY VIXM VIXY VXX VXZ XHB XLB XLC XLE XLF XLI XLK XLP XLRE XLU XLV XLY XME XRT
    """
_LATE_ROOTS = frozenset(_LATE_CLASSES.split())

# Roots have no point, the tickers of these stocks do.
_DOTTED_TICKERS = {
    "BFA": "BF.A", "BFB": "BF.B", "BRKB": "BRK.B", "CWENA": "CWEN.A", "HEIA": "HEI.A", "LENB": "LEN.B",
    "LGFA": "LGF.A", "LGFB": "LGF.B", "MOGA": "MOG.A", "RDSA": "RDS.A", "RDSB": "RDS.B",
}  # fmt: skip

STANDARD_ONLY: Mapping[str, OptionClass] = MappingProxyType({})


def root_of(ticker: str) -> str:
    """The root of the standard options on a stock: `BRKB` for `BRK.B`."""
    return ticker.replace(".", "")


def class_of(root: str, adjusted: Mapping[str, OptionClass] = STANDARD_ONLY) -> OptionClass:
    """What contracts of `root` are. `adjusted`: the roots that a corporate action changed, or made.

    Raises UnknownDeliverable for a root with a digit that is not among them.
    """
    if root in adjusted:
        return adjusted[root]
    if is_adjusted(root):
        raise UnknownDeliverable(
            field="symbol", rule="an adjusted contract is known by the event that made it", value=root,
            remedy="Record the corporate action first.",
        )  # fmt: skip
    return _as_listed(root)


def is_adjusted(root: str) -> bool:
    """Whether a corporate action made it: such a root, and no other, has a digit."""
    return any(character.isdigit() for character in root)


def stock_of(root: str) -> str:
    """The stock, fund or index that contracts of a root follow, by its name alone: `SPX` for `SPXW`, `XYZ` for `XYZ1`. It
    halts with them, and one switch stops both; what an adjusted contract delivers may be something else."""
    return _as_listed(root.rstrip("0123456789")).underlying


def instrument_of(symbol: str, adjusted: Mapping[str, OptionClass] = STANDARD_ONLY) -> Instrument:
    """The instrument that a symbol names, with the multiplier of its class. Raises UnknownSymbolForm."""
    instrument = parse_symbol(symbol)
    listed = adjusted.get(instrument.underlying) if instrument.expiry is not None else None
    return instrument if listed is None else replace(instrument, multiplier=listed.multiplier)


@lru_cache(maxsize=20_000)
def _as_listed(root: str) -> OptionClass:
    """As it was listed, before any corporate action."""
    if root in _INDEX_CLASSES:
        return _INDEX_CLASSES[root]
    ticker = _DOTTED_TICKERS.get(root, root)
    return OptionClass(
        underlying=ticker,
        deliverable=Deliverable(((ticker, Decimal(SHARES_PER_CONTRACT)),)),
        hours=Hours.LATE if root in _LATE_ROOTS else Hours.REGULAR,
    )


def terms_of(
    instrument: Instrument, sessions: Sessions, adjusted: Mapping[str, OptionClass] = STANDARD_ONLY
) -> OptionTerms:
    """The terms of a listed option on the exchange's calendar, which is New York's on every feed.

    An expiry without a session (a Saturday, as monthlies had until January 2015, or a holiday) belongs to
    the session before. Raises NotAnOption, UnknownDeliverable, or LookupError beyond the calendar.
    """
    if instrument.expiry is None or instrument.right is None:
        raise NotAnOption(
            field="symbol", rule="only a listed option has terms", value=instrument.symbol,
            remedy="Name an option like GOOG151224C00750000.",
        )  # fmt: skip
    listed = class_of(instrument.underlying, adjusted)
    midnight = datetime.combine(instrument.expiry, time(), clock.EXCHANGE_ZONE)
    sessions.current_or_next(clock.to_ns(midnight))  # Raises where the calendar knows no further.
    price_session = _last_opened(sessions, clock.to_ns(midnight + timedelta(days=1)) - 1)
    if listed.settles is SettlementTime.AM:
        last_session = _last_opened(sessions, price_session.open_ns - 1)
        last_trade_ns, price_ns = last_session.closes_ns(listed.hours), price_session.open_ns
    else:
        # A cash-settled class stops with the close that settles it; a fund trades on until its own.
        last_session = price_session
        price_ns = price_session.close_ns
        last_trade_ns = price_session.closes_ns(listed.hours) if listed.is_physical else price_ns
    return OptionTerms(
        underlying=listed.underlying, deliverable=listed.deliverable, multiplier=listed.multiplier,
        style=listed.style, settlement=listed.settlement, settles=listed.settles, hours=listed.hours,
        symbol=instrument.symbol, right=instrument.right, strike=instrument.strike,
        last_session=last_session, last_trade_ns=last_trade_ns, price_ns=price_ns,
        expires_ns=max(last_trade_ns, price_ns),
    )  # fmt: skip


def trading_ends_ns(terms: OptionTerms, session: Session) -> int:
    """The instant at which a contract stops trading in `session`: 0 after its last one."""
    if session.open_ns > terms.last_session.open_ns:
        return 0
    return terms.last_trade_ns if session.date == terms.last_session.date else session.closes_ns(terms.hours)


def _last_opened(sessions: Sessions, at_ns: int) -> Session:
    session = sessions.last_opened(at_ns)
    if session is None:
        raise LookupError(f"calendar {sessions.name} knows no session before {at_ns}")
    return session
