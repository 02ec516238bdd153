"""Corporate actions carried out: positions, cost, orders, contracts and quotes, and what an account is worth.

Every action is of Friday, 20 November 2026, and takes effect at 04:00 in New York.
"""

from collections.abc import Callable
from datetime import date
from decimal import Decimal as D

import pytest

from audit.models import AuditEntry
from mbt import books, selectors
from mbt.engine.corporate import (
    CashDividend,
    CashMerger,
    Event,
    SpinOff,
    Split,
    StockMerger,
    SymbolChange,
)
from mbt.engine.ledger import digest
from mbt.engine.orders import OrderClass, OrderType, Side, TimeInForce
from mbt.engine.tickets import Ticket
from mbt.models import Account, Activity, AdjustedClass, CorporateAction, EngineState, Order, Position
from mbt.selectors import AccountRef
from mbt.services.events import corporate_actions
from mbt.services.events.applying import apply_event
from mbt.services.events.schedule import Calendar
from tests.mbt.services.desk import Desk, Rows, at, cash, held, realized, ticket

FRIDAY = date(2026, 11, 20)
BEFORE, MORNING = "2026-11-19 15:00", "2026-11-20 09:00"
GTC = TimeInForce.GTC
Market = Callable[..., Desk]


def rows(*more: tuple[str, str, str, str]) -> Rows:
    return [
        (BEFORE, "XYZ", "89.99", "90.01"),
        (BEFORE, "XYZ261218C00100000", "3.50", "3.60"),
        (BEFORE, "XYZ261218P00080000", "1.90", "2.00"),
        (BEFORE, "ABC", "50.00", "50.00"),
        ("2026-11-20 15:00", "ABC", "50.00", "50.00"),
        *more,
    ]


def opened(desk: Market, event: Event, *more: tuple[str, str, str, str]) -> Desk:
    market = desk(rows(*more), Calendar(actions=[event]))
    market.advance(BEFORE)
    return market


def plain(held: dict[str, tuple[D, D]]) -> dict[str, tuple[str, str]]:
    return {symbol: (f"{qty.normalize():f}", f"{cost:f}") for symbol, (qty, cost) in held.items()}


# -- splits --------------------------------------------------------------------------------------------

TWO_FOR_ONE = Split(symbol="XYZ", ex_date=FRIDAY, new=2, old=1, close=900000)


def test_a_split_doubles_shares_and_contracts_and_nobody_is_richer(desk: Market) -> None:
    """200 shares, two calls sold over them, five puts bought; short 30 shares elsewhere. Cost stays."""
    market = opened(desk, TWO_FOR_ONE)
    account, short = market.open(), market.open()
    market.trade(account, "+200 XYZ")
    market.trade(account, "-2 XYZ261218C00100000")
    market.trade(account, "+5 XYZ261218P00080000")
    market.trade(short, "-30 XYZ")
    before = [market.worth(each) for each in (account, short)]

    market.advance("2026-11-20 08:59")
    assert plain(held(account))["XYZ"] == ("200", "18002.00")
    market.advance(MORNING)

    assert plain(held(account)) == {
        "XYZ": ("400", "18002.00"),
        "XYZ261218C00050000": ("-4", "-700.00"),
        "XYZ261218P00040000": ("10", "1000.00"),
    }
    assert plain(held(short)) == {"XYZ": ("-60", "-2699.70")}
    assert [market.worth(each) for each in (account, short)] == before
    market.restart()  # a feed gives the quotes of before again
    assert [market.worth(each) for each in (account, short)] == before
    market.advance("2026-11-20 15:00")
    assert [market.worth(each) for each in (account, short)] == before
    assert not AdjustedClass.objects.exists()  # 100 shares for a contract, as ever
    assert books.verify()[1] == []


