"""An account that cannot be settled is set aside; everybody else goes on, and so does it when it is mended.

The fault is a constraint of the test's own in PostgreSQL, on one account.
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal as D
from functools import partial
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from django.db.utils import ProgrammingError

from audit import pseudonym
from audit.models import AuditEntry
from console import work_queue
from console.services.switches import set_switch
from console.switches import Mode
from mbt import books, events
from mbt.engine.account import Kind, Posting
from mbt.engine.orders import OrderStatus, OrderType
from mbt.models import Account, EngineState, Fill, Order
from mbt.selectors import AccountRef
from mbt.services import fills
from mbt.services.accounts import open_account
from mbt.services.events.applying import Decided, Record, apply_event
from mbt.services.restrictions import settling
from raxx.identity.services.users import register
from raxx.kernel.clock import exchange_date, now
from raxx.kernel.ids import new_id
from raxx.market.feeds.replay import ReplayFeed
from raxx.market.services import instruments
from tests.conftest import Database
from tests.mbt.engine_tools import start_engine, write_tape
from tests.mbt.paper_tools import Market, Trader, problem
from tests.mbt.services.test_live_engine import FEED, is_published, send, status
from tests.patience import PATIENCE_S, eventually


def poison(account: AccountRef) -> None:
    """No position of this account may reach ten."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"ALTER TABLE mbt_positions ADD CONSTRAINT poison CHECK (account_id <> '{account.id}' OR qty < 10) NOT VALID"
        )


def wait_once_set_aside() -> None:
    """From the moment an account is set aside no batch is settled while somebody holds the lock 27."""
    with connection.cursor() as cursor:
        cursor.execute("""
            CREATE FUNCTION wait_once_set_aside() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF EXISTS (SELECT 1 FROM mbt_accounts WHERE set_aside_at IS NOT NULL) THEN
                    PERFORM pg_advisory_xact_lock(27);
                END IF;
                RETURN NEW;
            END $$
        """)
        cursor.execute("""
            CREATE TRIGGER wait_once_set_aside BEFORE INSERT OR UPDATE ON mbt_engine_state
            FOR EACH ROW EXECUTE FUNCTION wait_once_set_aside()
        """)


def mend() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mbt_positions DROP CONSTRAINT poison")


def release(account: AccountRef) -> None:
    set_switch(
        key=f"account:{account.id}", mode=Mode.ACTIVE, reason="mended", actor=pseudonym.OPERATOR_SHELL, now=now()
    )  # fmt: skip


def is_aside(account: AccountRef) -> bool:
    return Account.objects.filter(pk=account.id, set_aside_at__isnull=False).exists()


def actions(account: AccountRef) -> list[str]:
    rows = AuditEntry.objects.filter(object_id=str(account.id), action__startswith="mbt.account.")
    return [row.action for row in rows.order_by("id") if row.action != events.ACCOUNT_OPENED]


# -- step by step --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_db")
def test_two_accounts_side_by_side(market: Market) -> None:
    bad, good = Trader.opened(feed=market.feed), Trader.opened(feed=market.feed)
    poison(bad.account)
    small = bad.order(qty="5", order_type="market")
    market.judge()
    resting = bad.order(qty="1", limit_price="99.00", time_in_force="gtc")
    mine = [trader.order(qty="8", order_type="market") for trader in (bad, good)]
    market.judge()
    assert bad.row(small["id"]).status == "filled"
    assert good.row(mine[1]["id"]).status == "filled"
    # Its order is as it was: PostgreSQL is the truth.
    row = bad.row(mine[0]["id"])
    assert (row.status, row.filled_qty, row.cash_hold) == ("accepted", D(0), D(mine[0]["cash_hold"]))
    assert books.verify() == (2, [])
    found = Account.objects.get(pk=bad.account.id)
    assert (found.set_aside_because, found.cash_balance) == ("IntegrityError (poison)", D("99499.90"))
    assert not is_aside(good.account)
    assert actions(bad.account) == [events.ACCOUNT_SET_ASIDE]
    audit = AuditEntry.objects.get(action=events.ACCOUNT_SET_ASIDE)
    assert set(audit.changes["orders"]) == {resting["id"], mine[0]["id"]}
    # Whoever asks is told.
    assert "an operator is looking into it" in bad.place().json()["error"]["message"]
    problem(bad.place(), 503, "TRADING_DISABLED")
    assert good.place().status_code == 201
    items = work_queue.read(now()).items
    assert items[0].is_urgent
    assert str(bad.account.id) in items[0].title
    # Nothing of it fills, its owner may cancel, and the others trade.
    market.quote("SPY", "98.00", "98.04")
    assert bad.row(resting["id"]).status in ("accepted", "new")
    assert Fill.objects.filter(order__account_id=bad.account.id).count() == 1
    again = good.order(qty="1", order_type="market")
    market.judge()
    assert good.row(again["id"]).status == "filled"
    other = bad.row(resting["id"])
    assert bad.cancel(str(other.pk)).status_code == 200
    # Released before it is mended, it is set aside again.
    release(bad.account)
    market.engine._reconcile()
    market.judge()
    assert is_aside(bad.account)
    assert actions(bad.account) == [
        events.ACCOUNT_SET_ASIDE,
        events.ACCOUNT_TAKEN_BACK,
        events.ACCOUNT_SET_ASIDE,
    ]
    # Mended and released it goes on where it was, on the quotes of now.
    mend()
    release(bad.account)
    market.engine._reconcile()
    market.judge()
    assert not is_aside(bad.account)
    row = bad.row(mine[0]["id"])
    assert (row.status, row.filled_avg_price) == ("filled", D("98.04"))
    assert Account.objects.get(pk=bad.account.id).cash_held == 0
    assert books.verify() == (2, [])
    assert bad.place().status_code == 201


