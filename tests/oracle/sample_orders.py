"""Random but repeatable orders, aimed at the places where fills go wrong.

Market and limit orders on single symbols; sample_vocabulary.py has all the others.

The orders belong to an account with ample cash and an ample long position in every symbol on the
tape: nothing here limits what is bought or sold. Submit times are whole microseconds, which is
what a database timestamp keeps.
"""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal
from itertools import chain
from pathlib import Path
from typing import Literal

from tests.oracle.brute_force import (
    Order,
    Row,
    Session,
    asset_class,
    current_or_next,
    load_sessions,
    load_tape,
)

US = 1_000  # nanoseconds
HOUR = 3_600 * 1_000_000  # microseconds
SIDES: tuple[Literal["buy", "sell"], ...] = ("buy", "sell")
TIFS: tuple[Literal["day", "gtc", "ioc", "fok"], ...] = ("day", "gtc", "ioc", "fok")


@dataclass(frozen=True, slots=True)
class Day:
    """One symbol in one session: its rows, and those that are not simply a bid below an ask."""

    session: Session
    rows: Sequence[Row]
    odd: tuple[Sequence[Row], ...]  # one-sided, crossed, locked; only the kinds that occur


def sample(
    tape_path: Path, seed: int, n: int, *, sessions_path: Path | None = None, outside_hours: bool = False
) -> list[Order]:
    """`n` market and limit orders on the symbols of one tape, sorted by submit time and numbered from 1.

    Submit times lie inside the sessions that the tape covers; with `outside_hours` about one order
    in seven lies within the hour before or after one, some at the closing instant. `sessions.csv`
    is looked for beside the tape.
    """
    rng = random.Random(seed)
    tape = load_tape(tape_path).rows
    sessions = load_sessions(sessions_path or tape_path.parent / "sessions.csv")
    symbols = sorted(tape)
    days: dict[tuple[str, Session], Day] = {}
    drawn: list[Order] = []
    while len(drawn) < n:
        symbol = rng.choice(symbols)
        session = current_or_next(rng.choice(tape[symbol]).ts_ns, sessions)
        if (symbol, session) not in days:
            days[symbol, session] = _day(tape[symbol], session)
        if days[symbol, session].rows:  # rows after the last close lead to a session without any
            drawn.append(
                _order(rng, symbol, tape[symbol], days[symbol, session], outside_hours=outside_hours)
            )
    drawn.sort(key=lambda order: order.submit_ns)
    return [replace(order, number=number) for number, order in enumerate(drawn, start=1)]


def _day(rows: Sequence[Row], session: Session) -> Day:
    first = bisect_left(rows, session.open_ns, key=lambda row: row.ts_ns)
    during = rows[first : bisect_left(rows, session.close_ns, key=lambda row: row.ts_ns)]
    odd: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for row in during:
        if row.bid is None or row.ask is None:
            odd[0].append(row)
        elif row.bid > row.ask:
            odd[1].append(row)
        elif row.bid == row.ask:
            odd[2].append(row)
    return Day(session, during, tuple(kind for kind in odd if kind))


def _order(rng: random.Random, symbol: str, rows: Sequence[Row], day: Day, *, outside_hours: bool) -> Order:
    option = asset_class(symbol) == "option"
    submit_ns = _submit_ns(rng, day, outside_hours=outside_hours)
    side = rng.choice(SIDES)
    tif = rng.choices(TIFS, weights=(50, 20, 15, 15))[0]
    qty = Decimal(rng.randint(1, 10 if option else 500))
    if rng.random() < 0.65:
        limit_price = _limit_price(rng, _market_at(rows, submit_ns), side, option=option)
        return Order(
            number=0,
            symbol=symbol,
            submit_ns=submit_ns,
            side=side,
            type="limit",
            tif=tif,
            qty=qty,
            limit_price=limit_price,
        )
    if tif == "day" and not option and rng.random() < 0.3:
        places = rng.choice((1, 2, 3, 6, 9))
        qty = Decimal(rng.randrange(1, 20 * 10**places)).scaleb(-places)
    return Order(number=0, symbol=symbol, submit_ns=submit_ns, side=side, type="market", tif=tif, qty=qty)


def _submit_ns(rng: random.Random, day: Day, *, outside_hours: bool) -> int:
    """Anywhere; on a stamp; on or just after an odd quote; at the open; in the last second; outside hours."""
    open_ns, close_ns = day.session.window("regular")
    weights = (40, 25, 15, 5, 5, 10, 17 if outside_hours else 0)
    match rng.choices(
        ("any", "stamp", "odd", "after odd", "open", "last second", "outside"), weights=weights
    )[0]:
        case "any":
            return rng.randrange(open_ns // US, close_ns // US) * US
        case "stamp":
            return rng.choice(day.rows).ts_ns
        case "odd":
            return _odd(rng, day).ts_ns
        case "after odd":
            return min(_odd(rng, day).ts_ns + rng.randrange(1, 1_000) * US, close_ns - US)
        case "open":
            return open_ns
        case "last second":
            return close_ns - rng.randint(1, 1_000_000) * US
        case _:
            return rng.choice(
                (close_ns, open_ns - rng.randint(1, HOUR) * US, close_ns + rng.randint(1, HOUR) * US)
            )


def _odd(rng: random.Random, day: Day) -> Row:
    """A one-sided, crossed or locked row, each kind that occurs as likely as the next; any row if none does."""
    return rng.choice(rng.choice(day.odd or (day.rows,)))


def _market_at(rows: Sequence[Row], at_ns: int) -> tuple[Decimal, Decimal]:
    """Bid and ask of the last sound quote up to `at_ns`, else of the first one after it, else a dollar wide."""
    index = bisect_right(rows, at_ns, key=lambda row: row.ts_ns)
    for i in chain(range(index - 1, -1, -1), range(index, len(rows))):
        bid, ask = rows[i].bid, rows[i].ask
        if bid is not None and ask is not None and bid <= ask:
            return bid, ask
    return Decimal(1), Decimal(2)


def _limit_price(
    rng: random.Random, market: tuple[Decimal, Decimal], side: Literal["buy", "sell"], *, option: bool
) -> Decimal:
    """A price through, at, inside, slightly off or far off the market, on a legal increment.

    Cents for equities. Ten cents for options: a multiple of every option increment there is.
    """
    step = Decimal("0.10") if option else Decimal("0.01")
    bid, ask = (int((price / step).to_integral_value(rounding=ROUND_FLOOR)) for price in market)
    near, opposite, away = (bid, ask, -1) if side == "buy" else (ask, bid, 1)
    match rng.choices(("through", "touch", "inside", "near", "far"), weights=(20, 20, 15, 30, 15))[0]:
        case "through":
            steps = opposite - away * rng.randint(1, 10)
        case "touch":
            steps = opposite
        case "inside":
            steps = rng.randint(min(bid + 1, ask), max(bid + 1, ask - 1))
        case "near":
            steps = near + away * rng.randint(0, 5)
        case _:
            permille = rng.randint(100, 500) if option else rng.randint(5, 30)
            steps = near + away * (near * permille // 1_000 + 1)
    return max(1, steps) * step
