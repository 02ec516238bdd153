"""Orders in contracts that a corporate action has changed, from the order to the record.

Every action is of Friday, 20 November 2026, and takes effect at 04:00 in New York; orders are sent at 10:00.
"""

from collections.abc import Callable
from datetime import date
from decimal import Decimal as D

import pytest

from mbt import books, selectors
from mbt.engine.buying_power import standing
from mbt.engine.corporate import CashDividend, CashMerger, Event, SpinOff, Split
from mbt.engine.intake import ClosingOnly
from mbt.engine.margin import UncoveredShort
from mbt.engine.orders import OrderStatus, TimeInForce
from mbt.models import Account, Activity, Order, Position
from mbt.selectors import AccountRef
from mbt.selectors.markets import quotes_of, symbols_around
from mbt.services.events.schedule import Calendar
from mbt.services.events.store import State
from mbt.services.orders import previews
from mbt.services.orders.closing import close_position
from raxx.kernel.errors import InvalidInput
from tests.mbt.services.desk import SHOP, Desk, Rows, cash, held, ticket

FRIDAY = date(2026, 11, 20)
BEFORE, AFTER = "2026-11-19 15:00", "2026-11-20 15:00"
OLD_45, OLD_51 = "XYZ261218C00045000", "XYZ261218C00051000"
CALL_30, CALL_34, LATER_30 = "XYZ1261218C00030000", "XYZ1261218C00034000", "XYZ1270115C00030000"
PUT_30, STANDARD = "XYZ1261218P00030000", "XYZ261218C00032000"
THREE_FOR_TWO = Split(symbol="XYZ", ex_date=FRIDAY, new=3, old=2, close=480000)
SPLIT_DAY: Rows = [
    (BEFORE, "XYZ", "47.99", "48.01"), (BEFORE, OLD_45, "4.10", "4.30"), (BEFORE, OLD_51, "1.50", "1.70"),
    (BEFORE, "XYZ270115C00045000", "5.10", "5.30"), (BEFORE, "XYZ261218P00045000", "1.20", "1.40"),
    (AFTER, "XYZ", "31.99", "32.01"), (AFTER, CALL_30, "2.70", "2.90"), (AFTER, CALL_34, "1.00", "1.10"),
    (AFTER, LATER_30, "3.40", "3.60"), (AFTER, PUT_30, "0.80", "0.90"), (AFTER, STANDARD, "1.00", "1.10"),
    ("2026-11-20 15:05", "XYZ", "31.99", "32.01"), ("2026-11-20 21:00", "XYZ", "32.00", "32.00"),
]  # fmt: skip
Market = Callable[..., Desk]


def opened(desk: Market, event: Event, rows: Rows = SPLIT_DAY) -> Desk:
    market = desk(rows, Calendar(actions=[event]))
    market.advance(BEFORE)
    return market


def net(account: AccountRef) -> dict[str, tuple[str, str]]:
    return {symbol: (f"{qty.normalize():f}", f"{cost:f}") for symbol, (qty, cost) in held(account).items()}


def hold_of(account: AccountRef) -> D:
    return Account.objects.get(pk=account.id).cash_held


# -- 3 for 2: 150 shares, and a dollar of price is 150 dollars ------------------------------------------


def test_a_holder_closes_what_was_adjusted(desk: Market) -> None:
    """Two 45 calls at 4.30 cost 860. As 30 calls on 150 shares one is sold at 2.70: 405 for 430, then the other."""
    market = opened(desk, THREE_FOR_TWO)
    account = market.open("10000.00", kind="cash")
    market.trade(account, f"+2 {OLD_45}")
    market.advance(AFTER)
    order = market.trade(account, f"-1 {CALL_30}")
    assert (order.multiplier, order.cash_hold, order.filled_avg_price) == (150, D(0), D("2.70"))
    assert net(account) == {CALL_30: ("1", "430.00")}
    assert cash(account) == D("10000.00") - 860 + 405
    assert Activity.objects.get(order=order).realized == D("-25.00")
    market.trade(account, f"-1 {CALL_30}")
    assert held(account) == {}
    assert cash(account) == D("10000.00") - 860 + 810
    assert books.verify()[1] == []