def test_a_split_ends_a_bracket_at_work_and_says_so(desk: Market) -> None:
    """100 shares bought, both exits at work, and a second bracket whose entry still waits."""
    market = opened(desk, TWO_FOR_ONE, ("2026-11-20 14:31", "XYZ", "44.99", "45.01"))
    account = market.open()

    def bracket(name: str, kind: OrderType, limit: str | None) -> Ticket:
        return Ticket(
            symbol="XYZ", side=Side.BUY, qty=D(100), order_type=kind, time_in_force=GTC, client_order_id=name,
            limit_price=D(limit) if limit else None, order_class=OrderClass.BRACKET, take_profit=D("99.00"), stop_loss=D("60.00"),
        )  # fmt: skip

    market.send(account, bracket("filled", OrderType.MARKET, None))
    market.send(account, bracket("waiting", OrderType.LIMIT, "70.00"))
    other = market.send(account, ticket("+10 ABC", limit="40.00", tif=GTC, name="other"))
    market.advance("2026-11-19 15:01")
    assert {o.status for o in Order.objects.filter(closed_at__isnull=True)} == {"new", "held"}

    market.advance(MORNING)
    closed = Order.objects.exclude(pk=other.pk).exclude(client_order_id="filled")
    assert {(o.status, o.reason) for o in closed} == {("canceled", "CORPORATE_ACTION")}
    assert closed.count() == 5
    assert market.engine._matcher.order_ids() == {other.pk}
    assert "corporate action" in selectors.explanation(account, closed[0].pk).headline
    # At 45.00 the stop of before would have sold everything at once.
    market.advance("2026-11-20 14:31")
    assert plain(held(account)) == {"XYZ": ("200", "9001.00")}
    assert books.verify()[1] == []


def test_a_reverse_split_leaves_adjusted_contracts_that_expire_by_what_they_deliver(desk: Market) -> None:
    """1 for 8 at 6.50: 30 shares become 3 and 0.75 x 52.00 = 39.00. Two 6 calls become XYZ1: 12 shares and 26.00 each
    for 600. At 55.00 on their last day: 12 x 55 + 26 - 600 = 86.00, exercised: 24 shares for 1,200 - 52 and the
    80.00 that the calls cost."""
    call = "XYZ261120C00006000"
    market = desk(
        [
            (BEFORE, "XYZ", "6.49", "6.51"),
            (BEFORE, call, "0.35", "0.40"),
            ("2026-11-20 20:00", "XYZ", "54.99", "55.01"),
            ("2026-11-20 21:00", "XYZ", "54.99", "55.01"),
        ],
        Calendar(actions=[Split(symbol="XYZ", ex_date=FRIDAY, new=1, old=8, close=65000)]),
    )
    market.advance(BEFORE)
    account = market.open("20000.00")
    market.trade(account, "+30 XYZ")
    market.trade(account, f"+2 {call}")
    spent = D("195.30") + D("80.00")
    market.advance(MORNING)
    assert plain(held(account)) == {"XYZ": ("3", "156.24"), "XYZ1261120C00006000": ("2", "80.00")}
    # 195.30 x 0.75 / 3.75 = 39.06 leaves with the fraction, which brings 39.00.
    assert cash(account) == D("20000.00") - spent + D("39.00")
    assert realized(account)["XYZ"] == D("-0.06")
    assert AdjustedClass.objects.get().terms["deliverable"] == {"shares": [["XYZ", "12"]], "cash": "26.00"}
    market.restart()
    market.advance("2026-11-20 21:00")
    assert plain(held(account)) == {"XYZ": ("27", "1384.24")}  # 156.24 + 1,148 + 80
    assert cash(account) == D("20000.00") - spent + D("39.00") - D("1148.00")
    assert books.verify()[1] == []


