"""Events of a day on markets written by hand: when they come, whom they concern, and what they leave."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal as D
from pathlib import Path

import msgspec
import pytest

from audit.models import AuditEntry
from mbt import books, selectors
from mbt.engine.corporate import CashDividend
from mbt.engine.ledger import digest
from mbt.engine.orders import OrderType, TimeInForce
from mbt.models import Account, Activity, EngineState, Order, Position, SettlementPrice
from mbt.selectors import AccountRef
from mbt.services import orders
from mbt.services.events import schedule
from mbt.services.events.expirations import expire_options
from mbt.services.events.prices import record_price
from mbt.services.events.schedule import Calendar, Moment, Step
from raxx.kernel.models import OutboxEvent
from raxx.market import calendar
from raxx.market.feeds.replay import ReplayFeed
from raxx.market.feeds.tape import read_tape
from raxx.market.services import instruments
from tests.conftest import Database
from tests.mbt.engine_tools import start_engine
from tests.mbt.services.desk import SHOP, Desk, Rows, at, cash, excerpt, held, realized, ticket
from tests.patience import eventually

FRIDAY = date(2026, 11, 20)


# -- when ---------------------------------------------------------------------------------------------


def moments(first: str, last: str, name: str) -> Iterator[Moment]:
    sessions = calendar.of_feed(name)
    moment = schedule.next_moment(sessions, at(first) - 1)
    while moment.at_ns <= at(last):
        yield moment
        moment = schedule.next_moment(sessions, moment.at_ns)


def test_a_day_in_new_york() -> None:
    """From 04:00 to 20:00; the risk of expirations is looked at from 15:30 to 16:10 every five minutes."""
    found = [
        (
            datetime.fromtimestamp(moment.at_ns / 1e9, UTC).strftime("%H:%M"),
            [due.step for due in moment.steps],
        )
        for moment in moments("2026-11-20 05:00", "2026-11-21 05:00", "replay:x")
    ]
    risk = [
        (f"20:{minute}" if minute < 60 else f"21:{minute - 60:02d}", [Step.RISK])
        for minute in range(30, 75, 5)
    ]
    risk[6] = ("21:00", [Step.RISK, Step.CLOSE])
    assert found == [
        ("09:00", [Step.MORNING]), ("14:30", [Step.OPEN]), *risk, ("21:15", [Step.LATE_CLOSE]), ("01:00", [Step.EVENING]),
    ]  # fmt: skip


def test_a_day_that_never_closes_ends_at_midnight_where_the_next_begins() -> None:
    at_midnight = list(moments("2026-11-21 05:00", "2026-11-21 05:00", "simulated"))
    (moment,) = at_midnight
    assert [(due.step, due.session.date.day) for due in moment.steps] == [
        (Step.CLOSE, 20), (Step.LATE_CLOSE, 20), (Step.EVENING, 20), (Step.MORNING, 21), (Step.OPEN, 21),
    ]  # fmt: skip


def test_beyond_the_calendar_nothing_is_due() -> None:
    sessions = calendar.xnys()
    last = list(sessions)[-1]
    assert schedule.next_moment(sessions, schedule.last_moment_ns(last)) == schedule.NEVER


# -- late classes and opening prices -------------------------------------------------------------------


def test_a_fund_that_trades_until_16_15_settles_on_the_price_of_16_00(desk: Callable[..., Desk]) -> None:
    """SPY closes at 100.60 and then falls to 99.00: the 100 call is 0.60 in the money. The engine is restarted
    between the two, when only the record knows the price of 16:00."""
    market = desk([
        ("2026-11-20 15:00", "SPY", "100.00", "100.02"),
        ("2026-11-20 15:00", "SPY261120C00100000", "1.00", "1.10"),
        ("2026-11-20 21:00", "SPY", "100.59", "100.61"),
        ("2026-11-20 21:05", "SPY", "98.99", "99.01"),
    ])  # fmt: skip
    market.advance("2026-11-20 15:00")
    account = market.open()
    market.trade(account, "+1 SPY261120C00100000")
    market.advance("2026-11-20 21:10")
    assert set(held(account)) == {"SPY261120C00100000"}
    market.restart()
    market.advance("2026-11-20 21:15")
    assert held(account) == {"SPY": (D(100), D("10110.00"))}  # 10,000 and the 110 it cost
    assert selectors.ledger(account.id).events[0].note.startswith("0.60 in the money")
    assert books.verify()[1] == []


def test_opening_prices_settle_what_stopped_trading_the_day_before(desk: Callable[..., Desk]) -> None:
    """The 100 call on SPX of Friday trades until Thursday and is settled on Friday's open, here 104.00."""
    market = desk([
        ("2026-11-19 15:00", "SPX", "100.00", "100.00"),
        ("2026-11-19 15:00", "SPX261120C00100000", "1.00", "1.10"),
        ("2026-11-20 14:30", "SPX", "104.00", "104.00"),
        ("2026-11-20 14:31", "SPX", "90.00", "90.00"),
    ])  # fmt: skip
    market.advance("2026-11-19 15:00")
    account = market.open()
    market.trade(account, "+1 SPX261120C00100000")
    market.advance("2026-11-20 14:29")
    assert set(held(account)) == {"SPX261120C00100000"}
    market.advance("2026-11-20 14:31")
    assert held(account) == {}
    assert cash(account) == D("200000.00") - D("110.00") + D("400.00")
    assert realized(account) == {"SPX261120C00100000": D("290.00")}


