"""Events under attack: the process dies before and after each, two engines try, orders are in flight, prices are
missing, and fifty contracts expire at once."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal as D

import pytest

from mbt import books, selectors
from mbt.engine.corporate import CashDividend, Split
from mbt.engine.ledger import digest
from mbt.engine.orders import TimeInForce
from mbt.models import Activity, EngineState, Order, Position
from mbt.selectors import AccountRef
from mbt.selectors.markets import QuoteOf
from mbt.services import fills
from mbt.services.events import schedule
from mbt.services.events.applying import Effects
from mbt.services.events.prices import record_price
from mbt.services.events.schedule import Calendar, Moment
from raxx.kernel.clock import now
from raxx.market.sessions import Sessions
from tests.mbt.services.desk import Desk, Rows, at, cash, held, ticket

Market = Callable[..., Desk]
FRIDAY = date(2026, 11, 20)
OPENED = "2026-11-19 15:00"
CALL, LONG, FUND = "XYZ261120C00050000", "XYZ261218C00050000", "SPY261120P00100000"
ROWS: Rows = [
    (OPENED, "XYZ", "100.00", "100.00"),
    (OPENED, "XYZ261120C00100000", "4.00", "4.00"),
    (OPENED, "XYZ261218C00100000", "8.00", "8.00"),
    (OPENED, "SPY", "101.00", "101.00"),
    (OPENED, FUND, "1.00", "1.00"),
    ("2026-11-20 15:00", "XYZ", "52.00", "52.00"),
    ("2026-11-20 15:00", CALL, "2.10", "2.10"),
    ("2026-11-20 15:00", LONG, "4.00", "4.00"),
    ("2026-11-20 15:00", "SPY", "99.00", "99.00"),
    ("2026-11-20 15:00", FUND, "1.10", "1.10"),
    ("2026-11-20 21:00", "XYZ", "52.00", "52.00"),
    ("2026-11-30 15:00", "XYZ", "52.00", "52.00"),
    ("2026-12-01 15:00", "XYZ", "52.00", "52.00"),
]
KNOWN = Calendar(
    actions=[
        Split(symbol="XYZ", ex_date=FRIDAY, new=2, old=1, close=1000000),
        CashDividend(symbol="XYZ", ex_date=date(2026, 11, 24), amount=D("0.10"), pay_date=date(2026, 11, 27)),
    ]
)  # fmt: skip


# The days on which something happens: split and expirations, the dividend, the end of the month.
EVENTFUL = {FRIDAY, date(2026, 11, 27), date(2026, 11, 30)}
SOAK = bool(os.environ.get("RAXX_SOAK"))


class Died(Exception):
    """The process is gone."""


def story(account: AccountRef) -> list[object]:
    """All that the record says of an account, but for the names that orders were given at random."""
    ledger = selectors.ledger(account.id)
    fills = sorted((f.filled_ns, f.symbol, f.side, f.qty, f.price) for f in ledger.fills)
    ended = sorted(
        (o.symbol, o.side, o.qty, o.limit or 0, o.status, o.closed_ns or 0, o.reason) for o in ledger.orders
    )
    return [ledger.cash, ledger.positions, ledger.events, fills, ended]


def a_week(market: Desk) -> list[list[object]]:
    """A split, a risk close, expirations, fees, a dividend and a month's interest; the story of it."""
    market.advance(OPENED)
    rich, poor, owing = (
        market.open(fees="regulatory"),
        market.open("3000.00"),
        market.open("12000.00", interest="standard"),
    )
    market.trade(rich, "+100 XYZ")
    market.trade(rich, "-1 XYZ261120C00100000", "+1 XYZ261218C00100000")
    market.send(rich, ticket("-100 XYZ", limit="150.00", tif=TimeInForce.GTC, name="target"))
    market.trade(poor, "+2 XYZ261120C00100000")
    market.trade(rich, f"-1 {FUND}")
    market.trade(owing, "+200 XYZ")
    market.send(rich, ticket("+10 XYZ", limit="40.00", tif=TimeInForce.GTC, name="low"))
    for text in (
        "2026-11-20 15:00",
        "2026-11-20 20:45",
        "2026-11-21 02:00",
        "2026-11-28 15:00",
        "2026-12-01 15:00",
    ):
        market.advance(text)
    assert books.verify()[1] == []
    kinds = set(Activity.objects.values_list("activity_type", flat=True))
    assert kinds >= {"fill", "corporate_action", "expiration", "assignment", "fee", "dividend", "interest"}
    return [story(account) for account in (rich, poor, owing)]


