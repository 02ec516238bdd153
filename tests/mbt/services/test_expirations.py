"""Recorded days carried through expiration: what each structure settles for, reckoned by hand.

GOOG, 24 December 2015, a half day: the official price is 748.40. The quotes at 10:00, bid / ask:
GOOG 746.67 / 747.51; calls 740 6.70 / 9.00, 745 2.35 / 4.60, 750 0.25 / 0.60, 755 0.05 / 0.10;
puts 740 0.10 / 0.25, 745 0.60 / 1.00, 750 2.60 / 3.80.
"""

import csv
import gzip
from decimal import Decimal as D
from functools import cache
from pathlib import Path

import pytest

from mbt import books, selectors
from mbt.engine.ledger import digest
from mbt.engine.orders import TimeInForce
from mbt.models import Account, Activity, EngineState, Order, Position, SettlementPrice
from mbt.services import fills
from mbt.services.events import schedule
from mbt.services.events.prices import record_price
from mbt.services.events.risk_closes import RISK_ORDER
from raxx.kernel.clock import from_ns, now
from raxx.market.feeds.replay import ReplayFeed
from raxx.market.feeds.tape import Tape, read_tape
from tests.mbt.services.desk import SHOP, Desk, at, cash, held, ledgers, realized, ticket

pytestmark = [pytest.mark.tapes, pytest.mark.usefixtures("fresh_db")]

CLOSE = at("2015-12-24 18:00")


def call(strike: int) -> str:
    return f"GOOG151224C{strike * 1000:08d}"


def put(strike: int) -> str:
    return f"GOOG151224P{strike * 1000:08d}"


@cache
def goog_tape(tapes: Path) -> Tape:
    return read_tape(
        [tapes / "quotes_1min_GOOG_201512.csv.gz", tapes / "quotes_1min_options_GOOG_20151224.csv.gz"]
    )


@pytest.fixture
def goog(tapes: Path) -> Desk:
    """At 10:00."""
    desk = Desk(ReplayFeed(goog_tape(tapes), name="replay:goog"))
    desk.advance("2015-12-24 15:00")
    return desk


def official(desk: Desk, symbol: str = "GOOG", price: str = "748.40", at_ns: int = CLOSE) -> None:
    record_price(
        feed=desk.feed.name, symbol=symbol, at_ns=at_ns, price=D(price),
        source=SettlementPrice.Source.OFFICIAL, actor=SHOP,
    )  # fmt: skip


Book = dict[str, tuple[D, D]]