@pytest.mark.usefixtures("fresh_db")
def test_a_restart_leaves_it_alone_until_it_is_released(market: Market) -> None:
    bad, good = Trader.opened(feed=market.feed), Trader.opened(feed=market.feed)
    poison(bad.account)
    orders_ = [
        trader.order(qty="12", order_type="limit", limit_price="101.00", time_in_force="gtc")
        for trader in (bad, good)
    ]
    market.judge()
    assert [Order.objects.get(pk=order["id"]).status for order in orders_] == ["accepted", "filled"]
    market.engine.start()
    market.judge()
    assert Order.objects.get(pk=orders_[0]["id"]).status == "accepted"
    mend()
    release(bad.account)
    market.engine.start()
    market.quote("SPY", "99.98", "100.02")
    assert Order.objects.get(pk=orders_[0]["id"]).status == "filled"
    assert books.verify() == (2, [])


@pytest.mark.usefixtures("fresh_db")
def test_what_fails_only_at_the_commit_is_found_too(market: Market) -> None:
    bad, good = Trader.opened(feed=market.feed), Trader.opened(feed=market.feed)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE nobody (id uuid PRIMARY KEY)")
        cursor.execute(
            f"ALTER TABLE mbt_activities ADD COLUMN odd uuid GENERATED ALWAYS AS"
            f" (CASE WHEN account_id = '{bad.account.id}' AND activity_type = 'fill' THEN id END) STORED"
        )
        cursor.execute(
            "ALTER TABLE mbt_activities ADD CONSTRAINT late FOREIGN KEY (odd) REFERENCES nobody DEFERRABLE INITIALLY DEFERRED"
        )
    sent = [trader.order(qty="1", order_type="market") for trader in (bad, good)]
    market.judge()
    assert [Order.objects.get(pk=order["id"]).status for order in sent] == ["accepted", "filled"]
    assert Account.objects.get(pk=bad.account.id).set_aside_because == "IntegrityError (late)"


@pytest.mark.usefixtures("fresh_db")
def test_what_everybody_meets_is_nobodys_fault(market: Market) -> None:
    traders = [Trader.opened(feed=market.feed) for _ in range(2)]
    sent = [trader.order(qty="1", order_type="market") for trader in traders]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mbt_fills ADD CONSTRAINT poison CHECK (qty > 5) NOT VALID")
    with pytest.raises(Exception, match="poison"):
        market.judge()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mbt_fills DROP CONSTRAINT poison")
        cursor.execute("ALTER TABLE mbt_fills RENAME TO mbt_fills_gone")
    market.engine.start()
    with pytest.raises(ProgrammingError):
        market.judge()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mbt_fills_gone RENAME TO mbt_fills")
    assert not any(is_aside(trader.account) for trader in traders)
    market.engine.start()
    market.quote("SPY", "99.98", "100.02")
    assert [Order.objects.get(pk=order["id"]).status for order in sent] == ["filled", "filled"]