def test_death_before_and_after_every_event_changes_nothing(
    desk: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same week in one piece, and with a crash at each moment: once before anything of it is done, once after
    everything but the note that it is. RAXX_SOAK: on every day of it."""
    whole = a_week(desk(ROWS, KNOWN, name="replay:whole"))
    market = desk(ROWS, KNOWN, name="replay:dying")
    carry_out, advance = schedule.carry_out, Desk.advance
    crashes: dict[int, int] = {}

    def dying(
        moment: Moment, *, feed: str, sessions: Sessions, quote_of: QuoteOf, known: Calendar, quotes_of: schedule.QuotesOf
    ) -> Effects:  # fmt: skip
        times = 3
        if SOAK or {due.session.date for due in moment.steps} & EVENTFUL:
            times = crashes[moment.at_ns] = crashes.get(moment.at_ns, 0) + 1
        if times == 1:
            raise Died
        effects = carry_out(
            moment, feed=feed, sessions=sessions, quote_of=quote_of, known=known, quotes_of=quotes_of
        )
        if times == 2:
            raise Died
        return effects

    def stubborn(self: Desk, text: str) -> None:
        while True:
            try:
                advance(self, text)
            except Died:
                while True:
                    try:
                        self.feed.start(None)
                        self.restart()
                    except Died:
                        continue
                    break
            else:
                return

    monkeypatch.setattr(schedule, "carry_out", dying)
    monkeypatch.setattr(Desk, "advance", stubborn)
    assert a_week(market) == whole
    assert len(crashes) >= (60 if SOAK else 39)
    assert min(crashes.values()) >= 3


def test_two_engines_on_one_record_do_everything_once(desk: Market) -> None:
    """The second one lost its lock and does not know: what it carries out again changes nothing."""
    market = desk(ROWS, KNOWN)
    market.advance(OPENED)
    account = market.open()
    market.trade(account, "+100 XYZ")
    market.trade(account, "-1 XYZ261120C00100000")
    other = replace(market)  # a second engine from the same record
    for text in ("2026-11-20 15:00", "2026-11-20 21:00", "2026-11-21 02:00", "2026-11-28 15:00"):
        market.engine.feed.start(EngineState.objects.get().position_ns)
        market.advance(text)
        before = selectors.ledger(account.id)
        moment = schedule.next_moment(other.feed.sessions, at("2026-11-19 21:00"))
        while moment.at_ns <= at(text):
            schedule.carry_out(
                moment,
                feed=market.feed.name,
                sessions=other.feed.sessions,
                quote_of=other.engine.last_quote,
                known=KNOWN,
            )
            moment = schedule.next_moment(other.feed.sessions, moment.at_ns)
        assert digest(selectors.ledger(account.id)) == digest(before)
    assert books.verify()[1] == []


def test_an_order_that_fills_at_the_instant_of_an_event_is_settled_before_it(desk: Market) -> None:
    """A limit that the very quote of 16:00 reaches sells the call; then nothing is left to expire. What the matcher
    decided and the record does not have is decided again by the next process, before the event."""
    market = desk([
        ("2026-11-20 15:00", "XYZ", "52.00", "52.00"),
        ("2026-11-20 15:00", CALL, "2.00", "2.10"),
        ("2026-11-20 20:59", CALL, "2.00", "2.10"),
        ("2026-11-20 20:59", "XYZ", "52.00", "52.00"),
    ])  # fmt: skip
    market.advance("2026-11-20 15:00")
    account, slow = market.open(), market.open()
    for each in (account, slow):
        market.trade(each, f"+2 {CALL}")
    market.send(account, ticket(f"-1 {CALL}", limit="2.00", name="out"))
    waiting = market.send(slow, ticket(f"-1 {CALL}", limit="9.00", tif=TimeInForce.GTC, name="never"))
    # Matched, but not settled: the process dies with the decisions in its hands.
    decisions = market.engine.match(market.feed.advance_to(at("2026-11-20 20:30")))
    assert decisions
    market.feed.start(None)
    market.restart()
    market.advance("2026-11-20 21:00")
    assert held(account) == {"XYZ": (D(100), D("5210.00"))}
    assert held(slow) == {"XYZ": (D(200), D("10420.00"))}
    waiting.refresh_from_db()
    assert (waiting.status, waiting.closed_at) != ("filled", None)
    assert not Order.objects.filter(closed_at__isnull=True).exists()
    assert books.verify()[1] == []


def test_a_split_in_the_middle_of_fills_that_are_not_settled(desk: Market) -> None:
    """The last fill before the split is decided and settled, but the process dies before the split: shares bought the
    evening before are doubled too."""
    market = desk(ROWS, KNOWN)
    market.advance(OPENED)
    account = market.open()
    market.send(account, ticket("+100 XYZ", name="late"))
    decisions = market.engine.match(market.feed.advance_to(at("2026-11-20 08:59")))
    fills.apply(decisions, feed=market.feed.name, position_ns=at("2026-11-20 09:00"), now=now())
    market.feed.start(None)
    market.restart()
    assert held(account) == {"XYZ": (D(200), D("10000.00"))}
    assert books.verify()[1] == []


def test_missing_prices_hold_up_only_what_needs_them(desk: Market) -> None:
    """XYZ has a price at its close, DEF has none: a spread in DEF waits, another account's calls on XYZ do not; when
    the price comes, with the next moment, it is settled at it."""
    market = desk([
        ("2026-11-20 15:00", "XYZ", "52.00", "52.00"),
        ("2026-11-20 15:00", CALL, "2.00", "2.10"),
        ("2026-11-20 15:00", "DEF261120C00010000", "1.00", "1.10"),
        ("2026-11-20 21:00", "XYZ", "52.00", "52.00"),
    ])  # fmt: skip
    market.advance("2026-11-20 15:00")
    known, unknown = market.open(), market.open()
    market.trade(known, f"+1 {CALL}")
    market.trade(unknown, "+1 DEF261120C00010000")
    market.advance("2026-11-20 21:00")
    assert set(held(known)) == {"XYZ"}
    assert set(held(unknown)) == {"DEF261120C00010000"}
    record_price(
        feed=market.feed.name, symbol="DEF", at_ns=at("2026-11-20 21:00"), price=D("12.00"), source="official"
    )
    market.advance("2026-11-20 21:15")
    assert held(unknown) == {"DEF": (D(100), D("1110.00"))}
    assert books.verify()[1] == []


def test_fifty_contracts_of_one_account_expire_in_one_step(desk: Market) -> None:
    """Long calls at 1 to 50 dollars with the stock at 25.50: 25 are in the money and take 100 x (1 + ... + 25) =
    32,500 dollars; the shares cost that and the 50.00 that each call did."""
    symbols = [f"XYZ261120C{strike * 1000:08d}" for strike in range(1, 51)]
    market = desk([
        ("2026-11-20 15:00", "XYZ", "25.50", "25.50"),
        *(("2026-11-20 15:00", symbol, "0.50", "0.50") for symbol in symbols),
        ("2026-11-20 21:00", "XYZ", "25.50", "25.50"),
    ])  # fmt: skip
    market.advance("2026-11-20 15:00")
    account = market.open("100000.00", kind="cash")
    for symbol in symbols:
        market.trade(account, f"+1 {symbol}")
    assert Position.objects.filter(closed_at__isnull=True).count() == 50
    market.advance("2026-11-20 21:00")
    assert held(account) == {"XYZ": (D(2500), D("33750.00"))}
    assert cash(account) == D("100000.00") - D("2500.00") - D("32500.00")
    history = Activity.objects.filter(account_id=account.id).exclude(activity_type__in=["fill", "adjustment"])
    assert history.values("ref_id").distinct().count() == 1
    assert history.count() == 25 * 2 + 25
    market.restart()
    market.advance("2026-11-20 21:15")
    assert history.count() == 75
    assert books.verify()[1] == []