# What is traded at 10:00; cash, positions (quantity, cost) and realized profit by symbol after expiration.
# 200,000.00 at first. `worth` is the value of the structure at 748.40: what it settles for.
STRUCTURES: dict[str, tuple[list[list[str]], str, Book, dict[str, str], str]] = {
    # Pays 9.00 - 0.25. The 740 is exercised: 100 shares for 74,000 and the 900 it cost. The 750 expires.
    "call debit spread, one leg in the money": (
        [[f"+1 {call(740)}", f"-1 {call(750)}"]],
        "125125.00",  # 200,000 - 875 - 74,000
        {"GOOG": (D(100), D("74900.00"))},
        {call(740): "0", call(750): "25.00"},
        "-35.00",  # 840 - 875
    ),
    # Brings 6.70 - 4.60. Both in the money: it loses its width of 5.00, and no share stays behind.
    "call credit spread, both legs in the money": (
        [[f"-1 {call(740)}", f"+1 {call(745)}"]],
        "199710.00",  # 200,000 + 210 - 74,500 + 74,000
        {},
        {"GOOG": "-290.00"},  # 74,000 + 670 - 74,500 - 460
        "-290.00",  # 210 - 500
    ),
    # Brings 2.60 - 1.00. The 750 put is 1.60 in the money: assigned. The 745 expires.
    "put credit spread, the short leg in the money": (
        [[f"-1 {put(750)}", f"+1 {put(745)}"]],
        "125160.00",  # 200,000 + 160 - 75,000
        {"GOOG": (D(100), D("74740.00"))},  # 75,000 - 260
        {put(745): "-100.00", put(750): "0"},
        "0.00",  # 160 - 160
    ),
    # Brings 0.60 - 0.25 + 0.25 - 0.10, and keeps it: 745 < 748.40 < 750.
    "iron condor": (
        [[f"+1 {put(740)}", f"-1 {put(745)}", f"-1 {call(750)}", f"+1 {call(755)}"]],
        "200050.00",
        {},
        {put(740): "-25.00", put(745): "60.00", call(750): "25.00", call(755): "-10.00"},
        "50.00",
    ),
    # Pays 9.00 - 2 x 2.35 + 0.60 = 4.90. 100 shares come in for 74,900, 200 go out for 149,000 + 470: half of that
    # closes the 100, and 100 are short for 74,735. At 748.40 it is worth 8.40 - 2 x 3.40 = 1.60.
    "call butterfly": (
        [[f"+1 {call(740)}", f"-2 {call(745)}", f"+1 {call(750)}"]],
        "274510.00",  # 200,000 - 490 - 74,000 + 149,000
        {"GOOG": (D(-100), D("-74735.00"))},
        {"GOOG": "-165.00", call(750): "-60.00"},
        "-330.00",  # 160 - 490
    ),
    # Brings 0.10 + 0.05, and keeps it.
    "short strangle": (
        [[f"-1 {put(740)}", f"-1 {call(755)}"]],
        "200015.00",
        {},
        {put(740): "10.00", call(755): "5.00"},
        "15.00",
    ),
    # Pays 3.80 + 0.10. The put is exercised: 100 shares sold short for 75,000 less the 380 it cost.
    "long strangle": (
        [[f"+1 {put(750)}", f"+1 {call(755)}"]],
        "274610.00",  # 200,000 - 390 + 75,000
        {"GOOG": (D(-100), D("-74620.00"))},
        {put(750): "0", call(755): "-10.00"},
        "-230.00",  # 160 - 390
    ),
    # 100 shares for 74,751 and a call sold for 235: they are called away at 745.
    "covered call, in the money": (
        [["+100 GOOG"], [f"-1 {call(745)}"]],
        "199984.00",  # 200,000 - 74,751 + 235 + 74,500
        {},
        {"GOOG": "-16.00", call(745): "0"},
        "-16.00",
    ),
    # A call sold for 25 that expires: the shares stay.
    "covered call, out of the money": (
        [["+100 GOOG"], [f"-1 {call(750)}"]],
        "125274.00",  # 200,000 - 74,751 + 25
        {"GOOG": (D(100), D("74751.00"))},
        {call(750): "25.00"},
        "114.00",  # 748.40 - 747.51 = 0.89 a share, and 25
    ),
    # A single call for 9.00.
    "long call": (
        [[f"+1 {call(740)}"]],
        "125100.00",  # 200,000 - 900 - 74,000
        {"GOOG": (D(100), D("74900.00"))},
        {call(740): "0"},
        "-60.00",  # 840 - 900
    ),
}


def test_every_structure_settles_for_what_it_is_worth_at_the_official_price(goog: Desk) -> None:
    official(goog)
    accounts = {}
    for name, (packages, *_) in STRUCTURES.items():
        accounts[name] = goog.open()
        for legs in packages:
            goog.trade(accounts[name], *legs)
    goog.advance("2015-12-24 17:59")
    assert Position.objects.filter(closed_at__isnull=True, asset_class="option").exists()
    assert not Order.objects.filter(client_order_id__startswith=RISK_ORDER).exists()

    goog.advance("2015-12-24 18:00")

    for name, (_, money, book, earned, gain) in STRUCTURES.items():
        account = accounts[name]
        assert cash(account) == D(money), name
        assert held(account) == book, name
        assert {s: v for s, v in realized(account).items() if s in earned} == {
            s: D(v) for s, v in earned.items()
        }, name
        shares = book.get("GOOG", (D(0), D(0)))[0]
        assert cash(account) + shares * D("748.40") - D("200000.00") == D(gain), name
    assert not Position.objects.filter(closed_at__isnull=True, asset_class="option").exists()
    assert books.verify()[1] == []

    # Everything again, by every moment of the day: nothing changes.
    before = [digest(ledger) for ledger in ledgers(accounts.values())]
    moment = schedule.next_moment(goog.feed.sessions, at("2015-12-24 09:00"))
    while moment.at_ns <= CLOSE:
        schedule.carry_out(
            moment, feed=goog.feed.name, sessions=goog.feed.sessions, quote_of=goog.engine.last_quote
        )
        moment = schedule.next_moment(goog.feed.sessions, moment.at_ns)
    assert [digest(ledger) for ledger in ledgers(accounts.values())] == before
    goog.advance("2015-12-28 15:00")
    assert [digest(ledger) for ledger in ledgers(accounts.values())] == before
    assert books.verify()[1] == []