def test_a_roll_is_one_order(desk: Market) -> None:
    """Out of December at 2.70 and into January at 3.60: 0.90 a unit, 135 dollars a contract."""
    market = opened(desk, THREE_FOR_TWO)
    account = market.open("10000.00", kind="cash")
    market.trade(account, f"+1 {OLD_45}")
    market.advance(AFTER)
    order = market.trade(account, f"-1 {CALL_30}", f"+1 {LATER_30}", limit="0.90")
    assert net(account) == {LATER_30: ("1", "540.00")}
    assert cash(account) == D("10000.00") - 430 - 135
    assert selectors.structure_of(order) == "XYZ1 18 Dec 2026/15 Jan 2027 30 long call calendar"
    assert selectors.to_engine(order).underlying == "XYZ"  # it halts with it
    assert selectors.explanation(account, order.pk).headline
    assert Position.objects.get(account_id=account.id, closed_at=None).multiplier == 150
    with pytest.raises(InvalidInput, match="100 and 150 dollars a contract"):
        market.send(account, ticket(f"-1 {LATER_30}", f"+1 {STANDARD}", limit="-1.00"))
    assert books.verify()[1] == []


def test_a_covered_call_stays_covered(desk: Market) -> None:
    """100 shares under a call became 150 under a call on 150: none of them is free, and it is bought back."""
    market = opened(desk, THREE_FOR_TWO)
    account = market.open("10000.00", kind="cash")
    market.trade(account, "+100 XYZ")
    market.trade(account, f"-1 {OLD_45}")
    market.advance(AFTER)
    with pytest.raises(UncoveredShort, match=f"First close what it covers: buy 1 {CALL_30}"):
        market.send(account, ticket("-1 XYZ"))
    market.trade(account, f"+1 {CALL_30}")
    assert cash(account) == D("10000.00") - 4801 + 410 - 435
    market.trade(account, "-150 XYZ")
    assert held(account) == {}
    assert books.verify()[1] == []


def test_a_cash_account_opens_against_150_shares_or_4500_dollars(desk: Market) -> None:
    market = opened(desk, THREE_FOR_TWO)
    account = market.open("10000.00", kind="cash")
    market.trade(account, "+100 XYZ")
    market.advance(AFTER)
    with pytest.raises(UncoveredShort):
        market.send(account, ticket(f"-2 {CALL_30}"))
    market.trade(account, f"-1 {CALL_30}")
    assert cash(account) == D("10000.00") - 4801 + 405
    put = market.send(account, ticket(f"-1 {PUT_30}", limit="0.95"))  # rests
    assert put.cash_hold == D("4500.00")
    assert hold_of(account) == D("4500.00")
    market.trade(account, f"+1 {CALL_34}", limit="1.10")  # 165 of the 1,104 that are left
    assert books.verify()[1] == []


def test_a_margin_account_needs_what_150_shares_need(desk: Market) -> None:
    """Covered: 25 % of 4,500 and 300 in the money. The stock sold, the call would be naked; a 34 call makes it a spread:
    4.00 x 150 = 600."""
    market = opened(desk, THREE_FOR_TWO)
    account = market.open("10000.00")
    Account.objects.filter(pk=account.id).update(naked_shorts=False)
    market.trade(account, "+100 XYZ")
    market.trade(account, f"-1 {OLD_45}")
    market.advance(AFTER)
    assert _requirement(market, account) == (D("2400.00"), D("1425.00"))
    spread = market.send(account, ticket(f"+1 {CALL_34}", limit="1.10"))
    assert spread.cash_hold == D("165.00")
    market.advance("2026-11-20 15:05")
    market.trade(account, "-150 XYZ")
    assert _requirement(market, account) == (D("600.00"), D("600.00"))
    market.trade(account, f"+1 {CALL_30}", f"-1 {CALL_34}")
    assert held(account) == {}
    assert books.verify()[1] == []