def test_a_short_adjusted_contract_is_assigned_and_margined_by_what_it_delivers(desk: Market) -> None:
    """A short put of XYZ1 keeps its account trading: its mark is what it delivers, and at the end it is assigned."""
    put = "XYZ261120P00007000"
    market = desk(
        [
            (BEFORE, "XYZ", "6.49", "6.51"),
            (BEFORE, put, "0.60", "0.70"),
            (BEFORE, "ABC", "50.00", "50.00"),
            ("2026-11-20 15:00", "ABC", "50.00", "50.00"),
            ("2026-11-20 15:00", "XYZ", "51.99", "52.01"),
            ("2026-11-20 15:00", "XYZ1261120P00007000", "0.45", "0.55"),
            ("2026-11-20 21:00", "XYZ", "50.00", "50.00"),
        ],
        Calendar(actions=[Split(symbol="XYZ", ex_date=FRIDAY, new=1, old=8, close=65000)]),
    )
    market.advance(BEFORE)
    account = market.open("20000.00")
    market.trade(account, f"-1 {put}")
    market.advance("2026-11-20 15:00")
    market.trade(account, "+10 ABC")  # judged beside the short put
    market.advance("2026-11-20 21:00")
    # Assigned at 700 for 12 shares and 26.00: 674, less the 60.00 that it had brought.
    assert plain(held(account)) == {"ABC": ("10", "500.00"), "XYZ": ("12", "614.00")}
    assert cash(account) == D("20000.00") + D("60.00") - D("500.00") - D("674.00")
    assert books.verify()[1] == []


# -- other actions -------------------------------------------------------------------------------------


def test_a_new_ticker_takes_everything_along(desk: Market) -> None:
    change = SymbolChange(symbol="XYZ", new_symbol="NEW", effective=FRIDAY)
    market = opened(desk, change, ("2026-11-20 15:00", "NEW", "95.00", "95.00"))
    account = market.open()
    market.trade(account, "+100 XYZ")
    market.trade(account, "-1 XYZ261218C00100000")
    target = market.send(account, ticket("-100 XYZ", limit="120.00", tif=GTC, name="target"))
    before = market.worth(account)
    market.advance(MORNING)
    assert plain(held(account)) == {"NEW": ("100", "9001.00"), "NEW261218C00100000": ("-1", "-350.00")}
    assert market.worth(account) == before
    target.refresh_from_db()
    assert (target.status, target.reason) == ("canceled", "CORPORATE_ACTION")
    market.advance("2026-11-20 15:00")
    market.trade(account, "+100 NEW")
    assert books.verify()[1] == []


def test_a_merger_for_cash_pays_shares_and_contracts(desk: Market) -> None:
    """105.00 a share: 100 shares that cost 9,001 bring 10,500. The 100 call delivers 10,500 for 10,000 at its end:
    it was sold for 350 and costs 500."""
    merger = CashMerger(symbol="XYZ", effective=FRIDAY, cash=D("105.00"))
    market = opened(desk, merger, ("2026-12-18 21:00", "ABC", "50.00", "50.00"))
    account = market.open()
    market.trade(account, "+100 XYZ")
    market.trade(account, "-1 XYZ261218C00100000")
    market.advance(MORNING)
    assert plain(held(account)) == {"XYZ1261218C00100000": ("-1", "-350.00")}
    assert cash(account) == D("200000.00") - D("9001.00") + D("350.00") + D("10500.00")
    market.advance("2026-12-18 21:00")
    assert held(account) == {}
    assert cash(account) == D("200000.00") - D("9001.00") + D("350.00") + D("10500.00") - D("500.00")
    earned = {symbol: profit for symbol, profit in realized(account).items() if profit}
    assert earned == {"XYZ": D("1499.00"), "XYZ1261218C00100000": D("-150.00")}
    assert books.verify()[1] == []


def test_a_merger_for_stock_and_cash_divides_the_cost(desk: Market) -> None:
    """3 NEW at 100.00 for 5 XYZ and 30.00 a share: 60 + 30 = 90 a share, a third of it cash. 26 shares at 90.01:
    2,340.26, of which 780.09 is paid back for 780.00. 15.6 NEW: the 0.6 is paid 60.00 for 60.01 of cost."""
    merger = StockMerger(
        symbol="XYZ", new_symbol="NEW", effective=FRIDAY, new=3, old=5, price=1000000, cash=D("30.00")
    )
    market = opened(desk, merger)
    account = market.open()
    market.trade(account, "+26 XYZ")
    before = market.worth(account)
    market.advance(MORNING)
    assert plain(held(account)) == {"NEW": ("15", "1500.16")}  # 2,340.26 - 780.09 - 60.01
    assert cash(account) == D("200000.00") - D("2340.26") + D("780.00") + D("60.00")
    assert market.worth(account) == before
    assert realized(account)["XYZ"] == D("-0.10")
    assert books.verify()[1] == []