# -- what an account cannot pay for --------------------------------------------------------------------

CHEAP: Rows = [
    ("2026-11-20 15:00", "ABC", "50.00", "50.02"),
    ("2026-11-20 15:00", "ABC261120C00045000", "5.00", "5.10"),
    ("2026-11-20 15:00", "ABC261120P00050000", "0.90", "1.00"),
    ("2026-11-20 15:00", "ABC261218C00045000", "6.00", "6.10"),
    ("2026-11-20 20:59", "ABC", "47.00", "47.00"),
    ("2026-11-20 20:59", "ABC261120C00045000", "2.00", "2.10"),
]


def test_a_put_that_is_assigned_takes_the_cash_that_orders_had_reserved(desk: Callable[..., Desk]) -> None:
    """A margin account with 6,000: the short put takes 5,000 for shares; in a cash account the same is secured."""
    market = desk(CHEAP)
    market.advance("2026-11-20 15:00")
    account = market.open("6000.00")
    market.trade(account, "-1 ABC261120P00050000")
    market.advance("2026-11-20 21:00")
    assert held(account) == {"ABC": (D(100), D("4910.00"))}  # 5,000 - 90
    assert cash(account) == D("1090.00")
    assert books.verify()[1] == []


def test_what_secures_a_put_is_not_spent_by_an_order_whose_price_jumps(desk: Callable[..., Desk]) -> None:
    """6,090 dollars of which 5,000 secure the put: the stop reserves 600 and would cost 1,300 where it trades."""
    market = desk([*CHEAP, ("2026-11-20 16:00", "ABC", "129.00", "130.00")])
    market.advance("2026-11-20 15:00")
    account = market.open("6000.00", kind=Account.Type.CASH)
    market.trade(account, "-1 ABC261120P00050000")
    stop = msgspec.structs.replace(
        ticket("+10 ABC"), order_type=OrderType.STOP, stop_price=D(60), client_order_id="stop"
    )
    order = market.send(account, stop)
    market.advance("2026-11-20 16:01")
    order.refresh_from_db()
    assert (order.status, order.reason) == ("rejected", "INSUFFICIENT_CASH")
    assert cash(account) == D("6090.00")
    assert books.verify()[1] == []


