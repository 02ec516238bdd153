"""When trading stands still: halts, price bands around a stock, and breakers for the whole market.

Orders wait out a halt and meet the first usable quote after it. Sources and worked examples:
docs/rules/halts.md.
"""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from enum import StrEnum

import msgspec

from raxx.kernel.clock import SECOND_NS, show_exchange_moment, show_exchange_time
from raxx.market import listing
from raxx.market.contracts import Instrument
from raxx.market.quotes import Quote
from raxx.market.sessions import Session
from raxx.market.status import EVERYTHING as EVERYTHING
from raxx.market.status import Reason as Reason
from raxx.market.status import TradingStatus

MINUTE_NS = 60 * SECOND_NS
_CENT = 100  # ticks


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """No trading in `symbol` while from_ns <= t < until_ns; `until_ns` None while nobody knows."""

    symbol: str
    from_ns: int
    until_ns: int | None
    reason: Reason


def halted_by(instrument: Instrument, halts: Iterable[Halt], at_ns: int) -> Halt | None:
    """The halt that keeps `instrument` from trading, the longest if there are several.

    An option stands still with the stock that its root is named after, an adjusted contract too.
    """
    symbols = {instrument.symbol, instrument.underlying, EVERYTHING}
    if instrument.expiry is not None:
        symbols.add(listing.stock_of(instrument.underlying))
    in_force = [
        h
        for h in halts
        if h.symbol in symbols and h.from_ns <= at_ns and (h.until_ns is None or at_ns < h.until_ns)
    ]
    endless = next((h for h in in_force if h.until_ns is None), None)
    return endless or max(in_force, key=lambda h: h.until_ns or 0, default=None)


def is_halted(instrument: Instrument, halts: Iterable[Halt], at_ns: int) -> bool:
    return halted_by(instrument, halts, at_ns) is not None


def in_force(instrument: Instrument, statuses: Iterable[TradingStatus], at_ns: int) -> Halt | None:
    """The halt that keeps `instrument` from trading, from what its market has said of halts."""
    halts = (
        Halt(symbol=each.symbol, from_ns=each.ts, until_ns=each.until_ns, reason=each.reason)
        for each in statuses
        if each.reason is not None
    )
    return halted_by(instrument, halts, at_ns)


_IN_WORDS = {
    Reason.NEWS_PENDING: "news is expected",
    Reason.NEWS_RELEASED: "news is out and being read",
    Reason.INFORMATION_REQUESTED: "the exchange has asked the company for information",
    Reason.SEC_SUSPENSION: "the SEC has suspended trading",
    Reason.OPERATIONAL: "of an operational problem",
    Reason.PRICE_BAND: "its price stayed at a band for fifteen seconds",
    Reason.STRADDLE: "its quote lay across a price band",
    Reason.MARKET_7: "the market fell by 7 %",
    Reason.MARKET_13: "the market fell by 13 %",
    Reason.MARKET_20: "the market fell by 20 %",
}


def sentence(halt: Halt, *, now_ns: int | None = None) -> str:
    """`Trading in ABC stands still since … because news is expected (T1); when it ends is not known.`

    `now_ns` None: whether it is over does not matter.
    """
    what = "All trading" if halt.symbol == EVERYTHING else f"Trading in {halt.symbol}"
    why = f"because {_IN_WORDS[halt.reason]} ({halt.reason})"
    since = show_exchange_moment(halt.from_ns)
    if halt.until_ns is None:
        return f"{what} stands still since {since} {why}; when it ends is not known."
    is_over = now_ns is None or now_ns >= halt.until_ns
    verb = "stood still from" if is_over else "stands still since"
    return f"{what} {verb} {since}, until {show_exchange_time(halt.until_ns)}, {why}."


# --- Limit up, limit down ----------------------------------------------------------------------------------


class Tier(StrEnum):
    """1: the S&P 500, the Russell 1000 and the funds that the plan names. 2: every other listed stock."""

    ONE = "1"
    TWO = "2"


class LuldRules(msgspec.Struct, frozen=True, kw_only=True):
    """The plan as in force from a day on.

    Bands are doubled in the first `opening_ns` and the last `closing_ns` of a session: all, or at the
    close only those of Tier 1 and of stocks up to 3 dollars.
    """

    since: date
    opening_ns: int
    closing_ns: int
    closing_doubles_all: bool
    limit_state_ns: int = 15 * SECOND_NS
    pause_ns: int = 5 * MINUTE_NS
    no_reopening_ns: int = 10 * MINUTE_NS  # a pause declared this close to the close lasts until then


LULD = (
    LuldRules(
        since=date(2013, 4, 8),
        opening_ns=15 * MINUTE_NS,
        closing_ns=25 * MINUTE_NS,
        closing_doubles_all=True,
    ),
    # Amendment 18. That it held from this day on is not verified.
    LuldRules(since=date(2020, 2, 24), opening_ns=0, closing_ns=25 * MINUTE_NS, closing_doubles_all=False),
)


def luld_rules(day: date) -> LuldRules | None:
    """The plan of that day; None before there was one."""
    return next((rules for rules in reversed(LULD) if rules.since <= day), None)


class Bands(msgspec.Struct, frozen=True):
    """A stock may not trade below `lower` or above `upper` (1/10,000 dollar)."""

    lower: int
    upper: int


_THREE_DOLLARS, _LOW = 30_000, 7_500  # ticks
_LOW_WIDTH = 1_500