def test_a_spin_off_brings_shares_and_adjusts_contracts(desk: Market) -> None:
    """1 KID at 30.00 for 3 XYZ, which open at 80.00: a ninth of 90.00 goes. A contract delivers 100 XYZ and 33 KID
    and 10.00."""
    spin = SpinOff(
        symbol="XYZ", new_symbol="KID", ex_date=FRIDAY, new=1, old=3, price=800000, new_price=300000
    )
    market = opened(desk, spin)
    account, short = market.open(), market.open()
    market.trade(account, "+90 XYZ")
    market.trade(short, "-1 XYZ261218P00080000")
    before = [market.worth(each) for each in (account, short)]
    market.advance(MORNING)
    # 8,100.90 / 9 = 900.10 goes with 30 KID.
    assert plain(held(account)) == {"KID": ("30", "900.10"), "XYZ": ("90", "7200.80")}
    assert plain(held(short)) == {"XYZ1261218P00080000": ("-1", "-190.00")}
    terms = AdjustedClass.objects.get(root="XYZ1").terms["deliverable"]
    assert terms == {"shares": [["XYZ", "100"], ["KID", "33"]], "cash": "10.00"}
    assert [market.worth(each) for each in (account, short)] == before
    assert books.verify()[1] == []


def test_a_lowered_purchase_holds_no_more_than_its_limit_needs(desk: Market) -> None:
    """0.555 on 10 at 85.00 becomes 84.44: 844.40 of the 850.00; in a margin account, where it holds what it costs above
    half of the mark of 90.00 (10 x 45.00 - 10 x 5.00 = 400.00), as much less."""
    market = opened(desk, CashDividend(symbol="XYZ", ex_date=FRIDAY, amount=D("0.555")))
    found = []
    for kind in ("cash", "margin"):
        account = market.open("1000.00" if kind == "cash" else "5000.00", kind=kind)
        order = market.send(account, ticket("+10 XYZ", limit="85.00", tif=GTC, name="buy"))
        found.append((account, order, order.cash_hold))
    assert [hold for _, _, hold in found] == [D("850.00"), D("400.00")]
    market.advance(MORNING)
    for account, order, hold in found:
        order.refresh_from_db()
        assert (order.limit_price, order.cash_hold) == (D("84.44"), hold - D("5.60"))
        assert Account.objects.get(pk=account.id).cash_held == order.cash_hold
    told = AuditEntry.objects.filter(action="mbt.order.adjusted").order_by("id").first()
    assert told is not None
    assert told.changes["cash_hold"] == ["850.00", "844.40"]
    assert books.verify()[1] == []