def test_fees_end_an_order_that_reserved_the_last_cent(desk: Callable[..., Desk]) -> None:
    """All that the sale left is reserved by a purchase; the fees of the sale come first."""
    market = desk(CHEAP)
    market.advance("2026-11-20 15:00")
    account = market.open("5002.00", kind=Account.Type.CASH, fees="regulatory")
    market.trade(account, "+100 ABC", limit="50.02")
    market.trade(account, "-100 ABC")
    assert cash(account) == D("5000.00")  # 5,002 - 5,002 + 5,000
    early = market.send(account, ticket("+10 ABC", limit="40.00", tif=TimeInForce.GTC, name="early"))
    last = market.send(account, ticket("+115 ABC", limit="40.00", tif=TimeInForce.GTC, name="last"))
    market.advance("2026-11-21 01:00")
    early.refresh_from_db()
    last.refresh_from_db()
    # SEC 5,000 x 0.0000206 = 0.103: 0.11. TAF 100 x 0.000195 = 0.0195: 0.02. CAT 200 x 0.000003: 0.01.
    assert cash(account) == D("4999.86")
    assert (early.status, last.status, last.reason) == ("new", "canceled", "CASH_GONE")
    assert "took the cash" in selectors.explanation(account, last.pk).headline
    assert books.verify()[1] == []


def test_an_account_may_owe_a_cent(desk: Callable[..., Desk]) -> None:
    market = desk(CHEAP)
    market.advance("2026-11-20 15:00")
    account = market.open("5002.00", kind=Account.Type.CASH, fees="regulatory")
    market.trade(account, "+100 ABC", limit="50.02")
    market.advance("2026-11-21 01:00")
    assert cash(account) == D("-0.01")  # CAT 100 x 0.000003
    assert books.verify()[1] == []


def test_a_spread_is_closed_as_a_package_before_it_could_take_too_much(desk: Callable[..., Desk]) -> None:
    """Ten 100/105 call spreads, sold at 1.00; at 15:30 the stock is at 102: assigned, they would sell 1,000 shares
    short, which takes more than 10,000 dollars. They are bought back for 2.10 - 0.10 each, both legs or none."""
    short, long = "XYZ261120C00100000", "XYZ261120C00105000"
    market = desk([
        ("2026-11-20 15:00", "XYZ", "98.00", "98.02"),
        ("2026-11-20 15:00", short, "1.20", "1.30"),
        ("2026-11-20 15:00", long, "0.15", "0.20"),
        ("2026-11-20 20:25", "XYZ", "101.99", "102.01"),
        ("2026-11-20 20:25", short, "2.00", "2.10"),
        ("2026-11-20 20:25", long, "0.10", "0.15"),
    ])  # fmt: skip
    market.advance("2026-11-20 15:00")
    account = market.open("10000.00")
    market.trade(account, f"-1 {short}", f"+1 {long}", qty=10)
    market.advance("2026-11-20 20:30")
    order = Order.objects.get(client_order_id="risk-close-2026-11-20-1530-1")
    assert order.status == "filled"
    assert {(fill.symbol, fill.side, fill.price) for fill in order.fills.all()} == {
        (short, "buy", D("2.10")), (long, "sell", D("0.10")),
    }  # fmt: skip
    assert held(account) == {}
    assert cash(account) == D("10000.00") + D("1000.00") - D("2000.00")
    entry = AuditEntry.objects.get(action="mbt.order.risk_closed")
    assert "With XYZ at" in entry.changes["why"]
    market.advance("2026-11-20 21:15")
    assert Order.objects.count() == 2
    assert books.verify()[1] == []


# -- evenings and mornings -----------------------------------------------------------------------------


