"""What holders ask of their options, and what expiration makes of it."""

from collections.abc import Callable
from decimal import Decimal as D

import pytest

from audit.models import AuditEntry
from mbt import books
from mbt.engine.assignment import CannotExercise
from mbt.engine.orders import TimeInForce
from mbt.models import Account, Activity, ExerciseInstruction, Order
from mbt.selectors import AccountRef
from mbt.selectors.accounts import instructions_of
from mbt.selectors.markets import quotes_of, symbols_around, with_tickers
from mbt.services.events import instructions
from mbt.services.events.instructions import CannotInstruct, Exercised, Kind, RequestIdReused
from raxx.kernel.errors import InvalidInput, NotFound
from tests.mbt.services.desk import SHOP, Desk, Rows, cash, held, realized, ticket

Market = Callable[..., Desk]
CALL, PUT, HIGH = "XYZ261120C00100000", "XYZ261120P00120000", "XYZ261120C00110000"
LATER = "XYZ261218C00100000"
INDEX = "SPX261218C00100000"
OPENED = "2026-11-20 15:00"
ROWS: Rows = [
    (OPENED, "XYZ", "108.00", "108.00"),
    (OPENED, CALL, "8.00", "8.00"),
    (OPENED, PUT, "12.00", "12.00"),
    (OPENED, HIGH, "1.00", "1.00"),
    (OPENED, LATER, "10.00", "10.00"),
    (OPENED, "SPX", "108.00", "108.00"),
    (OPENED, INDEX, "9.00", "9.00"),
    ("2026-11-20 21:00", "XYZ", "108.00", "108.00"),
]


@pytest.fixture
def market(desk: Market) -> Desk:
    opened = desk(ROWS)
    opened.advance(OPENED)
    return opened


def exercise(
    market: Desk, account: AccountRef, symbol: str, qty: int | None = None, name: str | None = None
) -> Exercised:
    wanted = symbols_around(account) | with_tickers([symbol])
    return instructions.exercise(
        account=account, symbol=symbol, qty=None if qty is None else D(qty), request_id=name, now_ns=market.engine.now_ns,
        quotes=quotes_of(wanted, market.engine.last_quote), actor=SHOP,
    )  # fmt: skip


def instruct(
    market: Desk, account: AccountRef, symbol: str, kind: Kind, qty: int | None = None
) -> ExerciseInstruction:
    return instructions.instruct(
        account=account, symbol=symbol, kind=kind, qty=None if qty is None else D(qty), now_ns=market.engine.now_ns, actor=SHOP
    )  # fmt: skip


# -- now -----------------------------------------------------------------------------------------------


def test_a_part_is_exercised_once_however_often_it_is_asked_for(market: Desk) -> None:
    """Three calls for 2,400; two exercised: 200 shares for 20,000 and 1,600."""
    account = market.open("30000.00", kind="cash")
    market.trade(account, f"+3 {CALL}")
    first = exercise(market, account, CALL, 2, "mine")
    again = exercise(market, account, CALL, 2, "mine")
    assert (first.created, again.created) == (True, False)
    assert [row.pk for row in first.activities] == [row.pk for row in again.activities]
    assert held(account) == {CALL: (D(1), D("800.00")), "XYZ": (D(200), D("21600.00"))}
    assert cash(account) == D("30000.00") - D("2400.00") - D("20000.00")
    with pytest.raises(RequestIdReused):
        exercise(market, account, CALL, 1, "mine")
    with pytest.raises(InvalidInput, match="client_request_id"):
        exercise(market, account, CALL, 1)
    entry = AuditEntry.objects.get(action="mbt.option.exercised")
    assert (entry.actor_ref, entry.changes["qty"], entry.changes["fate"]) == (SHOP, "2", "exercised")
    assert books.verify()[1] == []