def bands(
    reference: int, *, previous_close: int, tier: Tier, at_ns: int, session: Session, leverage: int = 1
) -> Bands | None:
    """The bands around `reference`, the stock's average price over the last five minutes (1/10,000 dollar).

    The class goes by the previous close. `leverage` of a Tier 2 fund multiplies the percentage. Rounded to
    the cent; None outside the session and before the plan existed.
    """
    rules = luld_rules(session.date)
    if rules is None or not session.is_open(at_ns):
        return None
    factor = 2 if _doubled(rules, previous_close, tier, at_ns, session) else 1
    if previous_close > _THREE_DOLLARS:
        percent = 5 if tier is Tier.ONE else 10 * leverage
    else:
        percent = 20 * (1 if tier is Tier.ONE else leverage)
    width = reference * percent * factor
    if previous_close < _LOW:
        width = min(_LOW_WIDTH * factor * 100, reference * 75 * factor)
    return Bands(max(_to_cent(reference * 100 - width), _CENT), _to_cent(reference * 100 + width))


def _doubled(rules: LuldRules, previous_close: int, tier: Tier, at_ns: int, session: Session) -> bool:
    if at_ns - session.open_ns < rules.opening_ns:
        return True
    if session.close_ns - at_ns > rules.closing_ns:
        return False
    return rules.closing_doubles_all or tier is Tier.ONE or previous_close <= _THREE_DOLLARS


def _to_cent(hundredths: int) -> int:
    """Hundredths of a tick to ticks, to the nearest cent, half up."""
    return (hundredths + 5_000) // 10_000 * _CENT


def next_reference(current: int, average: int, *, since_ns: int, at_ns: int) -> int:
    """The reference price: it follows the five-minute average once they differ by 1 % and it stood for 30 s."""
    moved = abs(average - current) * 100 >= current
    return average if moved and at_ns - since_ns >= 30 * SECOND_NS else current


class Phase(StrEnum):
    TRADING = "trading"
    LIMIT = "limit"  # at a band; there is time to trade out of it
    PAUSED = "paused"


class State(msgspec.Struct, frozen=True):
    """Where a stock stands: since when, at which band (the lower one if `down`), and when a pause ends."""

    phase: Phase = Phase.TRADING
    since_ns: int = 0
    down: bool = False
    until_ns: int = 0


TRADING = State()


def next_state(state: State, quote: Quote, band: Bands | None, *, at_ns: int, session: Session) -> State:
    """The state at `at_ns`, with the NBBO and the bands in force then. Time alone moves it too: ask again.

    At the lower band when the ask is at or below it, at the upper when the bid is at or above it. Fifteen
    seconds there without a break make a pause of five minutes; one declared in the last ten minutes of the
    session lasts until its close.
    """
    rules = luld_rules(session.date)
    if rules is None or band is None:
        return state if state.phase is Phase.PAUSED and at_ns < state.until_ns else TRADING
    if state.phase is Phase.LIMIT and at_ns - state.since_ns >= rules.limit_state_ns:
        # The quote that came after the fifteen seconds cannot undo what they made.
        paused_ns = state.since_ns + rules.limit_state_ns
        late = session.close_ns - paused_ns <= rules.no_reopening_ns
        until_ns = session.close_ns if late else paused_ns + rules.pause_ns
        state = State(Phase.PAUSED, paused_ns, state.down, until_ns)
    if state.phase is Phase.PAUSED and at_ns < state.until_ns:
        return state
    down, up = 0 < quote.ask <= band.lower, quote.bid >= band.upper
    if not (down or up):
        return TRADING
    same = state.phase is Phase.LIMIT and state.down is down
    return state if same else State(Phase.LIMIT, at_ns, down)


def as_halt(symbol: str, state: State) -> Halt | None:
    """The halt that a paused state means for orders; None when it trades."""
    if state.phase is not Phase.PAUSED:
        return None
    return Halt(symbol=symbol, from_ns=state.since_ns, until_ns=state.until_ns, reason=Reason.PRICE_BAND)


# --- The whole market --------------------------------------------------------------------------------------


class Breaker(msgspec.Struct, frozen=True):
    """A fall of the S&P 500 from the previous close, and for how long it stops the market (None: the day)."""

    reason: Reason
    fall: Decimal
    halt_ns: int | None


BREAKERS = (
    Breaker(Reason.MARKET_7, Decimal("0.07"), 15 * MINUTE_NS),
    Breaker(Reason.MARKET_13, Decimal("0.13"), 15 * MINUTE_NS),
    Breaker(Reason.MARKET_20, Decimal("0.20"), None),
)
BREAKERS_SINCE = date(2013, 4, 8)
_LAST_SHORT_HALT_NS = 35 * MINUTE_NS  # before the close: 15:25, or 12:25 on a half day


def market_halt(
    *, index: Decimal, previous_close: Decimal, at_ns: int, session: Session, tripped: frozenset[Reason]
) -> Halt | None:
    """The halt that the S&P 500 at `index` trips at `at_ns`. `tripped`: the breakers that tripped before today.

    The two lower ones trip once a day each, and not after 15:25. A fall through several trips the deepest.
    """
    if session.date < BREAKERS_SINCE or not session.is_open(at_ns):
        return None
    fall = 1 - index / previous_close
    late = session.close_ns - at_ns <= _LAST_SHORT_HALT_NS
    for depth in range(len(BREAKERS) - 1, -1, -1):
        breaker = BREAKERS[depth]
        if fall < breaker.fall:
            continue
        # A deeper breaker that has tripped includes this one.
        if tripped & {b.reason for b in BREAKERS[depth:]} or (late and breaker.halt_ns is not None):
            return None
        until_ns = session.close_ns if breaker.halt_ns is None else at_ns + breaker.halt_ns
        return Halt(symbol=EVERYTHING, from_ns=at_ns, until_ns=until_ns, reason=breaker.reason)
    return None
