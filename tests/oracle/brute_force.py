"""What docs/rules/fills.md says about one order and one tape, as simply as it can be written.

This is the yardstick for the product's engine, so it shares no code with it: no import from the
product, prices as Decimal straight from the text of the tape, one function per rule, one loop.
Do not make it clever, and do not mend it to agree with the engine: mend whichever of the two
departs from the document.
"""

import csv
import gzip
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal, NamedTuple

MAX_AGE_NS = {"equity": 120 * 10**9, "option": 1_800 * 10**9}


class Row(NamedTuple):
    """One NBBO update: nanoseconds UTC, dollars, None for a side without a quote."""

    ts_ns: int
    bid: Decimal | None
    ask: Decimal | None


class Session(NamedTuple):
    """Regular hours, open_ns <= t < close_ns, nanoseconds UTC."""

    open_ns: int
    close_ns: int


@dataclass(frozen=True, slots=True)
class Tape:
    """Every update of every symbol in file order, and the last stamp of the whole file."""

    rows: dict[str, list[Row]]
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as accepted. Symbols are compact ("IBM", "GOOG151224C00750000")."""

    number: int
    symbol: str
    submit_ns: int
    side: Literal["buy", "sell"]
    type: Literal["market", "limit"]
    tif: Literal["day", "gtc", "ioc", "fok"]
    qty: Decimal
    limit_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an order by the end of the tape.

    filled    at_ns, price, rule and the quote that filled it
    canceled  at_ns, reason and the quote in force, if there was one
    expired   at_ns
    working   nothing else: the tape ended first
    """

    kind: Literal["filled", "canceled", "expired", "working"]
    at_ns: int | None = None
    price: Decimal | None = None
    rule: str | None = None
    reason: str | None = None
    quote: Row | None = None


def load_tape(path: Path) -> Tape:
    """Read a `quotes_*.csv.gz` file. Padded option symbols become compact ones."""
    rows: dict[str, list[Row]] = {}
    end_ns = 0
    with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
        for line in csv.DictReader(text):
            end_ns = int(line["ts_ns_utc"])
            symbol = line["symbol"].replace(" ", "")
            rows.setdefault(symbol, []).append(Row(end_ns, _price(line["bid"]), _price(line["ask"])))
    return Tape(rows, end_ns)


def _price(text: str) -> Decimal | None:
    return Decimal(text) if text else None


def load_sessions(path: Path) -> list[Session]:
    """Read `sessions.csv`."""
    with path.open(encoding="utf-8", newline="") as text:
        return [Session(int(d["open_ts_ns_utc"]), int(d["close_ts_ns_utc"])) for d in csv.DictReader(text)]


def outcomes(orders: Iterable[Order], tape: Tape, sessions: Sequence[Session]) -> list[Outcome]:
    """One outcome per order, in the same order. `sessions` are sorted and reach beyond the tape."""
    return [decide(order, tape.rows.get(order.symbol, []), sessions, tape.end_ns) for order in orders]


def decide(order: Order, rows: Sequence[Row], sessions: Sequence[Session], end_ns: int) -> Outcome:
    """Follow one order through all rows of its symbol until it ends, or until the tape does."""
    max_age_ns = MAX_AGE_NS[asset_class(order.symbol)]
    expires_ns = current_or_next(order.submit_ns, sessions).close_ns if order.tif == "day" else None

    first_later = bisect_right(rows, order.submit_ns, key=lambda row: row.ts_ns)
    in_force = rows[first_later - 1] if first_later else None
    reason = unusable(in_force, order.submit_ns, sessions, max_age_ns)
    arrived = False
    if in_force is not None and reason is None:
        arrived = True
        if fill := on_arrival(order, in_force, order.submit_ns):
            return fill
        reason = "LIMIT_NOT_REACHED"
    if order.tif in ("ioc", "fok"):
        return Outcome(kind="canceled", at_ns=order.submit_ns, reason=reason, quote=in_force)

    for index in range(first_later, len(rows)):
        row = rows[index]
        if expires_ns is not None and row.ts_ns >= expires_ns:
            break
        if arrived:
            if reaches(order, row) and unusable(row, row.ts_ns, sessions, max_age_ns) is None:
                return resting(order, row)
        elif unusable(row, row.ts_ns, sessions, max_age_ns) is None:
            arrived = True
            if fill := on_arrival(order, row, row.ts_ns):
                return fill

    if expires_ns is not None and expires_ns <= end_ns:
        return Outcome(kind="expired", at_ns=expires_ns)
    return Outcome(kind="working")


def on_arrival(order: Order, quote: Row, now_ns: int) -> Outcome | None:
    """The arrival quote fills a market order and a marketable limit order at its touch."""
    if order.type == "market":
        rule = "market.touch"
    elif reaches(order, quote):
        rule = "limit.marketable"
    else:
        return None
    return Outcome(kind="filled", at_ns=now_ns, price=touch(order, quote), rule=rule, quote=quote)


def resting(order: Order, quote: Row) -> Outcome:
    """A resting order trades at its own price."""
    return Outcome(
        kind="filled", at_ns=quote.ts_ns, price=order.limit_price, rule="limit.resting", quote=quote
    )


def touch(order: Order, quote: Row) -> Decimal | None:
    """Where an order meets the market: a buyer at the ask, a seller at the bid."""
    return quote.ask if order.side == "buy" else quote.bid


def reaches(order: Order, quote: Row) -> bool:
    """Is the opposite side of the market at the limit or better?"""
    price, limit = touch(order, quote), order.limit_price
    if price is None or limit is None:
        return False
    return price <= limit if order.side == "buy" else price >= limit


def unusable(quote: Row | None, now_ns: int, sessions: Sequence[Session], max_age_ns: int) -> str | None:
    """Why `quote` cannot fill anything at `now_ns`, or None when it can. The first reason counts."""
    session = current_or_next(now_ns, sessions)
    if now_ns < session.open_ns:
        return "OUTSIDE_SESSION"
    if quote is None:
        return "NO_QUOTE"
    if quote.ts_ns < session.open_ns:
        return "OUTSIDE_SESSION"
    if now_ns - quote.ts_ns > max_age_ns:
        return "STALE_QUOTE"
    if quote.bid is None or quote.ask is None:
        return "ONE_SIDED_QUOTE"
    if quote.bid > quote.ask:
        return "CROSSED_QUOTE"
    return None


def current_or_next(at_ns: int, sessions: Sequence[Session]) -> Session:
    """The session in progress at `at_ns`, else the next one: the first that closes later."""
    return sessions[bisect_right(sessions, at_ns, key=lambda session: session.close_ns)]


def asset_class(symbol: str) -> str:
    """A compact option symbol ends in yymmdd, C or P, and eight digits of strike."""
    return "option" if len(symbol) > 15 else "equity"