def _requirement(market: Desk, account: AccountRef) -> tuple[D, D]:
    state = State(Account.objects.get(pk=account.id), {})
    rows = {p.symbol: p.qty for p in Position.objects.filter(account_id=account.id, closed_at=None)}
    view = state.view(rows, prices={}, quote_of=market.engine.last_quote, at_ns=market.engine.now_ns)
    found = standing(view).requirement
    return found.initial, found.maintenance


def test_fees_are_per_contract_and_on_150_dollars_for_a_dollar(desk: Market) -> None:
    """SEC 20.60 a million on 2.70 x 150 = 405; TAF per contract; CAT on 150 equivalent shares."""
    market = opened(desk, THREE_FOR_TWO)
    account = market.open("10000.00", kind="cash", fees="regulatory")
    market.trade(account, f"+1 {OLD_45}")
    market.advance(AFTER)
    found = previews.preview(
        account=account, ticket=ticket(f"-1 {CALL_30}"), now_ns=market.engine.now_ns,
        quotes=quotes_of({CALL_30, "XYZ"}, market.engine.last_quote),
    )  # fmt: skip
    assert found.judged.denial is None
    told = {fee.name: fee.how for fee in found.fees or ()}
    assert "405 dollars sold" in told["sec"]
    assert "1 contract sold" in told["taf"]
    market.trade(account, f"-1 {CALL_30}")
    market.advance("2026-11-20 21:00")
    market.engine.advance(market.feed.advance_to(market.engine.now_ns + 6 * 3600 * 10**9))
    notes = [a.note for a in Activity.objects.filter(account_id=account.id, activity_type="fee")]
    assert any("405 dollars sold" in note for note in notes), notes


def test_a_position_is_closed_in_part(desk: Market) -> None:
    market = opened(desk, THREE_FOR_TWO)
    other = market.open("10000.00")
    market.trade(other, f"+3 {OLD_45}")
    market.advance(AFTER)
    closing = close_position(
        account=other, symbol=CALL_30, qty=D(2), now_ns=market.engine.now_ns,
        quotes=quotes_of(symbols_around(other), market.engine.last_quote), actor=SHOP,
    )  # fmt: skip
    assert (closing.side, closing.qty, closing.position_holds) == ("sell", D(2), {CALL_30: "2"})
    assert books.verify()[1] == []


# -- other actions --------------------------------------------------------------------------------------


def test_what_delivers_cash_alone_can_be_closed_and_not_opened(desk: Market) -> None:
    """54.20 a share: the 50 call delivers 5,420 for 5,000. Sold at 4.10 for 410."""
    old, new = "XYZ261218C00050000", "XYZ1261218C00050000"
    rows = [(BEFORE, "XYZ", "53.99", "54.01"), (BEFORE, old, "4.30", "4.40"), (AFTER, new, "4.10", "4.20")]
    market = opened(desk, CashMerger(symbol="XYZ", effective=FRIDAY, cash=D("54.20")), rows)
    account = market.open("10000.00", kind="cash")
    market.trade(account, f"+2 {old}")
    market.advance(AFTER)
    with pytest.raises(ClosingOnly, match="cash and nothing else"):
        market.send(account, ticket(f"+1 {new}"))
    market.trade(account, f"-2 {new}")
    assert cash(account) == D("10000.00") - 880 + 820
    assert books.verify()[1] == []


def test_the_cash_that_a_call_delivers_is_set_aside(desk: Market) -> None:
    """A special dividend of 7.00 cannot cut a strike of 5: the call delivers 100 shares and 700 dollars."""
    old, new = "XYZ261218C00005000", "XYZ1261218C00005000"
    rows = [
        (BEFORE, "XYZ", "11.99", "12.01"), (BEFORE, old, "7.10", "7.30"),
        (AFTER, "XYZ", "4.99", "5.01"), (AFTER, new, "7.10", "7.20"),
    ]  # fmt: skip
    market = opened(desk, CashDividend(symbol="XYZ", ex_date=FRIDAY, amount=D("7.00"), special=True), rows)
    account = market.open("1201.00", kind="cash")
    market.trade(account, "+100 XYZ", limit="12.01")  # nothing is left, and 700.00 are paid on the ex-date
    market.advance(AFTER)
    assert cash(account) == D("700.00")
    order = market.send(account, ticket(f"-1 {new}", limit="7.20"))
    assert (order.cash_hold, hold_of(account)) == (D("700.00"), D("700.00"))
    other = market.open("1300.00", kind="cash")
    with pytest.raises(UncoveredShort):
        market.send(other, ticket(f"-1 {new}", limit="7.20"))
    assert books.verify()[1] == []