@pytest.mark.usefixtures("fresh_db")
def test_an_event_that_cannot_be_written_sets_its_account_aside(market: Market) -> None:
    bad, good = Trader.opened(feed=market.feed), Trader.opened(feed=market.feed)
    resting = bad.order(qty="1", limit_price="99.00", time_in_force="gtc")
    with connection.cursor() as cursor:
        cursor.execute(
            f"ALTER TABLE mbt_activities ADD CONSTRAINT poison CHECK (account_id <> '{bad.account.id}' OR activity_type <> 'fee') NOT VALID"
        )
    decided = Decided(
        postings=[Posting(kind=Kind.FEE, cash=D("-0.10"), note="a fee")],
        records=[Record(events.FEES_CHARGED, {"amount": D("0.10")})],
    )
    at_ns = market.now_ns
    of_bad, of_good = (
        apply_event(trader.account.id, name="fees:today", at_ns=at_ns, decide=lambda state: decided)
        for trader in (bad, good)
    )
    assert {str(order_id) for order_id in of_bad.ended} == {resting["id"]}
    assert of_good.accounts == 1
    assert is_aside(bad.account)
    assert AuditEntry.objects.get(action=events.ACCOUNT_SET_ASIDE).changes == {"event": "fees:today"}
    assert bad.row(resting["id"]).status in ("accepted", "new")
    assert Account.objects.get(pk=good.account.id).cash_balance == D("99999.90")


@pytest.mark.usefixtures("fresh_db")
def test_a_review_that_cannot_be_written_is_one_accounts(market: Market) -> None:
    """Both buy with money that is not there yet and sell at once: a violation each, and one cannot be recorded."""
    both = [Trader.opened(feed=market.feed) for _ in range(2)]
    for trader in both:
        for side, qty in (("buy", "900"), ("sell", "900"), ("buy", "900"), ("sell", "900")):
            trader.order(side=side, qty=qty, order_type="market")
            market.judge()
    with connection.cursor() as cursor:
        cursor.execute(
            f"ALTER TABLE mbt_violations ADD CONSTRAINT poison CHECK (account_id <> '{both[0].account.id}')"
        )
    day = exchange_date(market.now_ns)
    within = partial(fills.isolated, at=now(), event="review")
    assert settling.review(feed=market.feed, day=day, at_ns=market.now_ns, within=within) == 1
    assert [is_aside(trader.account) for trader in both] == [True, False]


# -- the process ---------------------------------------------------------------------------------------


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """Five minutes of one stock, ten quotes a second."""
    rows = ((ms, "ACME", "100.00", "100.02") for ms in range(0, 300_000, 100))
    return write_tape(tmp_path / "quotes_live.csv", rows)


@pytest.fixture
def accounts(fresh_db: Database, tape: Path) -> list[AccountRef]:
    found = []
    for _ in range(2):
        user = register(email=f"{new_id().hex}@example.com", now=now(), actor=pseudonym.OPERATOR_SHELL)
        row = open_account(
            user_id=user.pk, cash=D("100000.00"), feed=FEED, now=now(), actor=pseudonym.OPERATOR_SHELL
        )
        found.append(AccountRef(row.pk, row.feed))
    instruments.load(feed=FEED, found=ReplayFeed([tape]).instruments())
    return found


@contextmanager
def engine_of(tape: Path, database: Database) -> Iterator[subprocess.Popen[str]]:
    before = position()
    engine = start_engine(tape, FEED, database.url, speed="1")
    try:
        eventually(lambda: position() > before and is_published())
        yield engine
    finally:
        engine.kill()
        engine.communicate(timeout=PATIENCE_S)


def position() -> int:
    return EngineState.objects.filter(pk=FEED).values_list("position_ns", flat=True).first() or 0


def test_the_process_lives_on_and_a_kill_in_between_changes_nothing(
    fresh_db: Database, tape: Path, accounts: list[AccountRef]
) -> None:
    """Killed when the account is set aside and its batch is not settled yet: the next life decides the same again."""
    bad, good = accounts
    poison(bad)
    wait_once_set_aside()
    with engine_of(tape, fresh_db) as engine, psycopg.connect(fresh_db.url) as other:
        other.execute("SELECT pg_advisory_lock(27)")
        mine = [send(account, f"o{n}", OrderType.MARKET) for n, account in enumerate(accounts)]
        eventually(lambda: is_aside(bad))
        assert status(mine[1]) == OrderStatus.ACCEPTED
        engine.send_signal(signal.SIGKILL)
        engine.communicate(timeout=PATIENCE_S)
    assert Fill.objects.count() == 0
    with engine_of(tape, fresh_db) as engine:
        eventually(lambda: status(mine[1]) == OrderStatus.FILLED)
        assert status(mine[0]) == OrderStatus.ACCEPTED
        more = send(good, "more", OrderType.MARKET)
        eventually(lambda: status(more) == OrderStatus.FILLED)
        assert engine.poll() is None
        assert is_aside(bad)
        mend()
        release(bad)
        engine.send_signal(signal.SIGKILL)
    with engine_of(tape, fresh_db):
        eventually(lambda: status(mine[0]) == OrderStatus.FILLED)
    assert Fill.objects.count() == 3
    assert books.verify() == (2, [])
    assert actions(bad) == [events.ACCOUNT_SET_ASIDE, events.ACCOUNT_TAKEN_BACK]
