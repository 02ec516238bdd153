"""Day trades, how they are counted, and the two regimes that limit them.

Until 4 June 2026 a pattern day trader needed 25,000 dollars; since then an account must cover its
positions at every moment of the day. Sources and worked examples: docs/rules/day-trading.md.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import reduce
from math import gcd

import msgspec

from raxx.market.sessions import Sessions

ZERO = Decimal(0)


class Model(StrEnum):
    """Which regime holds. BY_DATE: the one of the day."""

    BY_DATE = "by_date"
    LEGACY_PDT = "legacy_pdt"
    INTRADAY_MARGIN = "intraday_margin"


INTRADAY_MARGIN_SINCE = date(2026, 6, 4)


def model_on(day: date, setting: Model = Model.BY_DATE) -> Model:
    """The regime of that day. Firms may keep the old one until 20 October 2027, hence the setting."""
    if setting is not Model.BY_DATE:
        return setting
    return Model.INTRADAY_MARGIN if day >= INTRADAY_MARGIN_SINCE else Model.LEGACY_PDT


class Counting(StrEnum):
    """Both ways are FINRA's; the second is the older one."""

    DIRECTION_CHANGES = "direction_changes"  # each change from opening to closing is a day trade
    OPENING_ORDERS = "opening_orders"  # each opening order that is closed is a day trade


class Traded(msgspec.Struct, frozen=True):
    """One fill of one leg; `qty` is signed, negative when sold."""

    order_id: str
    symbol: str
    qty: Decimal


class RoundTrip(msgspec.Struct, frozen=True):
    """One day trade: what was opened and closed on the same day, by which orders."""

    symbols: tuple[str, ...]
    opened_by: tuple[str, ...]
    closed_by: str


class _Part(msgspec.Struct):
    """What one order did to one symbol, or to one package of symbols counted in units."""

    order_id: str
    qty: Decimal


_Legs = dict[str, Decimal]  # by symbol
_Units = dict[str, Decimal]  # by order, negative when it closed
_Package = tuple[tuple[str, int], ...]  # symbols with their ratios, signed as when it was opened


def round_trips(
    fills: Iterable[Traded], *, held: Mapping[str, Decimal], counting: Counting = Counting.DIRECTION_CHANGES
) -> tuple[RoundTrip, ...]:  # fmt: skip
    """The day trades among one account's fills of one day, which come in the order in which they happened.

    `held`: signed positions before the day began; closing those is no day trade. The fills of one order
    count as one, at the time of the first. An order of several legs counts as one unit when the same unit
    is opened and closed; what is closed leg by leg counts leg by leg.
    """
    orders: dict[str, _Legs] = {}
    for fill in fills:
        legs = orders.setdefault(fill.order_id, {})
        legs[fill.symbol] = legs.get(fill.symbol, ZERO) + fill.qty
    place = {order_id: n for n, order_id in enumerate(orders)}
    packages, singles = _split(orders, held)
    found = []
    for package, parts in packages.items():
        symbols = tuple(symbol for symbol, _ in package)
        found += _count(sorted(parts, key=lambda p: place[p.order_id]), ZERO, symbols, counting)
    for symbol, parts in singles.items():
        found += _count(parts, held.get(symbol, ZERO), (symbol,), counting)
    return tuple(sorted(found, key=lambda trip: (place[trip.closed_by], trip.symbols, trip.opened_by)))


