"""What the oracle looks at: quotes in tape order, the hours of each day, and who is halted when.

Prices are Decimal dollars straight from the text of the tape, instants nanoseconds UTC. Nothing
here is imported from the product.
"""

import csv
import gzip
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from heapq import merge
from itertools import repeat
from pathlib import Path
from typing import Literal, NamedTuple

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
MAX_AGE_NS = {"equity": 120 * SECOND, "option": 1_800 * SECOND}
CENT = Decimal("0.01")

Hours = Literal["regular", "late", "extended"]


class Row(NamedTuple):
    """One NBBO update: nanoseconds UTC, dollars, None for a side without a quote.

    Sizes are shares or contracts; only the size cap asks for them. `line` is the place of the row
    in its tape, counted over all symbols: it orders quotes of different symbols with one stamp.
    """

    ts_ns: int
    bid: Decimal | None
    ask: Decimal | None
    bid_size: int = 0
    ask_size: int = 0
    line: int = 0


class Session(NamedTuple):
    """One day: regular hours are open_ns <= t < close_ns. None: no longer hours than the regular ones."""

    open_ns: int
    close_ns: int
    late_close_ns: int | None = None
    extended_open_ns: int | None = None
    extended_close_ns: int | None = None

    def window(self, hours: Hours) -> tuple[int, int]:
        """From and until when it trades in these hours: from <= t < until."""
        match hours:
            case "regular":
                return self.open_ns, self.close_ns
            case "late":
                return self.open_ns, self.late_close_ns or self.close_ns
            case "extended":
                return self.extended_open_ns or self.open_ns, self.extended_close_ns or self.close_ns


@dataclass(frozen=True, slots=True)
class Tape:
    """Every update of every symbol in file order, and the last stamp of the whole file."""

    rows: Mapping[str, Sequence[Row]]
    end_ns: int


@dataclass(frozen=True, slots=True)
class Halt:
    """Nothing trades while from_ns <= t < to_ns (None: to the end of the tape), nor on a quote stamped at `to_ns`."""

    from_ns: int
    to_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Venue:
    """What holds for all orders: the days, the halts by symbol, the roots quoted in penny increments."""

    sessions: Sequence[Session]
    halts: Mapping[str, Sequence[Halt]] = field(default_factory=dict)
    penny: frozenset[str] = frozenset({"AAPL", "BAC", "GOOG", "IBM"})
    max_age_ns: Mapping[str, int] = field(default_factory=lambda: MAX_AGE_NS)


def load_tape(path: Path) -> Tape:
    """Read a `quotes_*.csv.gz` file. Padded option symbols become compact ones."""
    rows: dict[str, list[Row]] = {}
    end_ns = 0
    with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
        lines = csv.reader(text)
        next(lines)
        for number, (stamp, symbol, bid, bid_size, ask, ask_size) in enumerate(lines, start=1):
            end_ns = int(stamp)
            rows.setdefault(symbol.replace(" ", ""), []).append(
                Row(
                    end_ns,
                    Decimal(bid) if bid else None,
                    Decimal(ask) if ask else None,
                    int(bid_size),
                    int(ask_size),
                    number,
                )
            )
    return Tape(rows, end_ns)


def load_sessions(path: Path) -> list[Session]:
    """Read `sessions.csv`. Longer hours follow from the clock: 04:00, and 15 minutes or 4 hours after the close."""
    with path.open(encoding="utf-8", newline="") as text:
        return [
            exchange_day(int(day["open_ts_ns_utc"]), int(day["close_ts_ns_utc"]))
            for day in csv.DictReader(text)
        ]


def exchange_day(open_ns: int, close_ns: int) -> Session:
    """A New York day that opens at 09:30, with its longer hours."""
    return Session(
        open_ns, close_ns, close_ns + 15 * MINUTE, open_ns - 5 * HOUR - 30 * MINUTE, close_ns + 4 * HOUR
    )


def current_or_next(at_ns: int, sessions: Sequence[Session], hours: Hours = "regular") -> Session:
    """The session in progress at `at_ns`, else the next one: the first that closes later."""
    return sessions[bisect_right(sessions, at_ns, key=lambda session: session.window(hours)[1])]


