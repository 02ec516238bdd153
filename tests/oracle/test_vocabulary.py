"""The oracle against cases worked out by hand: stops, preferences, packages, groups and the rest.

Every worked example of docs/rules/fills.md sections 6 to 16 and of docs/rules/contingent-orders.md
is here, and the corners around them. Times are New York, on 2013-10-07 ("2/" is the day after); the
examples on recorded tapes name their day. A tape reads `10:00 10.00x3 10.02x5; ...` (sizes may be
left out, a dash is a side without a quote), with `SYMBOL` before the rows of each symbol and the
rows in tape order. What became of an order reads `when price xqty rule; ... = status when reason`.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

import pytest

from tests.oracle.brute_force import Order, OrderType, Result, results
from tests.oracle.package import Leg, allocate, split
from tests.oracle.sample_vocabulary import Play, Scene, groups, made_up, packages, recorded, singles
from tests.oracle.tape import (
    Halt,
    Row,
    Tape,
    Venue,
    cls_accepted,
    exchange_day,
    increment,
    load_sessions,
    load_tape,
    opg_accepted,
)

NEW_YORK = ZoneInfo("America/New_York")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CALL, PUT = "GOOG131019C00750000", "GOOG131019P00740000"


def at(text: str, day: str = "2013-10-07") -> int:
    """'09:30', '10:00:00.072' or '2/09:30' as nanoseconds UTC."""
    later, _, clock = text.rpartition("/")
    clock, _, fraction = clock.partition(".")
    local = datetime.fromisoformat(f"{day} {clock}").replace(tzinfo=NEW_YORK)
    since = local + timedelta(days=int(later or 1) - 1) - EPOCH
    return since // timedelta(microseconds=1) * 1_000 + int(fraction.ljust(9, "0") or 0)


def clock(at_ns: int, day: str = "2013-10-07") -> str:
    local = (EPOCH + timedelta(seconds=at_ns // 10**9)).astimezone(NEW_YORK)
    days = (local.date() - datetime.fromisoformat(day).date()).days
    fraction = f"{at_ns % 10**9:09d}".rstrip("0")
    return (f"{days + 1}/" if days else "") + f"{local:%H:%M:%S}" + (f".{fraction}" if fraction else "")


def order_of(text: str, number: int = 1, day: str = "2013-10-07") -> Order:
    """'10:00 sell stop 9.98 limit 9.95 day x500 capped' and the like, in any order after the instant.

    `trail 0.05` or `trail 2%`; `on SYMBOL`; `net +A -2*B` for a package; `late` by 0.4 s: `+0.4`.
    """
    words = text.split()
    given: dict[str, Any] = {"number": number, "symbol": "IBM", "qty": Decimal(100), "tif": "day"}
    given["submit_ns"] = at(words.pop(0), day)
    kind: str = "market"
    while words:
        match word := words.pop(0):
            case "buy" | "sell":
                given["side"] = word
            case "market":
                pass
            case "limit":
                kind = "stop_limit" if kind == "stop" else "limit"
                given["limit_price"] = Decimal(words.pop(0))
            case "stop":
                kind = "stop"
                given["stop_price"] = Decimal(words.pop(0))
            case "trail":
                kind = "trailing_stop"
                trail = words.pop(0)
                given["trail_percent" if trail.endswith("%") else "trail_price"] = Decimal(trail.rstrip("%"))
            case "day" | "gtc" | "ioc" | "fok" | "opg" | "cls":
                given["tif"] = word
            case "conservative" | "mid" | "aggressive":
                given["preference"] = word
            case "late" | "extended":
                given["hours"] = word
            case "capped":
                given["size_cap"] = True
            case "entry" | "exit":
                given["role"], given["group"] = word, 1
            case "on":
                given["symbol"] = words.pop(0)
            case "net":
                given["symbol"] = ""
                given["legs"] = tuple(leg_of(words.pop(0)) for _ in range(int(words.pop(0))))
            case _ if word[0] == "x":
                given["qty"] = Decimal(word[1:])
            case _ if word[0] == "+":
                given["latency_ns"] = int(Decimal(word[1:]) * 10**9)
            case _:
                raise ValueError(word)
    return Order(type=cast(OrderType, kind), **given)


def leg_of(text: str) -> Leg:
    """'+A', '-2*B'."""
    side: Literal["buy", "sell"] = "buy" if text[0] == "+" else "sell"
    ratio, _, symbol = text[1:].rpartition("*")
    return Leg(symbol, side, int(ratio or 1))


def tape_of(text: str) -> Tape:
    rows: dict[str, list[Row]] = {}
    symbol, end_ns = "IBM", 0
    for line, entry in enumerate(text.split(";"), start=1):
        words = entry.split()
        if len(words) == 4:
            symbol = words.pop(0)
        when, bid, ask = words
        (bid, _, bid_size), (ask, _, ask_size) = bid.partition("x"), ask.partition("x")
        end_ns = max(end_ns, at(when))
        rows.setdefault(symbol, []).append(
            Row(
                at(when),
                None if bid == "-" else Decimal(bid),
                None if ask == "-" else Decimal(ask),
                int(bid_size or 0),
                int(ask_size or 0),
                line,
            )
        )
    return Tape(rows, end_ns)


def dollars(price: Decimal) -> str:
    """With two decimals, or as many more as it has."""
    whole, _, rest = f"{price:.4f}".partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"


def told(result: Result, day: str = "2013-10-07") -> str:
    fills = "; ".join(f"{clock(f.at_ns, day)} {dollars(f.price)} x{f.qty} {f.rule}" for f in result.fills)
    words: list[str] = [result.status]
    if result.end_ns is not None:
        words.append(clock(result.end_ns, day))
    if result.reason is not None:
        words.append(result.reason)
    return (f"{fills} = " if fills else "") + " ".join(words)


DAYS = [exchange_day(at(f"{day}/09:30"), at(f"{day}/16:00")) for day in (1, 2, 3)]


def run(tape: str, *orders: str, cancels: dict[int, str] | None = None, halts: str = "") -> list[str]:
    stopped = {}
    if halts:
        symbol, start, *end = halts.split()
        stopped[symbol] = [Halt(at(start), at(end[0]) if end else None)]
    found = results(
        [order_of(order, number) for number, order in enumerate(orders, start=1)],
        tape_of(tape),
        Venue(DAYS, halts=stopped),
        {number: at(when) for number, when in (cancels or {}).items()},
    )
    return [told(result) for result in found]


GAP = "09:31:24.258 182.20 182.21; 09:31:24.259 182.04 182.21; 09:31:24.260 182.20 182.21"
SINGLES: list[tuple[str, str, str, str]] = [
    # name, tape, order, what became of it
    #
    # Stops.
    ("a stop trades at the touch, not at the stop", GAP,
     "09:31:24.258 sell stop 182.10", "09:31:24.259 182.04 x100 stop.touch = filled 09:31:24.259"),
    ("a stop-limit whose limit is reached", GAP,
     "09:31:24.258 sell stop 182.10 limit 182.00", "09:31:24.259 182.04 x100 stop_limit.marketable = filled 09:31:24.259"),
    ("a stop-limit whose limit is jumped over rests", GAP,
     "09:31:24.258 sell stop 182.10 limit 182.08", "09:31:24.26 182.08 x100 limit.resting = filled 09:31:24.26"),
    ("a buy stop at the ask is reached", "10:00 10.00 10.02",
     "10:00:01 buy stop 10.02", "10:00:01 10.02 x100 stop.touch = filled 10:00:01"),
    ("a sell stop at the bid is reached", "10:00 10.00 10.02",
     "10:00:01 sell stop 10.00", "10:00:01 10.00 x100 stop.touch = filled 10:00:01"),
    ("the other side does not reach a buy stop", "10:00 10.00 10.02; 10:01 10.03 10.02; 10:02 10.02 10.03",
     "10:00:01 buy stop 10.03", "10:02:00 10.03 x100 stop.touch = filled 10:02:00"),
    ("an unusable quote triggers nothing", "10:00 10.00 10.02; 10:01 9.90 -; 10:02 9.95 9.93; 10:03 9.99 10.00",
     "10:00:01 sell stop 9.95", "working"),
    ("a stop waits for its arrival quote", "10:00 10.02 10.00; 10:01 10.00 10.03",
     "10:00:01 buy stop 10.01", "10:01:00 10.03 x100 stop.touch = filled 10:01:00"),
    ("a day stop that is never reached expires", "10:00 10.00 10.02; 16:00 9.00 9.02",
     "10:00:01 sell stop 9.95", "expired 16:00:00"),
    ("a gtc stop is reached by the gap of the morning", "15:59 10.00 10.02; 2/08:00 9.00 9.02; 2/09:30 9.50 9.60",
     "15:59:30 sell stop 9.95 gtc", "2/09:30:00 9.50 x100 stop.touch = filled 2/09:30:00"),
    ("after the trigger the stop is forgotten", "10:00 10.00 10.02; 10:01 9.95 9.97; 10:02 10.05 10.07",
     "10:00:01 sell stop 9.95 limit 10.04", "10:02:00 10.04 x100 limit.resting = filled 10:02:00"),
    ("a buy stop-limit that is triggered on arrival", "10:00 10.00 10.02",
     "10:00:01 buy stop 10.01 limit 10.05", "10:00:01 10.02 x100 stop_limit.marketable = filled 10:00:01"),
    # Trailing stops.
    ("the mark follows the bid up and holds", "10:00 10.00 10.02; 10:01 10.10 10.12; 10:02 10.06 10.08; 10:03 10.05 10.07",
     "10:00:01 sell trail 0.05", "10:03:00 10.05 x100 trailing_stop.touch = filled 10:03:00"),
    ("the mark of a buy follows the ask down", "10:00 10.00 10.02; 10:01 9.90 9.92; 10:02 9.94 9.96; 10:03 9.98 10.01",
     "10:00:01 buy trail 0.05", "10:03:00 10.01 x100 trailing_stop.touch = filled 10:03:00"),
    ("the arrival quote makes the first mark, earlier ones do not", "10:00 11.00 11.02; 10:00:30 10.00 10.02; 10:01 9.96 9.98; 10:02 9.95 9.98",
     "10:00:31 sell trail 0.05", "10:02:00 9.95 x100 trailing_stop.touch = filled 10:02:00"),
    ("an unusable quote moves no mark", "10:00 10.00 10.02; 10:01 10.50 10.40; 10:02 10.50 -; 10:03 9.96 9.98",
     "10:00:01 sell trail 0.05", "working"),
    # 182.83 x 0.9995 = 182.738585, down to 182.73.
    ("a percentage rounds away from the market", "10:00 182.83 182.85; 10:01 182.74 182.80; 10:02 182.73 182.80",
     "10:00:01 sell trail 0.05%", "10:02:00 182.73 x100 trailing_stop.touch = filled 10:02:00"),
    # 10.02 x 1.0025 = 10.04505, up to 10.05.
    ("a percentage of a buy rounds up", "10:00 10.00 10.02; 10:01 10.02 10.04; 10:02 10.03 10.05",
     "10:00:01 buy trail 0.25%", "10:02:00 10.05 x100 trailing_stop.touch = filled 10:02:00"),
    # 3.30 x 0.9 = 2.97 (below 3.00 the step is 0.01); 3.40 x 0.9 = 3.06, down to 3.05 (from 3.00 on it is 0.05).
    ("the step is that of the level", f"{CALL} 10:00 3.30 3.50; 10:01 3.40 3.60; 10:02 3.06 3.20; 10:03 3.05 3.20",
     f"10:00:01 on {CALL} sell trail 10% aggressive", "10:03:00 3.05 x100 trailing_stop.touch = filled 10:03:00"),
    # A trailing stop keeps its mark overnight.
    ("the mark lasts overnight", "15:59 10.00 10.02; 2/09:31 9.96 9.98; 2/09:32 9.95 9.98",
     "15:59:01 sell trail 0.05 gtc", "2/09:32:00 9.95 x100 trailing_stop.touch = filled 2/09:32:00"),
    # At the open and at the close.
    ("opg takes the first usable quote", "09:00 9.90 9.92; 09:30 - 10.02; 09:30:01 10.00 10.03; 09:30:02 10.00 10.01",
     "09:00 buy market opg", "09:30:01 10.03 x100 market.touch = filled 09:30:01"),
    ("opg that is not reached expires on that quote", "09:30:01 10.00 10.03; 09:30:02 10.00 10.01",
     "09:00 buy limit 10.02 opg", "expired 09:30:01 LIMIT_NOT_REACHED"),
    ("opg in the evening is for the next day", "09:30:01 10.00 10.03; 2/09:31 10.10 10.12",
     "19:00 sell limit 10.05 opg", "2/09:31:00 10.10 x100 limit.marketable = filled 2/09:31:00"),
    ("opg without a usable quote expires at the close", "09:30 10.02 10.00; 16:30 10.00 10.02",
     "09:00 buy market opg", "expired 16:00:00"),
    ("cls takes the last quote", "10:00 10.00 10.02; 15:59:59.5 10.10 10.12; 16:00 11.00 11.02",
     "10:00 sell market cls", "15:59:59.999999999 10.10 x100 market.touch = filled 15:59:59.999999999"),
    ("cls sees the quotes of its own nanosecond", "15:59:59.5 10.10 10.12; 15:59:59.999999999 10.20 10.22; 16:00 11.00 11.02",
     "10:00 buy limit 10.50 cls", "15:59:59.999999999 10.22 x100 limit.marketable = filled 15:59:59.999999999"),
    ("cls that is not reached expires a nanosecond before the close", "15:59:59.5 10.10 10.12; 16:00 11.00 11.02",
     "10:00 buy limit 10.11 cls", "expired 15:59:59.999999999 LIMIT_NOT_REACHED"),
    ("cls does not wait for a fresh quote", "15:57 10.10 10.12; 16:00 11.00 11.02",
     "10:00 buy market cls", "expired 15:59:59.999999999 STALE_QUOTE"),
    ("cls is not judged before the close", "10:00 10.00 10.02; 15:59 10.00 10.02", "10:00 buy market cls", "working"),
    # Longer hours.
    ("extended hours begin at four", "04:00 10.00 10.02; 04:01 9.98 10.00",
     "04:00 buy limit 10.00 extended", "04:01:00 10.00 x100 limit.resting = filled 04:01:00"),
    ("before four there is nothing", "03:59:59 9.90 9.92; 04:00:01 9.98 10.00",
     "03:00 buy limit 10.00 extended", "04:00:01 10.00 x100 limit.marketable = filled 04:00:01"),
    ("extended day orders expire at eight", "17:00 10.00 10.02; 20:00 9.00 9.02",
     "16:30 buy limit 9.50 extended", "expired 20:00:00"),
    ("accepted at eight they are for the next day", "20:00 9.00 9.02; 2/04:01 9.40 9.42",
     "20:00 buy limit 9.50 extended", "2/04:01:00 9.42 x100 limit.marketable = filled 2/04:01:00"),
    ("the same quote is nothing to a regular order", "04:01 9.00 9.02; 09:30:01 9.60 9.62",
     "04:00 buy limit 9.50", "working"),
    ("a gtc order with extended hours sees the evening", "15:59 10.00 10.02; 18:00 9.40 9.45",
     "15:59:30 buy limit 9.50 gtc extended", "18:00:00 9.50 x100 limit.resting = filled 18:00:00"),
    ("late classes trade until a quarter past four", f"{CALL} 15:59 2.00 2.10; 16:14:59 2.20 2.30; 16:15 2.40 2.50",
     f"15:59:30 on {CALL} sell limit 2.20 late", "16:14:59 2.20 x100 limit.resting = filled 16:14:59"),
    ("and not at a quarter past four", f"{CALL} 15:59 2.00 2.10; 16:15 2.40 2.50",
     f"15:59:30 on {CALL} sell limit 2.20 late", "expired 16:15:00"),
    # Fill preferences.
    ("market at mid, bought", f"{CALL} 10:15 0.30 0.55",
     f"10:15:30 on {CALL} buy market mid", "10:15:30 0.43 x100 market.mid = filled 10:15:30"),
    ("market at mid, sold", f"{CALL} 10:15 0.30 0.55",
     f"10:15:30 on {CALL} sell market aggressive", "10:15:30 0.42 x100 market.mid = filled 10:15:30"),
    ("market, conservative", f"{CALL} 10:15 0.30 0.55",
     f"10:15:30 on {CALL} buy market", "10:15:30 0.55 x100 market.touch = filled 10:15:30"),
    ("mid on the wider step, bought", f"{CALL} 10:00 2.35 4.60",
     f"10:00:30 on {CALL} buy market mid", "10:00:30 3.50 x100 market.mid = filled 10:00:30"),
    ("mid on the wider step, sold", f"{CALL} 10:00 2.35 4.60",
     f"10:00:30 on {CALL} sell market mid", "10:00:30 3.45 x100 market.mid = filled 10:00:30"),
    ("mid is never beyond the touch", f"{CALL} 10:00 3.06 3.08",
     f"10:00:30 on {CALL} buy market mid", "10:00:30 3.08 x100 market.mid = filled 10:00:30"),
    ("mid of a class outside the penny program", "TWX150117C00070000 10:00 0.30 0.55",
     "10:00:30 on TWX150117C00070000 buy market mid", "10:00:30 0.45 x100 market.mid = filled 10:00:30"),
    ("equities have no preference", "10:00 10.00 10.10",
     "10:00:30 buy market mid", "10:00:30 10.10 x100 market.touch = filled 10:00:30"),
    ("an equity limit has none either", "10:00 10.00 10.10; 10:01 9.90 10.00; 10:02 9.80 9.90",
     "10:00:30 buy limit 9.95 aggressive", "10:02:00 9.95 x100 limit.resting = filled 10:02:00"),
    ("a limit waits until the midpoint reaches it", f"{CALL} 10:15 0.30 0.55; 10:16 0.30 0.45",
     f"10:15:30 on {CALL} buy limit 0.42 mid", "10:16:00 0.38 x100 limit.mid = filled 10:16:00"),
    ("a marketable limit fills at the midpoint", f"{CALL} 10:15 0.30 0.55",
     f"10:15:30 on {CALL} sell limit 0.30 mid ioc", "10:15:30 0.42 x100 limit.mid = filled 10:15:30"),
    ("an ioc short of the midpoint is canceled", f"{CALL} 10:15 0.30 0.55",
     f"10:15:30 on {CALL} buy limit 0.42 aggressive ioc", "canceled 10:15:30 LIMIT_NOT_REACHED"),
    ("joined: the bid leaves through the limit", f"{PUT} 10:02 0.75 1.05; 10:03 0.60 0.95",
     f"10:02:30 on {PUT} buy limit 0.75 aggressive", "10:03:00 0.75 x100 limit.joined = filled 10:03:00"),
    ("mid does not join", f"{PUT} 10:02 0.75 1.05; 10:03 0.60 0.95",
     f"10:02:30 on {PUT} buy limit 0.75 mid", "working"),
    ("not joined: the limit was above the bid", f"{PUT} 10:02 0.74 1.05; 10:03 0.60 0.95",
     f"10:02:30 on {PUT} buy limit 0.75 aggressive", "working"),
    ("joined later: the bid comes to the limit and leaves", f"{PUT} 10:02 0.74 1.05; 10:03 0.75 1.05; 10:04 0.74 1.05",
     f"10:02:30 on {PUT} buy limit 0.75 aggressive", "10:04:00 0.75 x100 limit.joined = filled 10:04:00"),
    ("joined behind the touch", f"{PUT} 10:02 0.80 1.05; 10:03 0.60 1.05",
     f"10:02:30 on {PUT} buy limit 0.70 aggressive", "10:03:00 0.70 x100 limit.joined = filled 10:03:00"),
    ("the midpoint is asked first", f"{PUT} 10:02 0.75 1.05; 10:03 0.60 0.70",
     f"10:02:30 on {PUT} buy limit 0.75 aggressive", "10:03:00 0.65 x100 limit.mid = filled 10:03:00"),
    ("an unusable quote between is not seen", f"{PUT} 10:02 0.75 1.05; 10:03 - 1.05; 10:04 0.60 0.95",
     f"10:02:30 on {PUT} buy limit 0.75 aggressive", "10:04:00 0.75 x100 limit.joined = filled 10:04:00"),
    ("joined, sold", f"{PUT} 10:02 0.75 1.05; 10:03 0.80 1.15",
     f"10:02:30 on {PUT} sell limit 1.05 aggressive", "10:03:00 1.05 x100 limit.joined = filled 10:03:00"),
    ("not joined while the ask stays at the limit", f"{PUT} 10:02 0.75 1.05; 10:03 0.80 1.05",
     f"10:02:30 on {PUT} sell limit 1.05 aggressive", "working"),
    ("a stop takes the touch whatever the preference", f"{CALL} 10:15 0.30 0.55; 10:16 0.20 0.40",
     f"10:15:30 on {CALL} sell stop 0.25 aggressive", "10:16:00 0.20 x100 stop.touch = filled 10:16:00"),
    ("a triggered stop-limit has its preference", f"{CALL} 10:15 0.30 0.55; 10:16 0.20 0.41",
     f"10:15:30 on {CALL} sell stop 0.25 limit 0.30 mid", "10:16:00 0.30 x100 limit.mid = filled 10:16:00"),
    # The trigger quote is where the limit arrives: what was before does not count as joined.
    ("joined counts from the trigger", f"{CALL} 10:15 0.30 0.40; 10:16 0.20 0.70; 10:17 0.20 0.75; 10:18 0.20 0.65",
     f"10:15:30 on {CALL} sell stop 0.25 limit 0.60 aggressive", "working"),
    # The size cap.
    ("a market order in parts", "10:15 182.69x400 182.74x200; 10:15:00.355 182.70x500 182.74x200; 10:15:00.356 182.70x500 182.74x200",
     "10:15 buy market x500 capped",
     "10:15:00 182.74 x200 market.touch; 10:15:00.355 182.74 x200 market.touch; 10:15:00.356 182.74 x100 market.touch = filled 10:15:00.356"),
    ("without the cap size is not asked", "10:15 182.69x400 182.74x200",
     "10:15 buy market x500", "10:15:00 182.74 x500 market.touch = filled 10:15:00"),
    ("ioc in part", "10:15 182.69x400 182.74x200; 10:15:01 182.69x400 182.74x200",
     "10:15 buy market x500 capped ioc", "10:15:00 182.74 x200 market.touch = canceled 10:15:00 SIZE_TOO_SMALL"),
    ("fok not in part", "10:15 182.69x400 182.74x200",
     "10:15 buy market x500 capped fok", "canceled 10:15:00 SIZE_TOO_SMALL"),
    ("fok that fits", "10:15 182.69x400 182.74x200",
     "10:15 sell market x400 capped fok", "10:15:00 182.69 x400 market.touch = filled 10:15:00"),
    ("fok asks the limit first", "10:15 182.69x400 182.74x200",
     "10:15 buy limit 182.70 x500 capped fok", "canceled 10:15:00 LIMIT_NOT_REACHED"),
    ("a limit takes the touch, then its own price", "10:00 10.00x100 10.02x100; 10:01 9.99x100 10.01x100; 10:02 9.99x100 10.04x100; 10:03 9.99x100 10.03x100",
     "10:00:01 buy limit 10.03 x300 capped",
     "10:00:01 10.02 x100 limit.marketable; 10:01:00 10.03 x100 limit.resting; 10:03:00 10.03 x100 limit.resting = filled 10:03:00"),
    ("no size fills nothing", "10:00 10.00x100 10.02x0; 10:01 10.00x100 10.05x100",
     "10:00:01 buy market x100 capped", "10:01:00 10.05 x100 market.touch = filled 10:01:00"),
    ("no size cancels ioc", "10:00 10.00x100 10.02x0", "10:00:01 buy market x100 capped ioc", "canceled 10:00:01 SIZE_TOO_SMALL"),
    ("a triggered stop goes on at the touch", "10:00 10.00x100 10.02x100; 10:01 9.95x100 10.02x100; 10:02 10.00x300 10.02x100",
     "10:00:01 sell stop 9.95 x300 capped",
     "10:01:00 9.95 x100 stop.touch; 10:02:00 10.00 x200 stop.touch = filled 10:02:00"),
    ("a stop-limit goes on at its limit", "10:00 10.00x100 10.02x100; 10:01 9.95x100 10.02x100; 10:02 10.00x300 10.02x100",
     "10:00:01 sell stop 9.95 limit 9.90 x300 capped",
     "10:01:00 9.95 x100 stop_limit.marketable; 10:02:00 9.90 x200 limit.resting = filled 10:02:00"),
    ("opg ends with its one quote", "09:30:01 10.00x100 10.02x100; 09:30:02 10.00x100 10.02x100",
     "09:00 buy market x300 capped opg", "09:30:01 10.02 x100 market.touch = expired 09:30:01 SIZE_TOO_SMALL"),
    ("cls too", "15:59:30 10.00x100 10.02x100; 16:00 10.00x100 10.02x100",
     "11:00 sell limit 9.99 x300 capped cls",
     "15:59:59.999999999 10.00 x100 limit.marketable = expired 15:59:59.999999999 SIZE_TOO_SMALL"),
    ("a day order keeps what it got", "10:00 10.00x100 10.02x100; 16:00 10.00x100 10.02x100",
     "10:00:01 buy market x300 capped", "10:00:01 10.02 x100 market.touch = expired 16:00:00"),
    ("after the first part a market order takes the touch, also at mid", f"{CALL} 10:15 0.30x2 0.55x2; 10:16 0.30x2 0.55x9",
     f"10:15:30 on {CALL} buy market x5 capped mid",
     "10:15:30 0.43 x2 market.mid; 10:16:00 0.55 x3 market.touch = filled 10:16:00"),
    # Latency.
    ("an order arrives later", "10:15 182.69 182.74; 10:15:00.359 182.70 182.74; 10:15:00.363 182.71 182.74",
     "10:15 sell market +0.36", "10:15:00.36 182.70 x100 market.touch = filled 10:15:00.36"),
    ("what it does not see does not fill it", "10:15 10.00 10.02; 10:15:00.1 9.90 9.92; 10:15:00.3 10.00 10.02",
     "10:15 buy limit 10.00 +0.2", "10:15:00.2 9.92 x100 limit.marketable = filled 10:15:00.2"),
    ("ioc is judged when it arrives", "10:15 10.00 10.02; 10:15:00.1 10.00 10.05",
     "10:15 buy limit 10.02 ioc +0.2", "canceled 10:15:00.2 LIMIT_NOT_REACHED"),
    ("it expires with the window of its acceptance", "15:59:59 10.00 10.02; 2/10:00 10.00 10.02",
     "15:59:59.9 buy market +0.2", "expired 16:00:00"),
    ("gtc arrives in the next one", "15:59:59 10.00 10.02; 2/10:00 10.00 10.03",
     "15:59:59.9 buy market gtc +0.2", "2/10:00:00 10.03 x100 market.touch = filled 2/10:00:00"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tape", "order", "expected"), [pytest.param(*case[1:], id=case[0]) for case in SINGLES]
)
def test_single_orders(tape: str, order: str, expected: str) -> None:
    assert run(tape, order) == [expected]


HALTED = "10:04:59 10.00 10.02; 10:06 9.00 9.02; 10:10 9.00 9.02; 10:10:01 9.50 9.52"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("10:04:59 buy limit 9.60", "10:10:01 9.60 x100 limit.resting = filled 10:10:01"),
        ("10:07 buy market", "10:10:01 9.52 x100 market.touch = filled 10:10:01"),
        ("10:10:00.5 buy market ioc", "canceled 10:10:00.5 HALTED"),
        ("10:05 buy market fok", "canceled 10:05:00 HALTED"),
        ("10:04:59.999 buy market ioc", "10:04:59.999 10.02 x100 market.touch = filled 10:04:59.999"),
        ("10:04:59 sell stop 9.80", "10:10:01 9.50 x100 stop.touch = filled 10:10:01"),
        ("10:04:59 sell trail 0.10", "10:10:01 9.50 x100 trailing_stop.touch = filled 10:10:01"),
    ],
)
def test_a_halt(order: str, expected: str) -> None:
    assert run(HALTED, order, halts="IBM 10:05 10:10") == [expected]


def test_a_halt_over_the_close_and_one_of_the_underlying() -> None:
    assert run("15:59 10.00 10.02; 16:00:01 10.00 10.02", "11:00 buy market cls", halts="IBM 15:59:30") == [
        "expired 15:59:59.999999999 HALTED"
    ]
    assert run(f"{CALL} 10:00 0.30 0.55", f"10:01 on {CALL} buy market ioc", halts="GOOG 10:00:30") == [
        "canceled 10:01:00 HALTED"
    ]


def test_a_cancel_comes_after_the_quotes_of_its_instant() -> None:
    tape = "10:00 10.00 10.02; 10:01 9.98 10.00"
    assert run(tape, "10:00:01 buy limit 10.00", cancels={1: "10:01"}) == [
        "10:01:00 10.00 x100 limit.resting = filled 10:01:00"
    ]
    assert run(tape, "10:00:01 buy limit 10.00", cancels={1: "10:00:59"}) == ["canceled 10:00:59"]
    assert run(tape, "10:00:01 buy market", cancels={1: "10:00:01"}) == [
        "10:00:01 10.02 x100 market.touch = filled 10:00:01"
    ]
    assert run(tape, "10:00:01 buy market +0.5", cancels={1: "10:00:01.4"}) == ["canceled 10:00:01.4"]


@pytest.mark.parametrize(
    ("when", "opg", "cls"),
    [
        ("09:27:59.999999999", True, True),
        ("09:28", False, True),
        ("12:00", False, True),
        ("15:49:59.999999999", False, True),
        ("15:50", False, False),
        ("18:59:59", False, False),
        ("19:00", True, True),
        ("2/03:00", True, True),
    ],
)
def test_when_orders_for_the_open_and_the_close_are_accepted(when: str, opg: bool, cls: bool) -> None:
    assert (opg_accepted(at(when), DAYS), cls_accepted(at(when), DAYS)) == (opg, cls)


def test_on_a_half_day_they_end_earlier() -> None:
    half = [exchange_day(at("09:30"), at("13:00")), *DAYS[1:]]
    assert cls_accepted(at("12:49:59"), half)
    assert not cls_accepted(at("12:50"), half)
    assert not cls_accepted(at("18:59"), half)
    assert half[0].window("late") == (at("09:30"), at("13:15"))
    assert half[0].window("extended") == (at("04:00"), at("17:00"))


def test_increments() -> None:
    venue = Venue(DAYS)
    found = [
        increment(symbol, Decimal(price), venue)
        for symbol in ("IBM", CALL, "TWX150117C00070000", "SPY131019C00170000")
        for price in ("0.99", "1.00", "2.99", "3.00")
    ]
    assert [str(step) for step in found] == [
        "0.0001", "0.01", "0.01", "0.01",
        "0.01", "0.01", "0.01", "0.05",
        "0.05", "0.05", "0.05", "0.10",
        "0.01", "0.01", "0.01", "0.01",
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Packages. A and B are calls, C a put.

A, B, C = "GOOG131019C00750000", "GOOG131019C00752500", "GOOG131019P00740000"
VERTICAL = f"{A} 10:15 0.30x20 0.55x31; {B} 10:15 0.05x10 0.15x34; {A} 10:16 0.30x20 0.45x20; {B} 10:16 0.05x10 0.15x29"
BUY = f"net 2 +{A} -{B}"
PACKAGES: list[tuple[str, str, str, str]] = [
    ("the natural price", VERTICAL, f"10:15:30 {BUY} market",
     "10:15:30 0.50 x100 market.touch = filled 10:15:30 | 0.55 0.05"),
    ("the midpoint", VERTICAL, f"10:15:30 {BUY} market mid",
     "10:15:30 0.33 x100 market.mid = filled 10:15:30 | 0.4285 0.0985"),
    ("a limit at mid waits for the midpoint", VERTICAL, f"10:15:30 {BUY} limit 0.28 mid",
     "10:16:00 0.28 x100 limit.mid = filled 10:16:00 | 0.378 0.098"),
    ("a resting package never pays beyond the touch of its legs", VERTICAL, f"10:15:30 {BUY} limit 0.45",
     "10:16:00 0.40 x100 limit.resting = filled 10:16:00 | 0.45 0.05"),
    ("a marketable package", VERTICAL, f"10:15:30 {BUY} limit 0.60 ioc",
     "10:15:30 0.50 x100 limit.marketable = filled 10:15:30 | 0.55 0.05"),
    ("not reached", VERTICAL, f"10:15:30 {BUY} limit 0.49 fok", "canceled 10:15:30 LIMIT_NOT_REACHED"),
    ("turned around it is a credit", VERTICAL, f"10:15:30 net 2 -{A} +{B} market",
     "10:15:30 -0.15 x100 market.touch = filled 10:15:30 | 0.30 0.15"),
    # M = -0.325, up to -0.32; I = -0.15 + 0.32 = 0.17 as above, legs the other way round.
    ("its midpoint rounds against the trader too", VERTICAL, f"10:15:30 net 2 -{A} +{B} market mid",
     "10:15:30 -0.32 x100 market.mid = filled 10:15:30 | 0.4215 0.1015"),
    ("a credit at its limit", f"{A} 10:15 0.15 0.30; {C} 10:15 0.40 0.75", f"10:15:30 net 2 +{A} -{C} limit -0.30 mid",
     "10:15:30 -0.35 x100 limit.mid = filled 10:15:30 | 0.225 0.575"),
    ("joined", f"{A} 10:19 0.35 0.50; {B} 10:19 0.05 0.15; {A} 10:20 0.30 0.55", f"10:19:30 {BUY} limit 0.20 aggressive",
     "10:20:00 0.20 x100 limit.joined = filled 10:20:00 | 0.3357 0.1357"),
    ("in tape order, resting", f"{A} 10:17 1.00 1.60; {B} 10:17 0.30 0.45; {A} 10:18 1.05 1.80; {B} 10:18 0.35 0.50",
     f"10:17:30 {BUY} limit 1.28", "working |"),
    ("in tape order, the quote between", f"{A} 10:17 1.00 1.90; {B} 10:17 0.30 0.45; {A} 10:18 1.05 1.80; {B} 10:18 0.35 0.50",
     f"10:17:30 {BUY} limit 1.50", "10:18:00 1.50 x100 limit.resting = filled 10:18:00 | 1.80 0.30"),
    ("in tape order, arriving", f"{A} 10:17 1.00 1.90; {B} 10:17 0.30 0.45; {A} 10:18 1.05 1.80; {B} 10:18 0.35 0.50",
     f"10:18 {BUY} market", "10:18:00 1.45 x100 market.touch = filled 10:18:00 | 1.80 0.35"),
    ("what cannot be split", f"{A} 10:00 1.00 1.11; {B} 10:00 0.50 0.53", f"10:00 net 2 +2*{A} -3*{B} market mid",
     "10:00:00 0.5699 x100 market.mid = filled 10:00:00 | 1.0567 0.5145"),
    ("a butterfly", f"{A} 10:00 1.00 1.60; {B} 10:00 0.30 0.55; {C} 10:00 0.05 0.15",
     f"10:00 net 3 +{A} -2*{B} +{C} market aggressive", "10:00:00 0.55 x100 market.mid = filled 10:00:00 | 1.30 0.425 0.10"),
    ("one leg that is unusable stops all", f"{A} 10:00 1.00 1.60; {B} 10:00 - 0.55", f"10:00 {BUY} market ioc",
     "canceled 10:00:00 ONE_SIDED_QUOTE |"),
    ("the first leg that fails is the reason", f"{A} 10:00 1.00 0.90; {B} 10:00 - 0.55", f"10:00 {BUY} market ioc",
     "canceled 10:00:00 CROSSED_QUOTE |"),
    ("a leg without a quote", f"{A} 10:00 1.00 1.60", f"10:00 {BUY} market ioc", "canceled 10:00:00 NO_QUOTE |"),
    ("it waits for its last leg", f"{A} 10:00 1.00 1.60; {B} 10:01 0.30 0.55", f"10:00 {BUY} market",
     "10:01:00 1.30 x100 market.touch = filled 10:01:00 | 1.60 0.30"),
    ("a leg grows stale while the other one moves", f"{B} 10:00 0.30 0.55; {A} 10:00 1.00 1.60; 10:31 0.90 1.20; {B} 10:32 0.30 0.55",
     f"10:00:01 {BUY} limit 0.90", "10:32:00 0.90 x100 limit.resting = filled 10:32:00 | 1.20 0.30"),
    ("a locked leg has nothing to share", f"{A} 10:00 1.00 1.00; {B} 10:00 0.30 0.50", f"10:00 {BUY} market mid",
     "10:00:00 0.60 x100 market.mid = filled 10:00:00 | 1.00 0.40"),
    ("the size of the smallest leg", f"{A} 10:00 1.00x9 1.60x9; {B} 10:00 0.30x5 0.55x9; {B} 10:01 0.30x4 0.55x9",
     f"10:00 net 2 +{A} -2*{B} market x3 capped",
     "10:00:00 1.00 x2 market.touch; 10:01:00 1.00 x1 market.touch = filled 10:01:00 | 1.60 0.30 | 1.60 0.30"),
    ("the size of a leg that is bought twice", f"{A} 10:00 1.00x9 1.60x5; {B} 10:00 0.30x9 0.55x9", f"10:00 net 2 +2*{A} -{B} market x3 capped ioc",
     "10:00:00 2.90 x2 market.touch = canceled 10:00:00 SIZE_TOO_SMALL | 1.60 0.30"),
    ("no size in one leg", f"{A} 10:00 1.00x9 1.60x9; {B} 10:00 0.30x1 0.55x9", f"10:00 net 2 +{A} -2*{B} market x3 capped ioc",
     "canceled 10:00:00 SIZE_TOO_SMALL |"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tape", "order", "expected"), [pytest.param(*case[1:], id=case[0]) for case in PACKAGES]
)
def test_packages(tape: str, order: str, expected: str) -> None:
    """After the bar: the price of each leg, for each fill."""
    result = results([order_of(order)], tape_of(tape), Venue(DAYS))[0]
    legs = [" ".join(map(dollars, fill.legs)) for fill in result.fills]
    written = " | ".join([told(result), *legs]) + ("" if legs else " |")
    assert written == (expected if "|" in expected else f"{expected} |")


def test_a_split_is_inside_every_leg_and_adds_up() -> None:
    """Every net from the natural price down to the other side, on three awkward sets of spreads."""
    for text, spreads in (("+2*A -3*B", (11, 3)), ("+A -2*B +C", (7, 0, 4)), ("+3*A +5*B", (2, 9))):
        legs = [leg_of(word) for word in text.split()]
        quotes = {
            leg.symbol: Row(0, Decimal(1), 1 + Decimal(spread).scaleb(-4), 1, 1)
            for leg, spread in zip(legs, spreads, strict=True)
        }
        width = sum(leg.ratio * spread for leg, spread in zip(legs, spreads, strict=True))
        natural, _ = allocate(legs, quotes, Decimal(99))
        for improvement in range(width + 1):
            net, prices = allocate(legs, quotes, natural - Decimal(improvement).scaleb(-4))
            signed = [
                leg.ratio * price * (1 if leg.side == "buy" else -1)
                for leg, price in zip(legs, prices, strict=True)
            ]
            assert sum(signed) == net
            given = int((natural - net).scaleb(4))
            assert improvement <= given <= improvement + max(leg.ratio for leg in legs)
            assert all(split(legs, quotes, n) is None for n in range(improvement, given))
            for leg, price in zip(legs, prices, strict=True):
                quote = quotes[leg.symbol]
                assert quote.bid is not None
                assert quote.ask is not None
                assert quote.bid <= price <= quote.ask


# ---------------------------------------------------------------------------------------------
# Groups: entry, take-profit, stop-loss, each with its end.

IBM_PARTS = (
    "10:15 182.69x400 182.74x200; 10:15:00.355 182.70x500 182.74x200; 10:15:00.356 182.70x500 182.74x200;"
    "10:15:00.369 182.73x100 182.74x100; 10:15:00.369 182.73x100 182.75x1200;"
    "10:15:00.370 182.73x100 182.75x1100; 10:15:00.370 182.73x100 182.75x1000; 10:15:00.370 182.73x100 182.75x900"
)
GROUPS: list[tuple[str, str, list[str], dict[int, str], list[str]]] = [
    ("held exits see nothing", "10:00 10.00 10.02; 10:01 10.20 10.22; 10:02 9.97 9.98; 10:03 10.10 10.12",
     ["10:00:01 buy limit 9.98 entry", "10:00:01 sell limit 10.10 exit", "10:00:01 sell stop 9.90 exit"], {},
     ["10:02:00 9.98 x100 limit.resting = filled 10:02:00", "10:03:00 10.10 x100 limit.resting = filled 10:03:00",
      "canceled 10:03:00 OCO_SIBLING_FILLED"]),
    ("an exit may act at once", "10:00 10.00 10.02",
     ["10:00:01 buy market entry", "10:00:01 sell limit 10.10 exit", "10:00:01 sell stop 10.01 exit"], {},
     ["10:00:01 10.02 x100 market.touch = filled 10:00:01", "canceled 10:00:01 OCO_SIBLING_FILLED",
      "10:00:01 10.00 x100 stop.touch = filled 10:00:01"]),
    # The entry takes the first quote of 10:01; its exits arrive after the last one of that stamp.
    ("exits see all quotes of the instant", "10:00 10.00 10.02; 10:01 9.97 9.98; 10:01 10.12 10.14; 10:02 10.20 10.22",
     ["10:00:01 buy limit 9.98 entry", "10:00:01 sell limit 10.10 exit", "10:00:01 sell stop 9.97 exit"], {},
     ["10:01:00 9.98 x100 limit.resting = filled 10:01:00", "10:01:00 10.12 x100 limit.marketable = filled 10:01:00",
      "canceled 10:01:00 OCO_SIBLING_FILLED"]),
    ("an exit waits for its arrival quote", "10:00 10.00 10.02; 10:01 9.97 9.98; 10:01 10.12 10.10; 10:02 10.20 10.22",
     ["10:00:01 buy limit 9.98 entry", "10:00:01 sell limit 10.10 exit", "10:00:01 sell stop 9.90 exit"], {},
     ["10:01:00 9.98 x100 limit.resting = filled 10:01:00", "10:02:00 10.20 x100 limit.marketable = filled 10:02:00",
      "canceled 10:02:00 OCO_SIBLING_FILLED"]),
    ("both at one quote: the lower number", "10:00 10.00 10.20; 10:01 10.05 10.07",
     ["10:00:01 sell limit 10.05 exit", "10:00:01 sell stop 10.06 limit 10.01 exit"], {},
     ["10:01:00 10.05 x100 limit.resting = filled 10:01:00", "canceled 10:01:00 OCO_SIBLING_FILLED"]),
    ("oco acts at once, lower number first", "10:00 10.05 10.07",
     ["10:00:01 sell limit 10.05 exit", "10:00:01 sell stop 10.06 exit"], {},
     ["10:00:01 10.05 x100 limit.marketable = filled 10:00:01", "canceled 10:00:01 OCO_SIBLING_FILLED"]),
    ("a part of one is taken from the other", "10:00 10.00x100 10.02x100; 10:01 10.10x40 10.12x100; 10:02 9.90x100 9.92x100",
     ["10:00:01 sell limit 10.10 exit capped", "10:00:01 sell stop 9.95 exit capped"], {},
     ["10:01:00 10.10 x40 limit.resting = canceled 10:02:00 OCO_SIBLING_FILLED", "10:02:00 9.90 x60 stop.touch = filled 10:02:00"]),
    ("an entry in parts", IBM_PARTS,
     ["10:15 buy market x500 capped entry", "10:15 sell limit 182.73 x500 capped exit", "10:15 sell stop 182.50 x500 capped exit"], {},
     ["10:15:00 182.74 x200 market.touch; 10:15:00.355 182.74 x200 market.touch; 10:15:00.356 182.74 x100 market.touch = filled 10:15:00.356",
      "10:15:00.369 182.73 x100 limit.resting; 10:15:00.369 182.73 x100 limit.resting; 10:15:00.37 182.73 x100 limit.resting; "
      "10:15:00.37 182.73 x100 limit.resting; 10:15:00.37 182.73 x100 limit.resting = filled 10:15:00.37",
      "canceled 10:15:00.37 OCO_SIBLING_FILLED"]),
    ("an entry that ends in part", IBM_PARTS,
     ["10:15 buy market x500 capped ioc entry", "10:15 sell limit 182.73 x500 capped exit", "10:15 sell stop 182.50 x500 capped exit"], {},
     ["10:15:00 182.74 x200 market.touch = canceled 10:15:00 SIZE_TOO_SMALL",
      "10:15:00.369 182.73 x100 limit.resting; 10:15:00.369 182.73 x100 limit.resting = filled 10:15:00.369",
      "canceled 10:15:00.369 OCO_SIBLING_FILLED"]),
    ("an entry canceled in part", IBM_PARTS,
     ["10:15 buy market x500 capped entry", "10:15 sell limit 182.73 x500 capped exit", "10:15 sell stop 182.50 x500 capped exit"], {1: "10:15"},
     ["10:15:00 182.74 x200 market.touch = canceled 10:15:00",
      "10:15:00.369 182.73 x100 limit.resting; 10:15:00.369 182.73 x100 limit.resting = filled 10:15:00.369",
      "canceled 10:15:00.369 OCO_SIBLING_FILLED"]),
    ("dormant", "10:00 99.98x300 100.02x200; 10:01 105.00x300 105.04x0; 10:02 94.00x500 94.10x0; 10:03 99.98x300 100.02x300; "
     "10:04 105.00x200 105.04x300; 10:05 105.00x200 105.04x300",
     ["10:00:01 buy market x500 capped entry", "10:00:01 sell limit 105.00 x500 capped exit", "10:00:01 sell stop 95.00 x500 capped exit"], {},
     ["10:00:01 100.02 x200 market.touch; 10:03:00 100.02 x300 market.touch = filled 10:03:00",
      "10:01:00 105.00 x200 limit.resting; 10:04:00 105.00 x200 limit.resting; 10:05:00 105.00 x100 limit.resting = filled 10:05:00",
      "canceled 10:05:00 OCO_SIBLING_FILLED"]),
    ("no more is sold than was bought", "10:00 10.00x100 10.02x40; 10:01 10.10x900 10.12x0; 16:00 10.10x100 10.12x100",
     ["10:00:01 buy market capped entry", "10:00:01 sell limit 10.10 capped exit", "10:00:01 sell stop 9.95 capped exit"], {},
     ["10:00:01 10.02 x40 market.touch = expired 16:00:00", "10:01:00 10.10 x40 limit.resting = filled 16:00:00", "canceled 16:00:00 OCO_SIBLING_FILLED"]),
    # At 10:01 the take-profit sells the first 100 at its limit; the 100 that the entry gets from the same quote
    # arrive with it, at the touch, and 50 of its size are left.
    ("what is bought at a quote arrives with it", "10:00 10.00x100 10.02x100; 10:01 10.15x150 10.17x100; 10:02 10.12x900 10.14x100",
     ["10:00:01 buy market x200 capped entry", "10:00:01 sell limit 10.10 x200 capped exit", "10:00:01 sell stop 9.95 x200 capped exit"], {},
     ["10:00:01 10.02 x100 market.touch; 10:01:00 10.17 x100 market.touch = filled 10:01:00",
      "10:01:00 10.10 x100 limit.resting; 10:01:00 10.15 x50 limit.marketable; 10:02:00 10.10 x50 limit.resting = filled 10:02:00",
      "canceled 10:02:00 OCO_SIBLING_FILLED"]),
    # Nothing is left to protect at 10:01, so the stop is not triggered then.
    ("a stop with nothing to sell does not trigger", "10:00 10.00x100 10.02x100; 10:01 10.10x100 10.12x0; 10:02 9.90x100 9.92x0; 10:03 10.00x100 10.02x100; 10:04 10.00x100 10.02x100",
     ["10:00:01 buy market x200 capped entry", "10:00:01 sell limit 10.10 x200 capped exit", "10:00:01 sell stop 9.95 x200 capped exit"], {},
     ["10:00:01 10.02 x100 market.touch; 10:03:00 10.02 x100 market.touch = filled 10:03:00", "10:01:00 10.10 x100 limit.resting = working", "working"]),
    # 100 bought and sold again before the entry goes on: the exits wait for more.
    ("exits go on with their entry", "10:00 10.00x100 10.02x100; 10:01 10.10x100 10.12x0; 10:02 10.00x100 10.02x100; 10:03 9.90x100 10.00x0",
     ["10:00:01 buy market x200 capped entry", "10:00:01 sell limit 10.10 x200 capped exit", "10:00:01 sell stop 9.95 x200 capped exit"], {},
     ["10:00:01 10.02 x100 market.touch; 10:02:00 10.02 x100 market.touch = filled 10:02:00",
      "10:01:00 10.10 x100 limit.resting = canceled 10:03:00 OCO_SIBLING_FILLED", "10:03:00 9.90 x100 stop.touch = filled 10:03:00"]),
    # The same, but the entry expires with half of it filled, and that half is sold already.
    ("what is filled and sold ends with the entry", "10:00 10.00x100 10.02x100; 10:01 10.10x100 10.12x0; 16:00 10.00x100 10.02x100",
     ["10:00:01 buy market x200 capped entry", "10:00:01 sell limit 10.10 x200 capped gtc exit", "10:00:01 sell stop 9.95 x200 gtc capped exit"], {},
     ["10:00:01 10.02 x100 market.touch = expired 16:00:00", "10:01:00 10.10 x100 limit.resting = filled 16:00:00",
      "canceled 16:00:00 OCO_SIBLING_FILLED"]),
    ("an unfilled entry ends its exits", "10:00 10.00 10.02; 16:00 10.00 10.02",
     ["10:00:01 buy limit 9.00 entry", "10:00:01 sell limit 10.10 exit", "10:00:01 sell stop 8.95 exit"], {},
     ["expired 16:00:00", "canceled 16:00:00 PARENT_ENDED", "canceled 16:00:00 PARENT_ENDED"]),
    ("an ioc entry that is not reached", "10:00 10.00 10.02",
     ["10:00:01 buy limit 9.00 ioc entry", "10:00:01 sell limit 10.10 exit"], {},
     ["canceled 10:00:01 LIMIT_NOT_REACHED", "canceled 10:00:01 PARENT_ENDED"]),
    ("exits expire with their own day", "10:00 10.00 10.02; 16:00 10.50 10.52",
     ["10:00:01 buy market entry", "10:00:01 sell limit 10.10 exit", "10:00:01 sell stop 9.95 exit"], {},
     ["10:00:01 10.02 x100 market.touch = filled 10:00:01", "expired 16:00:00", "expired 16:00:00"]),
    ("an entry waits for tomorrow, its exits with it", "10:00 10.00 10.02; 2/09:30 10.30 10.32",
     ["17:00 buy market entry", "17:00 sell limit 10.40 exit"], {},
     ["2/09:30:00 10.32 x100 market.touch = filled 2/09:30:00", "working"]),
    ("held on a tape that ends", "10:00 10.00 10.02",
     ["10:00:01 buy limit 9.00 entry", "10:00:01 sell limit 10.10 exit"], {}, ["working", "held"]),
    ("canceling an unfilled entry", "10:00 10.00 10.02; 10:05 8.00 8.02",
     ["10:00:01 buy limit 9.00 entry", "10:00:01 sell limit 10.10 exit", "10:00:01 sell stop 8.95 exit"], {1: "10:01"},
     ["canceled 10:01:00", "canceled 10:01:00 PARENT_ENDED", "canceled 10:01:00 PARENT_ENDED"]),
    ("canceling an entry filled in part", "10:00 10.00x100 10.02x40; 10:05 10.10x100 10.12x100",
     ["10:00:01 buy market capped entry", "10:00:01 sell limit 10.10 capped exit", "10:00:01 sell stop 8.95 capped exit"], {1: "10:01"},
     ["10:00:01 10.02 x40 market.touch = canceled 10:01:00", "10:05:00 10.10 x40 limit.resting = filled 10:05:00",
      "canceled 10:05:00 OCO_SIBLING_FILLED"]),
    ("canceling an entry whose part is sold already", "10:00 10.00x100 10.02x40; 10:00:30 10.10x100 10.12x0; 10:05 10.10x100 10.12x100",
     ["10:00:01 buy market capped entry", "10:00:01 sell limit 10.10 capped exit", "10:00:01 sell stop 8.95 capped exit"], {1: "10:01"},
     ["10:00:01 10.02 x40 market.touch = canceled 10:01:00", "10:00:30 10.10 x40 limit.resting = filled 10:01:00",
      "canceled 10:01:00 OCO_SIBLING_FILLED"]),
    ("canceling an exit of an entry filled in part", "10:00 10.00x100 10.02x40; 10:05 10.10x100 10.12x100",
     ["10:00:01 buy market capped entry", "10:00:01 sell limit 10.10 capped exit", "10:00:01 sell stop 8.95 capped exit"], {2: "10:01"},
     ["10:00:01 10.02 x40 market.touch = canceled 10:01:00 GROUP_CANCELED", "canceled 10:01:00", "canceled 10:01:00 GROUP_CANCELED"]),
    ("canceling one exit", "10:00 10.00 10.02; 10:05 10.10 10.12",
     ["10:00:01 buy market entry", "10:00:01 sell limit 10.10 exit", "10:00:01 sell stop 8.95 exit"], {3: "10:01"},
     ["10:00:01 10.02 x100 market.touch = filled 10:00:01", "canceled 10:01:00 GROUP_CANCELED", "canceled 10:01:00"]),
    ("canceling a held exit cancels the entry", "10:00 10.00 10.02; 10:05 8.00 8.02",
     ["10:00:01 buy limit 9.00 entry", "10:00:01 sell limit 10.10 exit", "10:00:01 sell stop 8.95 exit"], {2: "10:01"},
     ["canceled 10:01:00 GROUP_CANCELED", "canceled 10:01:00", "canceled 10:01:00 GROUP_CANCELED"]),
    ("canceling what is filled cancels nothing", "10:00 10.00 10.02; 10:05 10.10 10.12",
     ["10:00:01 buy market entry", "10:00:01 sell limit 10.10 exit"], {1: "10:01"},
     ["10:00:01 10.02 x100 market.touch = filled 10:00:01", "10:05:00 10.10 x100 limit.resting = filled 10:05:00"]),
    ("a package with a stop", f"{A} 10:00 0.30 0.40; {B} 10:00 0.05 0.15; {A} 10:01 0.20 0.30; 10:02 0.10 0.20",
     [f"10:00:01 {BUY} market entry", f"10:00:01 net 2 -{A} +{B} limit -0.60 exit", f"10:00:01 net 2 -{A} +{B} stop -0.05 exit"], {},
     ["10:00:01 0.35 x100 market.touch = filled 10:00:01", "canceled 10:01:00 OCO_SIBLING_FILLED", "10:01:00 -0.05 x100 stop.touch = filled 10:01:00"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tape", "orders", "cancels", "expected"), [pytest.param(*case[1:], id=case[0]) for case in GROUPS]
)
def test_groups(tape: str, orders: list[str], cancels: dict[int, str], expected: list[str]) -> None:
    assert run(tape, *orders, cancels=cancels) == expected


# ---------------------------------------------------------------------------------------------
# Worked examples on their own tapes. The expected values were read off the tapes by hand.

IBM = ("tick_IBM_20131007", "2013-10-07")
GOOG = ("1min_GOOG_201512", "2015-12-24")
CHAIN = ("1min_options_GOOG_20151224", "2015-12-24")
SPXW = ("1min_options_SPXW_20210104", "2021-01-04")
C7475, C750, C7525 = (f"GOOG151224C00{strike}" for strike in (747500, 750000, 752500))
P7425, P745, C745 = "GOOG151224P00742500", "GOOG151224P00745000", "GOOG151224C00745000"
ON_TAPES: list[tuple[tuple[str, str], list[str], list[str]]] = [
    (IBM, ["09:31:24.258 sell stop 182.10"], ["09:31:24.259 182.04 x100 stop.touch = filled 09:31:24.259"]),
    (IBM, ["09:31:24.258 sell stop 182.10 limit 182.00"],
     ["09:31:24.259 182.04 x100 stop_limit.marketable = filled 09:31:24.259"]),
    (IBM, ["09:31:24.258 sell stop 182.10 limit 182.08"],
     ["09:31:24.26 182.08 x100 limit.resting = filled 09:31:24.26"]),
    (IBM, ["10:15 buy stop 182.70"], ["10:15:00 182.74 x100 stop.touch = filled 10:15:00"]),
    (IBM, ["10:15 sell trail 0.10"], ["10:15:28.192 182.73 x100 trailing_stop.touch = filled 10:15:28.192"]),
    (IBM, ["10:15 sell trail 0.05%"], ["10:15:28.192 182.73 x100 trailing_stop.touch = filled 10:15:28.192"]),
    (IBM, ["08:10 buy limit 181.80 extended"], ["08:18:58.149 181.80 x100 limit.resting = filled 08:18:58.149"]),
    (IBM, ["08:05 buy limit 181.95 extended"], ["08:05:04.708 181.95 x100 limit.marketable = filled 08:05:04.708"]),
    (SPXW, ["15:59:30 on SPXW210108C03800000 sell limit 4.90 late"], ["16:03:00 4.90 x100 limit.resting = filled 16:03:00"]),
    (SPXW, ["15:59:30 on SPXW210108C03800000 sell limit 4.90"], ["expired 16:00:00"]),
    (IBM, ["09:00 buy market opg"], ["09:30:00.072 181.90 x100 market.touch = filled 09:30:00.072"]),
    (IBM, ["09:00 buy limit 181.80 opg"], ["expired 09:30:00.072 LIMIT_NOT_REACHED"]),
    (IBM, ["11:00 buy market cls"], ["15:59:59.999999999 182.01 x100 market.touch = filled 15:59:59.999999999"]),
    (IBM, ["11:00 sell limit 182.05 cls"], ["expired 15:59:59.999999999 LIMIT_NOT_REACHED"]),
    (GOOG, ["12:49 on GOOG buy market cls"], ["12:59:59.999999999 747.96 x100 market.touch = filled 12:59:59.999999999"]),
    (CHAIN, [f"10:15:30 on {C750} buy market"], ["10:15:30 0.55 x100 market.touch = filled 10:15:30"]),
    (CHAIN, [f"10:15:30 on {C750} buy market mid"], ["10:15:30 0.43 x100 market.mid = filled 10:15:30"]),
    (CHAIN, [f"10:15:30 on {C750} sell market mid"], ["10:15:30 0.42 x100 market.mid = filled 10:15:30"]),
    (CHAIN, [f"10:00:30 on {C745} buy market mid"], ["10:00:30 3.50 x100 market.mid = filled 10:00:30"]),
    (CHAIN, [f"10:00:30 on {C745} sell market mid"], ["10:00:30 3.45 x100 market.mid = filled 10:00:30"]),
    (CHAIN, [f"10:15:30 on {C750} buy limit 0.42 mid"], ["10:16:00 0.38 x100 limit.mid = filled 10:16:00"]),
    (CHAIN, [f"10:02:30 on {P745} buy limit 0.75 aggressive"], ["10:03:00 0.75 x100 limit.joined = filled 10:03:00"]),
    (CHAIN, [f"10:15:30 net 2 +{C750} -{C7525} market"], ["10:15:30 0.50 x100 market.touch = filled 10:15:30"]),
    (CHAIN, [f"10:15:30 net 2 +{C750} -{C7525} market mid"], ["10:15:30 0.33 x100 market.mid = filled 10:15:30"]),
    (CHAIN, [f"10:15:30 net 2 +{C750} -{C7525} limit 0.28 mid"], ["10:16:00 0.28 x100 limit.mid = filled 10:16:00"]),
    (CHAIN, [f"10:15:30 net 2 +{C750} -{C7525} limit 0.45"], ["10:16:00 0.40 x100 limit.resting = filled 10:16:00"]),
    (CHAIN, [f"10:15:30 net 2 +{P7425} -{P745} limit -0.30 mid"], ["10:15:30 -0.35 x100 limit.mid = filled 10:15:30"]),
    (CHAIN, [f"10:19:30 net 2 +{C750} -{C7525} limit 0.20 aggressive"], ["10:20:00 0.20 x100 limit.joined = filled 10:20:00"]),
    (CHAIN, [f"10:26:30 net 2 +{C7475} -{C750} limit 1.40"], ["10:27:00 1.40 x100 limit.resting = filled 10:27:00"]),
    (CHAIN, [f"10:27 net 2 +{C7475} -{C750} market"], ["10:27:00 1.45 x100 market.touch = filled 10:27:00"]),
    (IBM, ["10:15 buy market x500 capped"],
     ["10:15:00 182.74 x200 market.touch; 10:15:00.355 182.74 x200 market.touch; 10:15:00.356 182.74 x100 market.touch = filled 10:15:00.356"]),
    (IBM, ["10:15 buy market x500 capped ioc"], ["10:15:00 182.74 x200 market.touch = canceled 10:15:00 SIZE_TOO_SMALL"]),
    (IBM, ["10:15 buy market x500 capped fok"], ["canceled 10:15:00 SIZE_TOO_SMALL"]),
    (IBM, ["10:15 sell market +0.36"], ["10:15:00.36 182.70 x100 market.touch = filled 10:15:00.36"]),
    (IBM, ["10:15 buy limit 182.30 entry", "10:15 sell limit 182.45 exit", "10:15 sell stop 182.20 exit"],
     ["12:22:32.635 182.30 x100 limit.resting = filled 12:22:32.635", "canceled 12:30:50.138 OCO_SIBLING_FILLED",
      "12:30:50.138 182.20 x100 stop.touch = filled 12:30:50.138"]),
    (IBM, ["10:15 buy limit 182.30 entry", "10:15 sell limit 182.45 exit", "10:15 sell stop 182.10 exit"],
     ["12:22:32.635 182.30 x100 limit.resting = filled 12:22:32.635", "12:38:03.91 182.45 x100 limit.resting = filled 12:38:03.91",
      "canceled 12:38:03.91 OCO_SIBLING_FILLED"]),
    (IBM, ["12:25 sell limit 182.45 exit", "12:25 sell stop 182.20 exit"],
     ["canceled 12:30:50.138 OCO_SIBLING_FILLED", "12:30:50.138 182.20 x100 stop.touch = filled 12:30:50.138"]),
    (IBM, ["10:15 buy market x500 capped entry", "10:15 sell limit 182.73 x500 capped exit", "10:15 sell stop 182.50 x500 capped exit"],
     GROUPS[7][4]),
    (IBM, ["10:15 buy market x500 capped ioc entry", "10:15 sell limit 182.73 x500 capped exit", "10:15 sell stop 182.50 x500 capped exit"],
     GROUPS[8][4]),
    (CHAIN, [f"10:15:30 net 2 +{C750} -{C7525} limit 0.28 mid x10 entry", f"10:15:30 net 2 -{C750} +{C7525} limit -0.40 mid x10 exit",
             f"10:15:30 net 2 -{C750} +{C7525} stop -0.05 mid x10 exit"],
     ["10:16:00 0.28 x10 limit.mid = filled 10:16:00", "10:25:00 -0.40 x10 limit.mid = filled 10:25:00",
      "canceled 10:25:00 OCO_SIBLING_FILLED"]),
]  # fmt: skip


@pytest.mark.tapes
@pytest.mark.parametrize(("tape", "orders", "expected"), ON_TAPES)
def test_the_examples_of_the_documents_on_their_tapes(
    tapes: Path, tape: tuple[str, str], orders: list[str], expected: list[str]
) -> None:
    name, day = tape
    asked = [order_of(order, number, day) for number, order in enumerate(orders, start=1)]
    found = results(asked, whole_tape(tapes / f"quotes_{name}.csv.gz"), whole_venue(tapes / "sessions.csv"))
    assert [told(result, day) for result in found] == expected


@cache
def whole_tape(path: Path) -> Tape:
    return load_tape(path)


@cache
def whole_venue(path: Path) -> Venue:
    return Venue(load_sessions(path))


# ---------------------------------------------------------------------------------------------
# Facts about random orders.

MADE_UP: list[tuple[str, Callable[[Scene], Play]]] = [
    ("singles", lambda scene: singles(scene, 300)),
    ("packages", lambda scene: packages(scene, 200)),
    ("groups", lambda scene: groups(scene, 150, of_packages=0.4)),
]


def facts(play: Play) -> list[Result]:
    """What holds for every order whatever the quotes do; gives the results back."""
    found = results(play.orders, play.tape, play.venue, play.cancels)
    by_group: dict[int, list[tuple[Order, Result]]] = {}
    for order, result in zip(play.orders, found, strict=True):
        filled = sum(fill.qty for fill in result.fills)
        assert result.number == order.number
        assert filled <= order.qty
        assert result.status != "filled" or filled == order.qty or order.role == "exit"
        assert (result.end_ns is None) == (result.status in ("held", "working"))
        assert len(result.fills) <= 1 or order.size_cap or order.role == "exit"
        for fill in result.fills:
            assert order.submit_ns <= fill.at_ns <= (result.end_ns or play.tape.end_ns)
            assert fill.qty > 0
            assert all(
                row.bid is not None and row.ask is not None and row.bid <= row.ask for row in fill.quotes
            )
            if order.limit_price is not None:
                worse = (
                    fill.price > order.limit_price if order.side == "buy" else fill.price < order.limit_price
                )
                assert not worse
            if order.legs:
                net = Decimal(0)
                for leg, price, row in zip(order.legs, fill.legs, fill.quotes, strict=True):
                    assert row.bid is not None
                    assert row.ask is not None
                    assert row.bid <= price <= row.ask
                    net += leg.ratio * price * (1 if leg.side == "buy" else -1)
                assert net == fill.price
        if order.group:
            by_group.setdefault(order.group, []).append((order, result))
    for members in by_group.values():
        entries = [result for order, result in members if order.role == "entry"]
        exits = [result for order, result in members if order.role == "exit"]
        meant = sum(f.qty for f in entries[0].fills) if entries else members[0][0].qty
        exited = sum(f.qty for result in exits for f in result.fills)
        assert exited <= meant
        assert (
            not meant
            or exited < meant
            or not any(e.status in ("working", "held") for e in exits)
            or (entries and entries[0].status == "working")
        )
        if not entries or entries[0].status == "filled":
            assert sum(result.status == "filled" for result in exits) <= 1
        if entries and entries[0].fills:
            first = min(f.at_ns for f in entries[0].fills)
            assert all(f.at_ns >= first for result in exits for f in result.fills)
        elif entries:
            assert exited == 0
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("draw", [pytest.param(draw, id=name) for name, draw in MADE_UP])
def test_facts_about_random_orders_on_made_up_tapes(draw: Callable[[Scene], Play], seed: int) -> None:
    play = draw(made_up(seed))
    assert facts(play) == facts(draw(made_up(seed)))  # the same seed gives the same play
    assert play.orders != draw(made_up(seed + 100)).orders


def test_random_orders_meet_every_rule_and_reason() -> None:
    found = [result for seed in range(20) for _, draw in MADE_UP for result in facts(draw(made_up(seed)))]
    assert {fill.rule for result in found for fill in result.fills} == {
        "market.touch", "market.mid", "limit.marketable", "limit.resting", "limit.mid", "limit.joined",
        "stop.touch", "stop_limit.marketable", "trailing_stop.touch",
    }  # fmt: skip
    assert {result.reason for result in found} == {
        None, "OUTSIDE_SESSION", "HALTED", "NO_QUOTE", "STALE_QUOTE", "ONE_SIDED_QUOTE", "CROSSED_QUOTE",
        "LIMIT_NOT_REACHED", "SIZE_TOO_SMALL", "GROUP_CANCELED", "OCO_SIBLING_FILLED",
        "PARENT_ENDED",
    }  # fmt: skip
    assert {result.status for result in found} == {"held", "working", "filled", "canceled", "expired"}


@pytest.mark.tapes
def test_facts_about_random_orders_on_recorded_tapes(tapes: Path) -> None:
    ibm = recorded(tapes / "quotes_tick_IBM_20131007.csv.gz", 7)
    found = facts(singles(ibm, 60)) + facts(groups(ibm, 30))
    chain = recorded(tapes / "quotes_1min_options_GOOG_20151224.csv.gz", 24)
    found += (
        facts(singles(chain, 200)) + facts(packages(chain, 200)) + facts(groups(chain, 100, of_packages=0.6))
    )
    assert sum(bool(result.fills) for result in found) > 250