def _split(
    orders: Mapping[str, _Legs], held: Mapping[str, Decimal]
) -> tuple[dict[_Package, list[_Part]], dict[str, list[_Part]]]:
    """Units that were both opened and closed as packages today; and everything else, by symbol."""
    now = dict(held)
    opened: dict[_Package, deque[_Part]] = {}
    matched: dict[_Package, _Units] = {}
    rest: dict[str, _Legs] = {order_id: dict(legs) for order_id, legs in orders.items()}
    for order_id, legs in orders.items():
        before = {symbol: now.get(symbol, ZERO) for symbol in legs}
        for symbol, qty in legs.items():
            now[symbol] = before[symbol] + qty
        if len(legs) < 2 or any(qty % 1 for qty in legs.values()) or not all(legs.values()):
            continue
        if all(before[symbol] * qty >= 0 for symbol, qty in legs.items()):
            package, units = _package(legs)
            opened.setdefault(package, deque()).append(_Part(order_id, Decimal(units)))
        elif all(before[s] * qty < 0 and abs(qty) <= abs(before[s]) for s, qty in legs.items()):
            package, units = _package({symbol: -qty for symbol, qty in legs.items()})
            _match(order_id, units, package, opened.get(package, deque()), matched, rest)
    singles: dict[str, list[_Part]] = {}
    for order_id, legs in rest.items():
        for symbol, qty in legs.items():
            if qty:
                singles.setdefault(symbol, []).append(_Part(order_id, qty))
    packages = {package: [_Part(*unit) for unit in units.items()] for package, units in matched.items()}
    return packages, singles