def test_a_dividend_lowers_what_waits_below_the_market_once(desk: Market) -> None:
    """0.555: the buy limit 85.00 becomes 84.44, the sell stop 80.00 becomes 79.44; the sell limit stays. The account
    without a position has its order lowered too. A crash before the moment was noted changes nothing."""
    dividend = CashDividend(symbol="XYZ", ex_date=FRIDAY, amount=D("0.555"))
    market = opened(desk, dividend, ("2026-11-20 15:00", "XYZ", "84.44", "84.45"))
    account, waiting = market.open(), market.open()
    market.trade(account, "+100 XYZ")
    buy = market.send(waiting, ticket("+10 XYZ", limit="85.00", tif=GTC, name="buy"))
    stop = market.send(
        account,
        Ticket(symbol="XYZ", side=Side.SELL, qty=D(50), order_type=OrderType.STOP, time_in_force=GTC, stop_price=D("80.00"), client_order_id="stop"),
    )  # fmt: skip
    target = market.send(account, ticket("-50 XYZ", limit="120.00", tif=GTC, name="target"))
    day = market.send(waiting, ticket("+10 XYZ", limit="80.00", name="day"))
    market.advance(MORNING)

    def prices() -> list[D | None]:
        for order in (buy, stop, target):
            order.refresh_from_db()
        return [buy.limit_price, stop.stop_price, target.limit_price]

    assert prices() == [D("84.44"), D("79.44"), D("120.00")]
    day.refresh_from_db()
    assert day.status == "expired"
    EngineState.objects.update(events_ns=at("2026-11-20 08:00"))
    CorporateAction.objects.all().delete()
    market.restart()
    assert prices() == [D("84.44"), D("79.44"), D("120.00")]
    note = Activity.objects.get(account_id=waiting.id, activity_type="corporate_action")
    assert (note.amount, note.note) == (
        D(0),
        "XYZ: 0.555 dividend: lowered to 84.44; open orders changed: 1 (lowered)",
    )
    # The matcher knows the new price: at 84.45 asked, 84.44 waits; a bid of 84.44 fills no stop at 79.44.
    market.advance("2026-11-20 15:00")
    buy.refresh_from_db()
    assert buy.status == "new"
    assert cash(account) == D("200000.00") - D("9001.00") + D("55.50")
    assert AuditEntry.objects.filter(action="mbt.order.adjusted").count() == 2
    assert books.verify()[1] == []


def test_a_special_dividend_cuts_strikes(desk: Market) -> None:
    """7.00: the 100 call becomes a 93 call, which is not assigned early for it."""
    dividend = CashDividend(symbol="XYZ", ex_date=FRIDAY, amount=D("7.00"), special=True)
    market = opened(desk, dividend)
    account = market.open()
    market.trade(account, "-1 XYZ261218C00100000")
    market.advance(MORNING)
    assert plain(held(account)) == {"XYZ261218C00093000": ("-1", "-350.00")}
    assert books.verify()[1] == []


# -- crashes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("died_after", [0, 1, 2, 3])
def test_a_crash_between_accounts_splits_everybody_once(
    desk: Market, died_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three accounts with a 1:8 split: the process dies after so many of them, and the next one does the rest."""
    call = "XYZ261218C00006000"
    market = desk(
        [(BEFORE, "XYZ", "6.49", "6.51"), (BEFORE, call, "0.35", "0.40"), ("2026-11-20 15:00", "XYZ", "52.00", "52.00")],
        Calendar(actions=[Split(symbol="XYZ", ex_date=FRIDAY, new=1, old=8, close=65000)]),
    )  # fmt: skip
    market.advance(BEFORE)
    accounts = [market.open() for _ in range(3)]
    for account in accounts:
        market.trade(account, "+30 XYZ")
        market.trade(account, f"-1 {call}")

    class Died(Exception):
        pass

    done = 0
    note = corporate_actions._note

    def dying(*args: object, **kwargs: object) -> object:
        nonlocal done
        if done == died_after:
            raise Died
        done += 1
        return apply_event(*args, **kwargs)  # type: ignore[arg-type]

    def dying_note(*args: object, **kwargs: object) -> None:
        if died_after == 3:
            raise Died
        note(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(corporate_actions, "apply_event", dying)
    monkeypatch.setattr(corporate_actions, "_note", dying_note)
    with pytest.raises(Died):
        market.advance(MORNING)
    monkeypatch.setattr(corporate_actions, "apply_event", apply_event)
    monkeypatch.setattr(corporate_actions, "_note", note)
    market.engine.feed.start(None)
    market.restart()
    market.advance("2026-11-20 15:00")
    assert [plain(held(each)) for each in accounts] == [
        {"XYZ": ("3", "156.24"), "XYZ1261218C00006000": ("-1", "-35.00")}
    ] * 3
    assert {digest(selectors.ledger(each.id)) != "" for each in accounts} == {True}
    assert Activity.objects.filter(activity_type="corporate_action").count() == 3 * 4
    assert books.verify()[1] == []
    assert Position.objects.filter(closed_at__isnull=True).count() == 6
    assert isinstance(accounts[0], AccountRef)