def test_the_history_says_what_became_of_each_contract(goog: Desk) -> None:
    official(goog)
    account = goog.open()
    goog.trade(account, f"+1 {call(740)}", f"-1 {call(750)}")
    goog.advance("2015-12-24 18:00")
    lines = selectors.ledger(account.id).events
    assert [(line.type, line.symbol, line.side, line.qty, line.amount) for line in lines] == [
        ("exercise", call(740), "sell", D(1), D(0)),
        ("exercise", "GOOG", "buy", D(100), D("-74000.00")),
        ("expiration", call(750), "buy", D(1), D(0)),
    ]
    assert lines[0].note == "8.40 in the money at the official price of 748.40: exercised"
    assert lines[2].note == "1.60 out of the money at the official price of 748.40: expired worthless"
    assert {line.occurred_ns for line in lines} == {CLOSE}
    assert (
        Activity.objects.filter(account_id=account.id)
        .exclude(activity_type="fill")
        .values("ref_id")
        .distinct()
        .count()
        == 2
    )


def test_without_an_official_price_the_middle_of_the_last_nbbo_settles(goog: Desk) -> None:
    """At 13:00 GOOG stands at 748.10 / 748.38: 748.24."""
    account = goog.open()
    goog.trade(account, f"+1 {call(740)}", f"-1 {call(750)}")
    goog.advance("2015-12-24 18:00")
    row = SettlementPrice.objects.get(symbol="GOOG")
    assert (row.price, row.source) == (D("748.24"), SettlementPrice.Source.MIDDLE)
    assert selectors.ledger(account.id).events[0].note.startswith("8.24 in the money")
    # A price that comes later is too late.
    official(goog)
    assert SettlementPrice.objects.get(symbol="GOOG").price == D("748.24")


def test_what_cannot_be_paid_for_is_closed_before_the_close_as_a_whole(goog: Desk) -> None:
    """One 740 call takes 74,000 at 13:00; the account has 9,100. At 12:30 it is sold, and the order that offered it
    before is canceled."""
    official(goog)
    account = goog.open("10000.00", kind=Account.Type.CASH)
    goog.trade(account, f"+1 {call(740)}")
    offered = goog.send(account, ticket(f"-1 {call(740)}", limit="20.00", name="offered"))
    goog.advance("2015-12-24 17:29")
    assert Order.objects.count() == 2
    goog.advance("2015-12-24 17:30")
    offered.refresh_from_db()
    assert offered.status == "canceled"
    order = Order.objects.get(client_order_id="risk-close-2015-12-24-1230-1")
    fill = order.fills.get()
    assert (fill.side, fill.qty, fill.price) == ("sell", D(1), fill.nbbo_bid)
    assert fill.filled_at == from_ns(at("2015-12-24 17:30"))
    assert held(account) == {}
    goog.advance("2015-12-24 23:00")
    assert Order.objects.count() == 3
    assert books.verify()[1] == []


def test_orders_for_what_an_event_took_away_end_with_it(goog: Desk) -> None:
    """The shares are called away at 13:00; an order to sell them could never fill."""
    official(goog)
    account = goog.open()
    goog.trade(account, "+100 GOOG")
    goog.trade(account, f"-1 {call(745)}")
    kept = goog.send(account, ticket("-100 GOOG", limit="900.00", tif=TimeInForce.GTC, name="target"))
    goog.advance("2015-12-24 18:00")
    kept.refresh_from_db()
    assert (kept.status, kept.reason) == ("canceled", "POSITION_GONE")
    assert kept.pk not in goog.engine._matcher
    assert "took the position" in selectors.explanation(account, kept.pk).headline
    assert cash(account) == D("199984.00")
    assert books.verify()[1] == []


def test_fees_are_charged_in_the_evening_by_the_accounts_schedule(goog: Desk) -> None:
    """24 December 2015: sells pay 18.40 a million and 0.002 a contract, every contract 0.0427.

    The spread sells one contract for 25.00 and buys another. SEC 25 x 0.0000184 = 0.00046: 0.01. TAF 0.002: 0.01.
    ORF 2 x 0.0427 = 0.0854: 0.09. In December 2015 there is neither a CAT fee nor an OCC rate on record.
    """
    official(goog)
    free, charged = goog.open(fees="none"), goog.open(fees="regulatory")
    per_unit = goog.open(fees="per_unit")
    for account in (free, charged, per_unit):
        goog.trade(account, f"+1 {call(740)}", f"-1 {call(750)}")
    # The half day's extended hours end at 17:00 in New York.
    goog.advance("2015-12-24 21:59")
    assert {cash(a) for a in (free, charged, per_unit)} == {D("125125.00")}
    goog.advance("2015-12-24 22:00")
    assert cash(free) == D("125125.00")
    assert cash(charged) == D("125124.89")
    # 0.65 a contract, 1.00 an order at least: 1.30.
    assert cash(per_unit) == D("125123.59")
    fees = Activity.objects.filter(account_id=charged.id, activity_type="fee").order_by("line")
    assert [(fee.amount, fee.realized) for fee in fees] == [
        (D("-0.01"), D("-0.01")), (D("-0.01"), D("-0.01")), (D("-0.09"), D("-0.09")),
    ]  # fmt: skip
    assert books.verify()[1] == []