def opg_accepted(at_ns: int, sessions: Sequence[Session]) -> bool:
    """From 19:00 until 09:28 of a day with a session."""
    return _outside(at_ns, sessions, lambda day: day.open_ns - 2 * MINUTE)


def cls_accepted(at_ns: int, sessions: Sequence[Session]) -> bool:
    """From 19:00 until ten minutes before the close: 15:50, or 12:50 on a half day."""
    return _outside(at_ns, sessions, lambda day: day.close_ns - 10 * MINUTE)


def _outside(at_ns: int, sessions: Sequence[Session], cutoff: Callable[[Session], int]) -> bool:
    """Is `at_ns` outside all stretches from the cut-off of a session to 19:00 of its day (09:30 + 9:30)?"""
    evening = 9 * HOUR + 30 * MINUTE
    index = bisect_right(sessions, at_ns, key=lambda day: day.open_ns + evening)
    return index == len(sessions) or at_ns < cutoff(sessions[index])


def asset_class(symbol: str) -> str:
    """A compact option symbol ends in yymmdd, C or P, and eight digits of strike."""
    return "option" if len(symbol) > 15 else "equity"


def underlying(symbol: str) -> str:
    """The root of an option; an equity itself."""
    return symbol[:-15] if asset_class(symbol) == "option" else symbol


def increment(symbol: str, price: Decimal, venue: Venue) -> Decimal:
    """The legal step of an order at this price (docs/rules/market-data.md#increments)."""
    root = underlying(symbol)
    if asset_class(symbol) == "equity":
        return CENT if price >= 1 else Decimal("0.0001")
    if root in ("IWM", "QQQ", "SPY"):
        return CENT
    if root in venue.penny:
        return Decimal("0.05") if price >= 3 else CENT
    return Decimal("0.10") if price >= 3 else Decimal("0.05")


def round_up(price: Decimal, step: Decimal) -> Decimal:
    return (price / step).to_integral_value(ROUND_CEILING) * step


def round_down(price: Decimal, step: Decimal) -> Decimal:
    return (price / step).to_integral_value(ROUND_FLOOR) * step


def quotes_after(
    symbols: Sequence[str], tape: Mapping[str, Sequence[Row]], after_ns: int
) -> tuple[dict[str, Row], Iterator[tuple[str, Row]]]:
    """The quotes in force at an instant (the last stamped at or before it), and all later ones in tape order."""
    in_force: dict[str, Row] = {}
    later: list[Iterator[tuple[str, Row]]] = []
    for symbol in symbols:
        rows = tape.get(symbol, ())
        first_later = bisect_right(rows, after_ns, key=lambda row: row.ts_ns)
        if first_later:
            in_force[symbol] = rows[first_later - 1]
        later.append(zip(repeat(symbol), rows[first_later:], strict=False))
    if len(later) == 1:
        return in_force, later[0]
    return in_force, merge(*later, key=lambda pair: (pair[1].ts_ns, pair[1].line))


def unusable(symbol: str, quote: Row | None, now_ns: int, hours: Hours, venue: Venue) -> str | None:
    """Why the quote of one symbol cannot fill anything at `now_ns`, or None when it can. The first reason counts."""
    opens_ns, _ = current_or_next(now_ns, venue.sessions, hours).window(hours)
    if now_ns < opens_ns:
        return "OUTSIDE_SESSION"
    halts = [halt for name in {symbol, underlying(symbol)} for halt in venue.halts.get(name, ())]
    if any(halt.from_ns <= now_ns and (halt.to_ns is None or now_ns < halt.to_ns) for halt in halts):
        return "HALTED"
    if quote is None:
        return "NO_QUOTE"
    if quote.ts_ns < opens_ns:
        return "OUTSIDE_SESSION"
    if any(halt.to_ns is not None and quote.ts_ns <= halt.to_ns <= now_ns for halt in halts):
        return "HALTED"
    if now_ns - quote.ts_ns > venue.max_age_ns[asset_class(symbol)]:
        return "STALE_QUOTE"
    if quote.bid is None or quote.ask is None:
        return "ONE_SIDED_QUOTE"
    if quote.bid > quote.ask:
        return "CROSSED_QUOTE"
    return None