def test_a_short_call_is_assigned_the_evening_before_the_dividend(desk: Callable[..., Desk]) -> None:
    """The stock at 108, 0.55 tomorrow, the 100 call at 8.30: 0.30 of time value is less than the dividend. Two calls
    over 200 shares: 20,000 + 2 x 350 - 18,000 are realized, and the dividend is not the account's."""
    call = "XYZ261218C00100000"
    dividend = CashDividend(symbol="XYZ", ex_date=date(2026, 11, 20), amount=D("0.55"))
    market = desk([
        ("2026-11-19 15:00", "XYZ", "89.99", "90.00"),
        ("2026-11-19 15:00", call, "3.50", "3.60"),
        ("2026-11-19 20:59", "XYZ", "107.99", "108.01"),
        ("2026-11-19 20:59", call, "8.20", "8.40"),
        ("2026-11-20 15:00", "XYZ", "107.00", "107.10"),
    ], Calendar(actions=[dividend]))  # fmt: skip
    market.advance("2026-11-19 15:00")
    account, holder, seller = market.open(), market.open(), market.open()
    market.trade(account, "+200 XYZ")
    market.trade(account, f"-2 {call}")
    market.trade(holder, "+150 XYZ")
    market.trade(seller, "-200 XYZ")
    market.advance("2026-11-19 21:14")
    assert call in held(account)
    market.advance("2026-11-19 21:15")
    assert held(account) == {}
    assert realized(account)["XYZ"] == D("2700.00")
    market.advance("2026-11-20 08:59")
    assert cash(holder) == D("186500.00")
    # At 04:00 of the ex-date, as no other pay date is known: 150 x 0.55, and -200 x 0.55.
    market.advance("2026-11-20 15:00")
    assert cash(holder) == D("186582.50")
    assert cash(seller) == D("200000.00") + 200 * D("89.99") - D("110.00")
    assert not Activity.objects.filter(account_id=account.id, activity_type="dividend").exists()
    line = Activity.objects.get(account_id=holder.id, activity_type="dividend")
    assert (line.symbol, line.side, line.qty, line.cost) == ("XYZ", "", None, None)
    assert books.verify()[1] == []


def test_a_dividend_is_paid_on_its_pay_date_by_what_was_held_before_the_ex_date(
    desk: Callable[..., Desk],
) -> None:
    """Ex on Friday, paid on Saturday the 28th, so on Monday the 30th: to who held on Thursday, though sold since."""
    dividend = CashDividend(
        symbol="ABC", ex_date=date(2026, 11, 20), amount=D("0.2625"), pay_date=date(2026, 11, 28)
    )
    rows = [("2026-11-19 15:00", "ABC", "50.00", "50.00"), ("2026-11-20 15:00", "ABC", "50.00", "50.00")]
    market = desk(rows, Calendar(actions=[dividend]))
    market.advance("2026-11-19 15:00")
    before, after = market.open(), market.open()
    market.trade(before, "+150 ABC")
    market.advance("2026-11-20 15:00")
    market.trade(before, "-150 ABC")
    market.trade(after, "+150 ABC")
    market.advance("2026-11-30 08:59")
    assert cash(before) == D("200000.00")
    market.advance("2026-11-30 09:00")
    assert cash(before) == D("200039.38")  # 150 x 0.2625 = 39.375
    assert cash(after) == D("192500.00")
    market.restart()
    market.advance("2026-12-02 15:00")
    assert cash(before) == D("200039.38")


# -- the record ----------------------------------------------------------------------------------------


def test_an_event_is_recorded_and_announced_once(desk: Callable[..., Desk]) -> None:
    market = desk(CHEAP)
    market.advance("2026-11-20 15:00")
    account = market.open()
    market.trade(account, "+2 ABC261120C00045000")
    market.advance("2026-11-20 21:00")
    for _ in range(2):
        entries = AuditEntry.objects.filter(action="mbt.option.settled", object_id=str(account.id))
        assert [(e.actor_ref, e.changes["symbol"], e.changes["fate"]) for e in entries] == [
            ("system:engine", "ABC261120C00045000", "exercised")
        ]
        told = OutboxEvent.objects.filter(topic="mbt.accounts", key=str(account.id))
        assert [event.payload["event"] for event in told] == ["exercise"]
        expire_options(
            feed=market.feed.name, sessions=market.feed.sessions, at_ns=at("2026-11-20 21:00"),
            quote_of=market.engine.last_quote,
        )  # fmt: skip