def test_a_crash_between_fills_and_events_loses_nothing(goog: Desk) -> None:
    """Everything up to 13:00 is settled and noted, and then the process dies: the next one expires the contracts."""
    official(goog)
    account = goog.open()
    goog.trade(account, f"+1 {call(740)}", f"-1 {call(750)}")
    goog.advance("2015-12-24 17:59")
    decisions = goog.engine.match(goog.feed.advance_to(CLOSE))
    fills.apply(decisions, feed=goog.feed.name, position_ns=CLOSE, now=now())
    assert call(740) in held(account)
    goog.restart()
    assert held(account) == {"GOOG": (D(100), D("74900.00"))}
    assert EngineState.objects.get().events_ns == CLOSE
    goog.restart()
    assert cash(account) == D("125125.00")
    assert books.verify()[1] == []


def test_index_options_are_settled_in_cash_at_the_official_price(tapes: Path, tmp_path: Path) -> None:
    """SPXW, 4 January 2021, 3,700.65. The 3700 call is worth 65.00. The 3700/3800 put spread: 9,935.00."""
    desk = Desk(ReplayFeed(_with_index(tapes, tmp_path), name="replay:spx"))
    desk.advance("2021-01-04 15:00")
    close = at("2021-01-04 21:00")
    official(desk, "SPX", "3700.65", close)
    single, spread = desk.open(), desk.open()
    bought = desk.trade(single, "+1 SPXW210104C03700000")
    assert bought.filled_avg_price == D("51.70")
    paid = desk.trade(spread, "+1 SPXW210104P03800000", "-1 SPXW210104P03700000").filled_avg_price
    assert paid is not None
    desk.advance("2021-01-04 20:59")
    assert set(held(single)) == {"SPXW210104C03700000"}
    desk.advance("2021-01-04 21:00")
    assert held(single) == held(spread) == {}
    assert cash(single) == D("200000.00") - D("5170.00") + D("65.00")
    assert realized(single) == {"SPXW210104C03700000": D("-5105.00")}
    assert cash(spread) == D("200000.00") - paid * 100 + D("9935.00")
    assert books.verify()[1] == []


def test_without_any_price_nothing_is_decided_until_there_is_one(tapes: Path) -> None:
    """The tape has no quote of SPX."""
    desk = Desk(ReplayFeed([tapes / "quotes_1min_options_SPXW_20210104.csv.gz"], name="replay:spx"))
    desk.advance("2021-01-04 15:00")
    account = desk.open()
    desk.trade(account, "+1 SPXW210104C03700000")
    desk.advance("2021-01-04 21:10")
    assert set(held(account)) == {"SPXW210104C03700000"}
    official(desk, "SPX", "3700.65", at("2021-01-04 21:00"))
    desk.advance("2021-01-04 21:15")
    assert held(account) == {}
    assert cash(account) == D("194895.00")
    assert books.verify()[1] == []


def test_a_day_without_an_expiry_changes_no_position(tapes: Path) -> None:
    """TWX, 5 June 2014: the nearest contracts are of Saturday, 21 June."""
    desk = Desk(ReplayFeed(
        [tapes / "quotes_1min_AAPL_TWX_20140605.csv.gz", tapes / "quotes_1min_options_TWX_20140605.csv.gz"], name="replay:twx",
    ))  # fmt: skip
    desk.advance("2014-06-05 14:30")
    account = desk.open()
    desk.trade(account, "+1 TWX140621C00070000")
    before = held(account)
    desk.advance("2014-06-06 00:00")
    assert held(account) == before
    assert not selectors.ledger(account.id).events


def _with_index(tapes: Path, folder: Path) -> list[Path]:
    """The options' tape, and the index bars as quotes of SPX: its value on both sides."""
    lines = ["ts_ns_utc,symbol,bid,bid_size,ask,ask_size"]
    with gzip.open(tapes / "index_bars_1min_SPX_20210104.csv.gz", "rt") as bars:
        lines += [
            f"{row['ts_end_ns_utc']},SPX,{row['close']},1,{row['close']},1" for row in csv.DictReader(bars)
        ]
    (folder / "quotes_SPX.csv").write_text("\n".join(lines) + "\n")
    return [folder / "quotes_SPX.csv", tapes / "quotes_1min_options_SPXW_20210104.csv.gz"]