def test_a_call_on_two_stocks_needs_both(desk: Market) -> None:
    """1 KID for 3 XYZ: 100 XYZ, 33 KID and 5.00 for each contract. 99 shares more bring 33 KID, and 4 are left over."""
    old, new = "XYZ261218C00050000", "XYZ1261218C00050000"
    rows = [
        (BEFORE, "XYZ", "49.99", "50.01"), (BEFORE, old, "1.00", "1.10"), (AFTER, "XYZ", "44.99", "45.01"),
        (AFTER, "KID", "14.99", "15.01"), (AFTER, new, "1.00", "1.10"),
    ]  # fmt: skip
    spin = SpinOff(
        symbol="XYZ", new_symbol="KID", ex_date=FRIDAY, new=1, old=3, price=450000, new_price=150000
    )
    market = opened(desk, spin, rows)
    account = market.open("10000.00", kind="cash")
    market.trade(account, "+100 XYZ")
    market.trade(account, f"-1 {old}")
    market.advance(AFTER)
    assert net(account).keys() == {"XYZ", "KID", new}
    for symbol in ("-1 XYZ", "-1 KID"):
        with pytest.raises(UncoveredShort, match=f"First close what it covers: buy 1 {new}"):
            market.send(account, ticket(symbol))
    market.trade(account, f"+1 {new}")
    market.trade(account, "-33 KID")
    assert net(account).keys() == {"XYZ"}
    assert books.verify()[1] == []


def test_the_risk_close_sends_orders_that_are_taken(desk: Market) -> None:
    """A long call on 150 shares that its account cannot pay for is sold on its last afternoon."""
    old, new = "XYZ261120C00045000", "XYZ1261120C00030000"
    rows = [
        (BEFORE, "XYZ", "47.99", "48.01"), (BEFORE, old, "3.10", "3.20"), (AFTER, "XYZ", "31.99", "32.01"),
        (AFTER, new, "1.90", "2.10"), ("2026-11-20 20:35", "XYZ", "31.99", "32.01"),
        ("2026-11-20 20:35", new, "1.90", "2.10"), ("2026-11-20 20:40", "XYZ", "31.99", "32.01"),
        ("2026-11-20 21:00", "XYZ", "32.00", "32.00"),
    ]  # fmt: skip
    market = opened(desk, THREE_FOR_TWO, rows)
    account = market.open("1000.00", kind="cash")
    market.trade(account, f"+1 {old}")
    market.advance("2026-11-20 20:40")
    order = Order.objects.get(account_id=account.id, client_order_id__startswith="risk-close")
    assert (order.status, order.multiplier, order.reason) == (OrderStatus.FILLED, 150, "")
    assert cash(account) == D("1000.00") - 320 + 285
    market.advance("2026-11-20 21:00")
    assert held(account) == {}
    assert books.verify()[1] == []


def test_an_open_order_before_the_action_is_over_and_can_be_sent_again(desk: Market) -> None:
    market = opened(desk, THREE_FOR_TWO)
    account = market.open("10000.00", kind="cash")
    market.trade(account, f"+1 {OLD_45}")
    target = market.send(account, ticket(f"-1 {OLD_45}", limit="9.00", tif=TimeInForce.GTC))
    market.advance(AFTER)
    target.refresh_from_db()
    assert (target.status, target.reason) == ("canceled", "CORPORATE_ACTION")
    market.restart()
    again = market.send(account, ticket(f"-1 {CALL_30}", limit="6.00", tif=TimeInForce.GTC))
    assert (again.status, again.position_holds) == ("accepted", {CALL_30: "1"})