def _package(legs: Mapping[str, Decimal]) -> tuple[_Package, int]:
    """The legs in lowest terms, and how many units of that they are."""
    units = reduce(gcd, (int(abs(qty)) for qty in legs.values()))
    return tuple(sorted((symbol, int(qty) // units) for symbol, qty in legs.items())), units


def _match(
    closing_id: str, units: int, package: _Package, opened: deque[_Part], matched: dict[_Package, _Units],
    rest: dict[str, _Legs],
) -> None:  # fmt: skip
    """Move what `closing_id` closes of units opened today from `rest` to `matched`, oldest first."""
    left = Decimal(units)
    mine = matched.setdefault(package, {})
    while left and opened:
        part = opened[0]
        taken = min(left, part.qty)
        part.qty -= taken
        left -= taken
        for symbol, ratio in package:
            rest[part.order_id][symbol] -= taken * ratio
            rest[closing_id][symbol] += taken * ratio
        mine[part.order_id] = mine.get(part.order_id, ZERO) + taken
        mine[closing_id] = mine.get(closing_id, ZERO) - taken
        if not part.qty:
            opened.popleft()


def _count(
    parts: Sequence[_Part], held: Decimal, symbols: tuple[str, ...], counting: Counting
) -> list[RoundTrip]:
    if counting is Counting.OPENING_ORDERS:
        return _count_openings(parts, held, symbols)
    trips: list[RoundTrip] = []
    opened: list[str] = []
    position = held
    for part in parts:
        closes = position * part.qty < 0
        if closes and opened:
            trips.append(RoundTrip(symbols, tuple(opened), part.order_id))
            opened = []
        if not closes or abs(part.qty) > abs(position):
            opened.append(part.order_id)
        position += part.qty
    return trips


def _count_openings(parts: Sequence[_Part], held: Decimal, symbols: tuple[str, ...]) -> list[RoundTrip]:
    """Closing takes what was opened today before what was held, oldest first."""
    trips: list[RoundTrip] = []
    position = held
    today: deque[_Part] = deque()
    counted: set[str] = set()
    for part in parts:
        closing = min(abs(part.qty), abs(position)) if position * part.qty < 0 else ZERO
        opening = abs(part.qty) - closing
        while closing and today:
            first = today[0]
            matched = min(closing, first.qty)
            if first.order_id not in counted:
                counted.add(first.order_id)
                trips.append(RoundTrip(symbols, (first.order_id,), part.order_id))
            closing -= matched
            first.qty -= matched
            if not first.qty:
                today.popleft()
        if opening:
            today.append(_Part(part.order_id, opening))
        position += part.qty
    return trips


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why an order may not be taken now, in numbers (dollars or day trades) and in words."""

    code: str
    limit: Decimal
    value: Decimal
    message: str
    remedy: str


# --- Until 4 June 2026: the pattern day trader -------------------------------------------------------------


class LegacyRules(msgspec.Struct, frozen=True, kw_only=True):
    """Four day trades in five business days that are more than 6 % of the trades make a pattern."""

    day_trades: int = 4
    window: int = 5
    share: Decimal = Decimal("0.06")
    minimum_equity: Decimal = Decimal(25_000)
    multiple: int = 4
    multiple_called: int = 2  # while a day-trading margin call is open
    multiple_plain: int = 2  # an account that is not a pattern day trader's


LEGACY = LegacyRules()


class Day(msgspec.Struct, frozen=True):
    """How many day trades and how many trades (orders that filled) there were on a day."""

    date: date
    day_trades: int
    trades: int


def window(day: date, sessions: Sessions, length: int) -> tuple[date, ...]:
    """The last `length` sessions up to and including that of `day`, oldest first; fewer where the calendar begins."""
    back = (day - timedelta(days=n) for n in range(length * 7))
    return tuple(sorted(d for _, d in zip(range(length), filter(sessions.on, back), strict=False)))


def is_pattern(days: Iterable[Day], *, on: date, sessions: Sessions, rules: LegacyRules = LEGACY) -> bool:
    """Whether the window that ends on `on` makes the account a pattern day trader's."""
    dates = frozenset(window(on, sessions, rules.window))
    inside = [d for d in days if d.date in dates]
    day_trades, trades = sum(d.day_trades for d in inside), sum(d.trades for d in inside)
    return day_trades >= rules.day_trades and day_trades > rules.share * trades


def pattern_since(days: Iterable[Day], *, sessions: Sessions, rules: LegacyRules = LEGACY) -> date | None:
    """The first day whose window made the pattern: the mark stays from then on. None without one."""
    days = tuple(days)
    dates = sorted({d.date for d in days})
    return next((d for d in dates if is_pattern(days, on=d, sessions=sessions, rules=rules)), None)


def day_trading_power(
    *, equity: Decimal, maintenance: Decimal, pattern: bool, called: bool = False, rules: LegacyRules = LEGACY
) -> Decimal:  # fmt: skip
    """Dollars of stock that may be bought today to be sold today, from the figures of the previous close."""
    excess = max(ZERO, equity - maintenance)
    if not pattern:
        return excess * rules.multiple_plain
    if equity < rules.minimum_equity:
        return ZERO
    return excess * (rules.multiple_called if called else rules.multiple)


def judge_day_trade(
    days: Iterable[Day], *, on: date, equity: Decimal, pattern: bool, sessions: Sessions, rules: LegacyRules = LEGACY
) -> Refusal | None:  # fmt: skip
    """Whether one more day trade may be made on `on`, with `equity` of the previous close.

    Refuses it to a pattern day trader below the minimum, and refuses the one that would make the pattern.
    """
    if equity >= rules.minimum_equity:
        return None
    days = (*days, Day(on, 1, 1))
    if not pattern and not is_pattern(days, on=on, sessions=sessions, rules=rules):
        return None
    return Refusal(
        code="PATTERN_DAY_TRADER", limit=rules.minimum_equity, value=equity,
        message=(
            f"This would be a day trade of a pattern day trader ({rules.day_trades} within {rules.window} business "
            f"days), who needs {rules.minimum_equity:,.2f}; the account had {equity:,.2f} at the last close."
        ),
        remedy=f"Hold the position overnight, or bring the account to {rules.minimum_equity:,.2f}.",
    )  # fmt: skip


# --- Since 4 June 2026: intraday margin --------------------------------------------------------------------


class SmallTest(StrEnum):
    """How the two limits of a small deficit combine."""

    LESSER = "lesser"  # within both
    EITHER = "either"  # within one


class IntradayRules(msgspec.Struct, frozen=True, kw_only=True):
    """`blocks`: the firm refuses an order that would make a deficit, instead of calling for funds.

    What makes a habit is the firm's to say: so many failures within so many days.
    """

    blocks: bool = True
    small_share: Decimal = Decimal("0.05")
    small_amount: Decimal = Decimal(1_000)
    small_test: SmallTest = SmallTest.LESSER
    cure_days: int = 5
    failures: int = 3
    failures_window_days: int = 365
    restricted_days: int = 90


INTRADAY = IntradayRules()


class Level(msgspec.Struct, frozen=True):
    """Where an account stands right after a transaction. `adds_risk`: it raised what must be covered."""

    at_ns: int
    equity: Decimal
    maintenance: Decimal
    adds_risk: bool

    @property
    def deficit(self) -> Decimal:
        return max(ZERO, self.maintenance - self.equity)


class Deficit(msgspec.Struct, frozen=True):
    """An intraday margin deficit. `cured`: the day on which it was paid or worked off, None so far."""

    day: date
    amount: Decimal
    equity: Decimal
    cured: date | None = None


class DebitFreeze(msgspec.Struct, frozen=True):
    """From `since` until the day before `until`: no new or larger debit balance or short position."""

    since: date
    until: date
    because: tuple[Deficit, ...]


def of_day(levels: Iterable[Level], day: date) -> Deficit | None:
    """The day's deficit: the largest one right after a transaction that added risk. Falling prices alone make none."""
    short = [level for level in levels if level.adds_risk and level.deficit]
    worst = max(short, key=lambda level: (level.deficit, -level.at_ns), default=None)
    return Deficit(day, worst.deficit, worst.equity) if worst else None


def is_excused(deficit: Deficit, rules: IntradayRules = INTRADAY) -> bool:
    """Whether the deficit is too small to count."""
    within = (deficit.amount <= rules.small_share * deficit.equity, deficit.amount <= rules.small_amount)
    return all(within) if rules.small_test is SmallTest.LESSER else any(within)


def cure_by(deficit: Deficit, sessions: Sessions, rules: IntradayRules = INTRADAY) -> date:
    """The last business day on which the deficit can be cured. Raises LookupError beyond the calendar."""
    after = (s.date for s in sessions if s.date > deficit.day)
    days = [d for _, d in zip(range(rules.cure_days), after, strict=False)]
    if len(days) < rules.cure_days:
        raise LookupError(f"calendar {sessions.name} ends within {rules.cure_days} sessions of {deficit.day}")
    return days[-1]


def freeze(
    deficits: Iterable[Deficit], *, on: date, sessions: Sessions, rules: IntradayRules = INTRADAY
) -> DebitFreeze | None:
    """The restriction in force on a day because deficits were habitually not cured in time; None without one."""
    failed = []
    for deficit in sorted(deficits, key=lambda d: d.day):
        last = cure_by(deficit, sessions, rules)
        if not is_excused(deficit, rules) and (deficit.cured is None or deficit.cured > last):
            failed.append((last + timedelta(days=1), deficit))
    found = None
    for end in range(rules.failures, len(failed) + 1):
        run = failed[end - rules.failures : end]
        since = run[-1][0]
        until = since + timedelta(days=rules.restricted_days)
        if (since - run[0][0]).days < rules.failures_window_days and since <= on < until:
            found = DebitFreeze(since, until, tuple(deficit for _, deficit in run))
    return found


def judge_intraday(
    *, equity: Decimal, before: Decimal, after: Decimal, rules: IntradayRules = INTRADAY
) -> Refusal | None:
    """Whether an order may be taken that moves the maintenance requirement from `before` to `after` dollars.

    Orders that do not raise the requirement always pass; all pass where the firm calls for funds instead.
    """
    short = after - equity
    if not rules.blocks or after <= before or short <= 0:
        return None
    return Refusal(
        code="INTRADAY_MARGIN_DEFICIT", limit=equity, value=after,
        message=(
            f"The positions would need {after:,.2f} of equity; the account has {equity:,.2f}, "
            f"{short:,.2f} too little."
        ),
        remedy=f"Close something first, deposit {short:,.2f}, or send a smaller order.",
    )  # fmt: skip