def test_all_of_it_without_a_name(market: Desk) -> None:
    account = market.open("30000.00", kind="cash")
    market.trade(account, f"+1 {CALL}")
    exercise(market, account, CALL)
    assert held(account) == {"XYZ": (D(100), D("10800.00"))}
    with pytest.raises(NotFound):
        exercise(market, account, CALL)
    assert cash(account) == D("30000.00") - D("800.00") - D("10000.00")


def test_what_cannot_be_paid_for_is_denied_with_what_could_be(market: Desk) -> None:
    account = market.open("25000.00", kind="cash")
    market.trade(account, f"+3 {CALL}")
    market.send(account, ticket("+10 XYZ", limit="50.00", name="bid"))  # holds 500
    with pytest.raises(CannotExercise) as denied:
        exercise(market, account, CALL)
    assert denied.value.details["remedy"] == "2 can be exercised."
    market.send(account, ticket("+50 XYZ", limit="50.00", name="more"))  # holds 2,500
    with pytest.raises(CannotExercise) as denied:
        exercise(market, account, CALL, 2, "two")
    assert denied.value.details["remedy"] == "1 can be exercised."
    entries = AuditEntry.objects.filter(action="mbt.option.instruction_denied")
    assert {(entry.reason, entry.changes["symbol"]) for entry in entries} == {("CANNOT_EXERCISE", CALL)}
    exercise(market, account, CALL, 1, "one")
    assert not Order.objects.exclude(status__in=["filled", "new", "accepted"]).exists()
    assert books.verify()[1] == []


def test_what_open_orders_offer_is_not_exercised(market: Desk) -> None:
    """Three calls, two of them offered; 200 shares, 150 of them offered, and a put that would deliver 100."""
    account = market.open()
    market.trade(account, f"+3 {CALL}")
    market.trade(account, "+200 XYZ")
    market.trade(account, f"+1 {PUT}")
    market.send(account, ticket(f"-2 {CALL}", limit="20.00", name="offered"))
    market.send(account, ticket("-150 XYZ", limit="200.00", tif=TimeInForce.GTC, name="shares"))
    with pytest.raises(CannotExercise) as denied:
        exercise(market, account, CALL, 2, "two")
    assert denied.value.details["remedy"] == "Cancel the open order offered first, or exercise 1."
    with pytest.raises(CannotExercise) as denied:
        exercise(market, account, PUT)
    assert denied.value.details["remedy"] == "Cancel the open order shares first."
    exercise(market, account, CALL)  # the one that is free
    assert held(account)[CALL][0] == 2
    assert {order.status for order in Order.objects.filter(client_order_id__in=["offered", "shares"])} <= {
        "accepted",
        "new",
    }
    assert books.verify()[1] == []


def test_a_long_option_that_covers_a_short_one_stays(market: Desk) -> None:
    account = market.open("50000.00")
    market.trade(account, f"+1 {CALL}", f"-1 {HIGH}")
    # Exercised, 100 shares would cover the short 110 call: that is in order.
    exercise(market, account, CALL)
    assert held(account)["XYZ"][0] == 100
    other = market.open("50000.00")
    market.trade(other, f"-1 {CALL}", f"+1 {LATER}")
    Account.objects.filter(pk=other.id).update(naked_shorts=False)
    exercise(market, other, LATER)  # a covered call again
    # Short shares cover the short put; the call, exercised, would take them away.
    bare = market.open("100000.00")
    for leg in ("-100 XYZ", f"-1 {PUT}", f"+1 {CALL}"):
        market.trade(bare, leg)
    Account.objects.filter(pk=bare.id).update(naked_shorts=False)
    with pytest.raises(CannotExercise) as denied:
        exercise(market, bare, CALL)
    assert denied.value.details["remedy"] == "Close both as one order, or buy the short one back first."
    assert held(bare)[CALL][0] == 1
    assert books.verify()[1] == []