def test_an_official_price_is_never_changed(fresh_db: Database) -> None:
    for price, is_new in (("10.00", True), ("11.00", False)):
        assert is_new is record_price(
            feed="replay:x", symbol="ABC", at_ns=at("2026-11-20 21:00"), price=D(price),
            source=SettlementPrice.Source.OFFICIAL,
        )  # fmt: skip
    assert SettlementPrice.objects.get().price == D("10.00")


# -- the engine process --------------------------------------------------------------------------------


@pytest.mark.tapes
def test_kills_around_the_close_change_nothing(fresh_db: Database, tapes: Path, tmp_path: Path) -> None:
    """The engine process on GOOG's half day, killed again and again while contracts are risk-closed, expire and are
    charged for: the same ledgers as in one piece."""
    symbols = ["GOOG", "GOOG151224C00740000", "GOOG151224C00745000", "GOOG151224C00750000"]
    path = excerpt(
        tmp_path / "quotes_goog.csv",
        [tapes / "quotes_1min_GOOG_201512.csv.gz", tapes / "quotes_1min_options_GOOG_20151224.csv.gz"],
        symbols,
    )
    whole = _accounts(path, "replay:whole")
    engine = start_engine(path, "replay:whole", fresh_db.url)
    output, _ = engine.communicate(timeout=120)
    assert engine.returncode == 0, output

    killed = _accounts(path, "replay:killed")
    dice = random.Random(12)
    kills = 0
    while kills < 8:
        # Four days of tape in about ten seconds, most of which are a weekend.
        engine = start_engine(path, "replay:killed", fresh_db.url, speed="30000")
        before = _position("replay:killed")
        eventually(lambda: _position("replay:killed") != before or engine.poll() is not None)  # noqa: B023
        time.sleep(dice.uniform(0, 0.1))
        engine.send_signal(signal.SIGKILL)
        engine.communicate()
        kills += 1
    engine = start_engine(path, "replay:killed", fresh_db.url)
    output, _ = engine.communicate(timeout=120)
    assert engine.returncode == 0, output
    left = [digest(selectors.ledger(account.id)) for account in killed]
    assert left == [digest(selectors.ledger(account.id)) for account in whole]
    assert not Position.objects.filter(asset_class="option", closed_at__isnull=True).exists()
    assert Activity.objects.filter(activity_type="fee").exists()
    assert (
        Order.objects.filter(client_order_id__startswith="risk-close", status="filled").count() == 2
    )  # one each
    assert books.verify()[1] == []


def _accounts(path: Path, feed: str) -> list[AccountRef]:
    """Two accounts with orders of 10:00: a spread with ample margin, and a call that cannot be paid for."""
    recorded = read_tape([path])
    instruments.load(feed=feed, found=ReplayFeed(recorded, name=feed).instruments())
    now_ns = at("2015-12-24 15:00")
    latest = {quote.symbol: quote for quote in recorded.rows(0, recorded.until(now_ns))}
    opener = Desk.__new__(Desk)
    opener.feed = ReplayFeed(recorded, name=feed)
    rich, poor = opener.open(fees="regulatory"), opener.open("10000.00", kind="cash", fees="regulatory")
    for account, legs, name in (
        (rich, ["+1 GOOG151224C00740000", "-1 GOOG151224C00750000"], "spread"),
        (poor, ["+1 GOOG151224C00740000"], "call"),
    ):
        orders.submit(
            account=account, ticket=ticket(*legs, name=name), now_ns=now_ns, quotes=latest, actor=SHOP
        )
    Account.objects.update(created_at=datetime(2015, 12, 24, tzinfo=UTC))
    Activity.objects.filter(activity_type="adjustment").update(occurred_at=datetime(2015, 12, 24, tzinfo=UTC))
    return [rich, poor]


def _position(feed: str) -> int:
    state = EngineState.objects.filter(pk=feed).first()
    return state.position_ns if state else 0
