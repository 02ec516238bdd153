"""Random but repeatable orders of every kind, with cancels and halts, on recorded and on made-up tapes.

    singles(scene, n)    every type, time in force, preference, with size caps, latency, longer hours
    packages(scene, n)   verticals, condors, strangles, butterflies, ratios, calendars
    groups(scene, n)     brackets, OTOs and OCOs of single symbols and of packages
    recorded(tape, seed), made_up(seed)    the scenes that they play on

Instants are whole microseconds, which is what a database timestamp keeps. Each function returns a
`Play`: what brute_force.results() takes.
"""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from math import gcd
from pathlib import Path
from typing import Literal, cast

from tests.oracle.brute_force import Order, OrderType, Tif
from tests.oracle.package import Leg, Sight, package_sight
from tests.oracle.tape import (
    CENT,
    HOUR,
    MINUTE,
    SECOND,
    Halt,
    Row,
    Session,
    Tape,
    Venue,
    asset_class,
    current_or_next,
    increment,
    load_sessions,
    load_tape,
    round_down,
    round_up,
    underlying,
)

US = 1_000  # nanoseconds
Side = Literal["buy", "sell"]
Preference = Literal["conservative", "mid", "aggressive"]
SIDES: tuple[Side, ...] = ("buy", "sell")
PREFERENCES: tuple[Preference, ...] = ("conservative", "mid", "aggressive")
OTHER: dict[Side, Side] = {"buy": "sell", "sell": "buy"}
DAY_OR_GTC: tuple[Tif, ...] = ("day", "day", "day", "gtc")
PACKAGE_TIFS: tuple[Tif, ...] = (*DAY_OR_GTC, "ioc", "fok")
MARKET_OR_LIMIT: tuple[OrderType, ...] = ("market", "limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Orders by acceptance, numbered from 1; the members of a group have one instant and adjacent numbers."""

    orders: list[Order]
    tape: Tape
    venue: Venue
    cancels: dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """How often something is asked for, from 0 to 1; `halts` counts underlyings that are halted once."""

    equity: float = 0.5  # where a tape has both
    size_cap: float = 0.25
    latency: float = 0.15
    longer_hours: float = 0.15
    cancels: float = 0.12
    halts: float = 0.5


USUAL = Odds()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A tape and its days, with one source of chance."""

    rng: random.Random
    tape: Tape
    sessions: Sequence[Session]
    odds: "Odds"
    days: dict[str, list[Session]] = field(default_factory=dict)

    @cached_property
    def symbols(self) -> list[str]:
        """Those with a quote inside a session."""
        return sorted(symbol for symbol in self.tape.rows if self.days_of(symbol))

    @cached_property
    def options(self) -> dict[tuple[str, str, str], list[str]]:
        """(root, expiry, right) -> symbols by strike."""
        found: dict[tuple[str, str, str], list[str]] = {}
        for symbol in self.symbols:
            if asset_class(symbol) == "option":
                found.setdefault((symbol[:-15], symbol[-15:-9], symbol[-9]), []).append(symbol)
        return found

    def days_of(self, symbol: str) -> list[Session]:
        if symbol not in self.days:
            rows = self.tape.rows[symbol]
            stamps = {current_or_next(row.ts_ns, self.sessions) for row in rows}
            self.days[symbol] = sorted(
                day for day in stamps if any(day.open_ns <= row.ts_ns < day.close_ns for row in rows)
            )
        return self.days[symbol]

    def sound(self, symbol: str, at_ns: int) -> Row:
        """The last quote up to an instant with two sides that are not crossed, else the first one after it."""
        rows = self.tape.rows[symbol]
        index = bisect_right(rows, at_ns, key=lambda row: row.ts_ns)
        for row in [*reversed(rows[max(0, index - 200) : index]), *rows[index : index + 200]]:
            if row.bid is not None and row.ask is not None and row.bid <= row.ask:
                return row
        return Row(at_ns, Decimal(1), Decimal(2))

    def play(self, drawn: list[list[Order]]) -> Play:
        """Number the groups by their instants, and draw who is halted and what is canceled."""
        rng = self.rng
        drawn.sort(key=lambda members: members[0].submit_ns)
        orders: list[Order] = []
        for index, members in enumerate(drawn, start=1):
            group = index if len(members) > 1 else 0
            orders += [replace(o, number=len(orders) + n, group=group) for n, o in enumerate(members, 1)]
        cancels = {}
        for order in orders:
            if rng.random() < self.odds.cancels:
                wait = rng.choice((0, 1, 1_000, 1_000_000, 60_000_000, 1_800_000_000))
                cancels[order.number] = order.submit_ns + rng.randint(0, wait) * US
        halts: dict[str, list[Halt]] = {}
        for root in sorted({underlying(symbol) for symbol in self.symbols}):
            if rng.random() < self.odds.halts:
                name = next(symbol for symbol in self.symbols if underlying(symbol) == root)
                day = rng.choice(self.days_of(name))
                start = rng.randrange(day.open_ns // US, day.close_ns // US) * US
                length = rng.choice((1, 10, 300, 900)) * SECOND
                halts[root] = [Halt(start, start + length)]
        return Play(orders=orders, tape=self.tape, venue=Venue(self.sessions, halts=halts), cancels=cancels)


def recorded(tape_path: Path, seed: int, odds: Odds = USUAL) -> Scene:
    """A recorded tape; `sessions.csv` lies beside it."""
    return Scene(
        rng=random.Random(seed),
        tape=load_tape(tape_path),
        sessions=load_sessions(tape_path.parent / "sessions.csv"),
        odds=odds,
    )


# ---------------------------------------------------------------------------------------------
# Single symbols.


def singles(scene: Scene, n: int) -> Play:
    return scene.play([[single(scene, any_symbol(scene))] for _ in range(n)])


def any_symbol(scene: Scene) -> str:
    wanted = "equity" if scene.rng.random() < scene.odds.equity else "option"
    return scene.rng.choice([s for s in scene.symbols if asset_class(s) == wanted] or scene.symbols)


def single(scene: Scene, symbol: str) -> Order:
    rng = scene.rng
    option = asset_class(symbol) == "option"
    kinds: tuple[OrderType, ...] = ("market", "limit", "stop", "stop_limit", "trailing_stop")
    kind = rng.choices(kinds, (12, 36, 16, 20, 16))[0]
    tifs: tuple[Tif, ...] = DAY_OR_GTC
    if kind in ("market", "limit"):
        tifs = (
            ("day", "day", "gtc", "ioc", "fok")
            if option
            else ("day", "day", "gtc", "ioc", "fok", "opg", "cls")
        )
    order = Order(
        number=0,
        symbol=symbol,
        submit_ns=0,
        side=rng.choice(SIDES),
        type=kind,
        tif=rng.choice(tifs),
        qty=Decimal(rng.randint(1, 30) if option else rng.randint(1, 12) * 100),
        preference=rng.choice(PREFERENCES),
        size_cap=rng.random() < scene.odds.size_cap,
    )
    longer = rng.random() < scene.odds.longer_hours
    if longer and option:
        order = replace(order, hours="late")
    elif longer and kind == "limit" and order.tif in ("day", "gtc"):
        order = replace(order, hours="extended")
    if rng.random() < scene.odds.latency:
        order = replace(order, latency_ns=rng.choice((1, 40, 1_000, 30_000)) * 1_000_000)
    order = replace(order, submit_ns=submit_ns(scene, order))
    quote = scene.sound(symbol, order.submit_ns)
    return with_prices(scene, order, Sight(cast(Decimal, quote.bid), cast(Decimal, quote.ask), 0))


def submit_ns(scene: Scene, order: Order) -> int:
    """Somewhere in a day of the symbol; on one of its stamps; at the edges; before the open."""
    rng, symbol = scene.rng, order.symbol or order.legs[0].symbol
    day = rng.choice(scene.days_of(symbol))
    open_ns, close_ns = day.window(order.hours)
    night = open_ns - 14 * HOUR if open_ns > 30 * HOUR else open_ns // 2
    if order.tif == "opg" or (order.tif == "cls" and rng.random() < 0.2):
        return rng.randrange(night // US, (day.open_ns - 2 * MINUTE) // US) * US
    if order.tif == "cls":
        return rng.randrange(day.open_ns // US, (day.close_ns - 10 * MINUTE) // US) * US
    rows = scene.tape.rows[symbol]
    first = bisect_left(rows, open_ns, key=lambda row: row.ts_ns)
    last = bisect_left(rows, close_ns, key=lambda row: row.ts_ns)
    match rng.choices(("any", "stamp", "open", "last second", "close", "before"), (40, 40, 4, 4, 4, 8))[0]:
        case "stamp" if first < last:
            return rows[rng.randrange(first, last)].ts_ns
        case "open":
            return open_ns
        case "last second":
            return close_ns - rng.randint(1, 1_000_000) * US
        case "close":
            return close_ns
        case "before":
            return rng.randrange(night // US, open_ns // US) * US
        case _:
            return rng.randrange(open_ns // US, close_ns // US) * US


def with_prices(scene: Scene, order: Order, sight: Sight) -> Order:
    """Prices around the market: limits through, at, inside and off it, stops on both sides of it."""
    rng = scene.rng
    away = 1 if order.side == "buy" else -1  # where the market is bad for the trader
    touch = sight.ask if order.side == "buy" else sight.bid
    step = CENT if order.legs else increment(order.symbol, touch, scene_venue(scene))
    spread = max(1, int((sight.ask - sight.bid) / step))
    near = rng.choice((0, 1, 2, spread // 2, spread, spread, spread + 1, rng.randint(0, spread), 10 * spread))
    limit = legal(order, touch - away * step * (near if rng.random() < 0.8 else -near), scene)
    if order.type == "limit":
        return replace(order, limit_price=limit)
    near = rng.choice((0, 1, 2, 3, spread, 5 * spread, rng.randint(0, 10 * spread)))
    stop = legal(order, touch + away * step * (near if rng.random() < 0.9 else -near), scene)
    if order.type == "stop":
        return replace(order, stop_price=stop)
    if order.type == "stop_limit":
        slack = rng.choice((0, 0, 1, 2, spread, 5 * spread, -1, -spread))
        return replace(order, stop_price=stop, limit_price=legal(order, stop + away * step * slack, scene))
    if order.type == "trailing_stop" and rng.random() < 0.5:
        return replace(order, trail_price=step * rng.choice((1, 2, 3, 5, spread, 5 * spread, 20 * spread)))
    if order.type == "trailing_stop":
        percent = rng.choice(("0.01", "0.1", "0.25", "1", "2.5", "10", "33.33"))
        return replace(order, trail_percent=Decimal(percent))
    return order


def scene_venue(scene: Scene) -> Venue:
    return Venue(scene.sessions)


def legal(order: Order, price: Decimal, scene: Scene) -> Decimal:
    """On the legal step of its own price; above 0 unless it is the net of a package."""
    if order.legs:
        return round_up(price, CENT)
    price = max(price, Decimal("0.0001"))
    step = increment(order.symbol, price, scene_venue(scene))
    return round_down(price, step) or step


# ---------------------------------------------------------------------------------------------
# Packages.


def packages(scene: Scene, n: int) -> Play:
    return scene.play([[package(scene)] for _ in range(n)])


def package(scene: Scene) -> Order:
    rng = scene.rng
    order = Order(
        number=0,
        submit_ns=0,
        legs=structure(scene),
        type=rng.choices(MARKET_OR_LIMIT, (20, 80))[0],
        tif=rng.choice(PACKAGE_TIFS),
        qty=Decimal(rng.randint(1, 10)),
        preference=rng.choice(PREFERENCES),
        size_cap=rng.random() < scene.odds.size_cap,
    )
    if rng.random() < scene.odds.latency:
        order = replace(order, latency_ns=rng.choice((1, 1_000, 90_000)) * 1_000_000)
    if rng.random() < scene.odds.longer_hours / 2:
        order = replace(order, hours="late")
    order = replace(order, submit_ns=submit_ns(scene, order))
    return with_prices(scene, order, package_sight_near(scene, order))


def package_sight_near(scene: Scene, order: Order) -> Sight:
    quotes = {leg.symbol: scene.sound(leg.symbol, order.submit_ns) for leg in order.legs}
    return package_sight(order.legs, quotes)


def structure(scene: Scene) -> tuple[Leg, ...]:
    """Two to four legs with ratios in lowest terms, bought or sold as a whole."""
    rng = scene.rng
    while True:
        name = rng.choice(("vertical", "strangle", "condor", "butterfly", "ratio", "calendar"))
        root, expiry, right = rng.choice(sorted(scene.options))
        chain = scene.options[root, expiry, right]
        others = scene.options.get((root, expiry, "P" if right == "C" else "C"), [])
        if (legs := SHAPES[name](scene, chain, others)) is None:
            continue
        if rng.random() < 0.5:
            legs = reverse(legs)
        legs = tuple(rng.sample(legs, len(legs)))
        if len({leg.symbol for leg in legs}) == len(legs) and gcd(*(leg.ratio for leg in legs)) == 1:
            return legs


def reverse(legs: Sequence[Leg]) -> tuple[Leg, ...]:
    """The package that closes this one."""
    return tuple(replace(leg, side=OTHER[leg.side]) for leg in legs)


def close_together(scene: Scene, chain: list[str], count: int) -> list[str]:
    start = scene.rng.randrange(len(chain) - count + 1)
    return chain[start : start + count]


def _vertical(scene: Scene, chain: list[str], others: list[str]) -> tuple[Leg, ...] | None:
    if len(chain) < 2:
        return None
    low, high = close_together(scene, chain, 2)
    return Leg(low, "buy"), Leg(high, "sell")


def _strangle(scene: Scene, chain: list[str], others: list[str]) -> tuple[Leg, ...] | None:
    if not others:
        return None
    return Leg(scene.rng.choice(chain), "buy"), Leg(scene.rng.choice(others), "buy")


def _condor(scene: Scene, chain: list[str], others: list[str]) -> tuple[Leg, ...] | None:
    """An iron condor where both rights are listed (wings bought), else one of a single right."""
    if len(chain) >= 2 and len(others) >= 2:
        (a, b), (c, d) = close_together(scene, chain, 2), close_together(scene, others, 2)
        return Leg(a, "sell"), Leg(b, "buy"), Leg(c, "buy"), Leg(d, "sell")
    if len(chain) < 4:
        return None
    a, b, c, d = close_together(scene, chain, 4)
    return Leg(a, "buy"), Leg(b, "sell"), Leg(c, "sell"), Leg(d, "buy")


def _butterfly(scene: Scene, chain: list[str], others: list[str]) -> tuple[Leg, ...] | None:
    if len(chain) < 3:
        return None
    low, middle, high = close_together(scene, chain, 3)
    return Leg(low, "buy"), Leg(middle, "sell", 2), Leg(high, "buy")


def _ratio(scene: Scene, chain: list[str], others: list[str]) -> tuple[Leg, ...] | None:
    if len(chain) < 2:
        return None
    low, high = close_together(scene, chain, 2)
    few, many = scene.rng.choice(((1, 2), (2, 3), (1, 3), (3, 5)))
    return Leg(low, "buy", few), Leg(high, "sell", many)


def _calendar(scene: Scene, chain: list[str], others: list[str]) -> tuple[Leg, ...] | None:
    near = scene.rng.choice(chain)
    later = [s for s in scene.symbols if s[:-15] == near[:-15] and s[-9:] == near[-9:] and s != near]
    return (Leg(near, "sell"), Leg(scene.rng.choice(later), "buy")) if later else None


Shape = Callable[[Scene, list[str], list[str]], tuple[Leg, ...] | None]
SHAPES: dict[str, Shape] = {
    "vertical": _vertical, "strangle": _strangle, "condor": _condor, "butterfly": _butterfly, "ratio": _ratio,
    "calendar": _calendar,
}  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Groups.


def groups(scene: Scene, n: int, *, of_packages: float = 0.0) -> Play:
    """`n` brackets, OTOs and OCOs; `of_packages` of them (0 to 1) of packages."""
    return scene.play([group(scene, packaged=scene.rng.random() < of_packages) for _ in range(n)])


def group(scene: Scene, *, packaged: bool) -> list[Order]:
    rng = scene.rng
    kind = rng.choice(("bracket", "bracket", "oto", "oco"))
    if packaged:
        base = replace(package(scene), tif=rng.choice(DAY_OR_GTC), hours="regular", latency_ns=0)
        sight = package_sight_near(scene, base)
    else:
        base = single(scene, any_symbol(scene))
        base = replace(base, tif=rng.choice(DAY_OR_GTC), hours="regular", latency_ns=0)
        base = replace(base, submit_ns=submit_ns(scene, base))
        quote = scene.sound(base.symbol, base.submit_ns)
        sight = Sight(cast(Decimal, quote.bid), cast(Decimal, quote.ask), 0)
        if base.type == "trailing_stop":
            base = replace(base, type="limit", trail_price=None, trail_percent=None)
            base = with_prices(scene, base, sight)
    exits = [exit_of(scene, base, sight, "limit"), exit_of(scene, base, sight, "stop")]
    match kind:
        case "bracket":
            return [replace(base, role="entry"), *exits]
        case "oto":
            return [replace(base, role="entry"), rng.choice(exits)]
        case _:
            return exits


def exit_of(scene: Scene, entry: Order, sight: Sight, kind: OrderType) -> Order:
    """A take-profit or a stop-loss on the other side, near enough to be met on the tape."""
    if entry.legs:
        order = replace(entry, legs=reverse(entry.legs), limit_price=None, role="exit", type=kind)
        return with_prices(scene, order, Sight(-sight.ask, -sight.bid, 0))
    if kind == "stop" and scene.rng.random() < 0.4:
        kind = "stop_limit"
    order = replace(entry, side=OTHER[entry.side], limit_price=None, stop_price=None, role="exit", type=kind)
    return with_prices(scene, order, sight)


# ---------------------------------------------------------------------------------------------
# Made-up tapes.

START = 1_000_000 * SECOND
LENGTH = 9_000 * SECOND
STRIKES = (95, 100, 105, 110)


def made_up(seed: int, odds: Odds = USUAL) -> Scene:
    """Three days of two equities and a small chain of options, with every oddity that a quote can have.

    Regular hours are 9,000 seconds of each 36 hours; the late ones 900 more; the extended ones begin
    7,200 seconds earlier and end 3,600 later.
    """
    rng = random.Random(seed)
    sessions = []
    for number in range(5):
        open_ns = START + number * 36 * HOUR
        close_ns = open_ns + LENGTH
        sessions.append(
            Session(open_ns, close_ns, close_ns + 900 * SECOND, open_ns - 2 * HOUR, close_ns + HOUR)
        )
    names = {"ABCD": rng.randint(9_000, 11_000), "BB": rng.randint(90, 110)}  # cents; BB crosses 1.00
    chain = [
        f"{root}700220{right}{strike * 1000:08d}"
        for root in ("ABCD", "IBM")
        for right in "CP"
        for strike in STRIKES
    ]
    chain += [f"ABCD700320C{strike * 1000:08d}" for strike in STRIKES[:2]]
    for symbol in chain:
        names[symbol] = rng.choice((40, 120, 280, 310, 900))
    walks = [walk(rng, symbol, cents, sessions[:3]) for symbol, cents in names.items()]
    stamped = sorted((pair for pairs in walks for pair in pairs), key=lambda pair: pair[1].ts_ns)
    rows: dict[str, list[Row]] = {}
    for line, (symbol, row) in enumerate(stamped, start=1):
        rows.setdefault(symbol, []).append(row._replace(line=line))
    return Scene(
        rng=rng,
        tape=Tape(rows, max(stamped[-1][1].ts_ns, sessions[2].close_ns + 2 * HOUR)),
        sessions=sessions,
        odds=odds,
    )


def walk(rng: random.Random, symbol: str, cents: int, days: Sequence[Session]) -> list[tuple[str, Row]]:
    """A random walk of whole cents on whole seconds: ties, gaps, silences, one-sided, crossed, locked, empty."""
    option = asset_class(symbol) == "option"
    found = []
    for day in days:
        at_ns = day.window("regular" if option else "extended")[0] - 30 * SECOND
        end_ns = day.window("late" if option else "extended")[1] + 60 * SECOND
        while (
            at_ns := at_ns
            + rng.choice((0, 0, 1, 1, 5, 20, 60, 100, 200, 400, 2_000 if option else 300)) * SECOND
        ) < end_ns:
            cents = max(
                5, cents + rng.choice((-20, -3, -2, -1, -1, 0, 0, 1, 1, 2, 3, 20)) * max(1, cents // 500)
            )
            spread = rng.choice((0, 1, 1, 2, 3, 5, 10, 20)) if rng.random() < 0.95 else -rng.randint(1, 3)
            bid: Decimal | None = Decimal(cents).scaleb(-2)
            ask: Decimal | None = max(Decimal(cents + spread), Decimal(1)).scaleb(-2)
            match rng.choices(("", "no bid", "no ask", "empty", "sub-penny"), (90, 3, 3, 1, 3))[0]:
                case "no bid":
                    bid = None
                case "no ask":
                    ask = None
                case "empty":
                    bid = ask = None
                case "sub-penny" if not option and bid is not None:
                    bid -= Decimal("0.0001") * rng.randint(1, 99)
            sizes = [rng.choice((0, 1, 2, 3, 5, 10, 50)) * (1 if option else 100) for _ in range(2)]
            found.append((symbol, Row(at_ns, bid, ask, sizes[0] if bid else 0, sizes[1] if ask else 0)))
            if rng.random() < 0.1:  # the same again, at once
                found.append((symbol, found[-1][1]._replace(bid_size=sizes[1] if bid else 0)))
    return found