def test_a_short_option_and_a_european_one_are_not_exercised(market: Desk) -> None:
    account = market.open()
    market.trade(account, f"-1 {CALL}")
    market.trade(account, f"+1 {INDEX}")
    with pytest.raises(CannotExercise, match="A short one is assigned; buy it back"):
        exercise(market, account, CALL)
    with pytest.raises(CannotExercise, match="European"):
        exercise(market, account, INDEX)
    with pytest.raises(CannotInstruct, match="index option pays by itself"):
        instruct(market, account, INDEX, Kind.EXERCISE)
    with pytest.raises(CannotExercise, match="A short one is assigned"):
        instruct(market, account, CALL, Kind.DO_NOT_EXERCISE)


# -- at expiration -------------------------------------------------------------------------------------


def test_do_not_exercise_is_honoured_and_can_be_taken_back(market: Desk) -> None:
    """Five calls, 8.00 in the money; two are left. Another account took its instruction back in time."""
    account, other = market.open(), market.open()
    for each in (account, other):
        market.trade(each, f"+5 {CALL}")
        given = instruct(market, each, CALL, Kind.DO_NOT_EXERCISE, 2)
        assert instruct(market, each, CALL, Kind.DO_NOT_EXERCISE, 2).pk == given.pk
    for _ in range(2):
        taken_back = instructions.withdraw(
            account=other, symbol=CALL, kind=Kind.DO_NOT_EXERCISE, now_ns=market.engine.now_ns, actor=SHOP
        )
        assert taken_back.withdrawn_at is not None
    market.advance("2026-11-20 21:00")
    assert held(account) == {"XYZ": (D(300), D("32400.00"))}  # 30,000 and 3 x 800
    assert realized(account)[CALL] == D("-1600.00")
    assert held(other) == {"XYZ": (D(500), D("54000.00"))}
    lines = Activity.objects.filter(account_id=account.id, symbol=CALL, activity_type="expiration")
    assert "not exercised as instructed" in lines.get().note
    with pytest.raises(NotFound):
        instruct(market, account, CALL, Kind.DO_NOT_EXERCISE)
    with pytest.raises(CannotInstruct, match="before 2026-11-20 16:00"):
        instructions.withdraw(
            account=account, symbol=CALL, kind=Kind.DO_NOT_EXERCISE, now_ns=market.engine.now_ns, actor=SHOP
        )
    assert AuditEntry.objects.filter(action="mbt.option.instruction_given").count() == 2
    assert AuditEntry.objects.filter(action="mbt.option.instruction_withdrawn").count() == 1
    assert books.verify()[1] == []


def test_a_contrary_exercise_takes_what_is_not_in_the_money(market: Desk) -> None:
    """The 110 call at 108.00: exercised as instructed, 100 shares for 11,000 and the 100 it cost."""
    account = market.open()
    market.trade(account, f"+2 {HIGH}")
    instruct(market, account, HIGH, Kind.DO_NOT_EXERCISE)
    instruct(market, account, HIGH, Kind.EXERCISE, 1)  # takes its place
    assert [row.kind for row in instructions_of(account.id)] == ["exercise"]
    market.advance("2026-11-20 21:00")
    assert held(account) == {"XYZ": (D(100), D("11100.00"))}
    assert realized(account)[HIGH] == D("-100.00")
    assert books.verify()[1] == []


def test_a_do_not_exercise_keeps_the_risk_close_away(market: Desk) -> None:
    """One 100 call with 1,000 dollars: at 15:30 it would be sold, unless its owner leaves it."""
    sold, kept = market.open("1000.00", kind="cash"), market.open("1000.00", kind="cash")
    for account in (sold, kept):
        market.trade(account, f"+1 {CALL}")
    instruct(market, kept, CALL, Kind.DO_NOT_EXERCISE)
    market.advance("2026-11-20 20:30")
    assert [order.account_id for order in Order.objects.filter(client_order_id__startswith="risk-close")] == [
        sold.id
    ]
    market.advance("2026-11-20 21:00")
    assert held(kept) == {}
    assert cash(kept) == D("200.00")
