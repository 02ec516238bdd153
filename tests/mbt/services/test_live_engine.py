"""The engine process at work while people trade: wake-ups, cancels, lost connections, a second engine."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.db import connection, connections

from audit import pseudonym
from mbt import books, selectors
from mbt.engine.orders import OrderStatus, OrderType, Side, TimeInForce
from mbt.engine.tickets import Ticket
from mbt.models import EngineState, Fill, Order
from mbt.selectors import AccountRef
from mbt.services import orders
from mbt.services.accounts import open_account
from mbt.services.engine import Engine, EngineAlreadyRunning
from mbt.services.engine.process import RECONCILE_EVERY_S
from raxx.identity.services.users import register
from raxx.kernel.clock import now
from raxx.market.board import MarketDataUnavailable
from raxx.market.feeds.replay import ReplayFeed
from raxx.market.quotes import Quote
from raxx.market.services import instruments
from tests.conftest import Database
from tests.mbt.engine_tools import start_engine, write_tape
from tests.patience import PATIENCE_S, eventually

FEED = "replay:live"


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """Five minutes of one stock, ten quotes a second. After 8 s the market falls by a dollar."""
    return write_tape(
        tmp_path / "quotes_live.csv",
        (
            (ms, "ACME", "100.00", "100.02") if ms < 8_000 else (ms, "ACME", "99.00", "99.02")
            for ms in range(0, 300_000, 100)
        ),
    )


@pytest.fixture
def account(fresh_db: Database, tape: Path) -> AccountRef:
    user = register(email="live@example.com", now=now(), actor=pseudonym.OPERATOR_SHELL)
    row = open_account(
        user_id=user.pk, cash=Decimal("100000.00"), feed=FEED, now=now(), actor=pseudonym.OPERATOR_SHELL
    )
    instruments.load(feed=FEED, found=ReplayFeed([tape]).instruments())
    return AccountRef(row.pk, row.feed)


@contextmanager
def running(tape: Path, database: Database) -> Iterator[subprocess.Popen[str]]:
    """The engine process, until the block ends; it must leave in good order."""
    engine = start_engine(tape, FEED, database.url, speed="1")
    try:
        eventually(lambda: EngineState.objects.filter(pk=FEED).exists() and is_published())
        yield engine
    finally:
        engine.terminate()
        output, _ = engine.communicate(timeout=PATIENCE_S)
    assert engine.returncode == 0, output


def test_an_order_fills_soon_after_it_is_sent(fresh_db: Database, tape: Path, account: AccountRef) -> None:
    with running(tape, fresh_db):
        order = send(account, "market-1", OrderType.MARKET)
        eventually(lambda: status(order) == OrderStatus.FILLED)
    fill = Fill.objects.get()
    assert fill.price == Decimal("100.02")
    assert fill.filled_at >= order.accepted_at
    assert books.verify()[1] == []


def test_a_lost_bell_is_found_by_the_sweep(
    fresh_db: Database, tape: Path, account: AccountRef, settings: LazySettings
) -> None:
    with running(tape, fresh_db):
        view = selectors.market(FEED, ["ACME"])
        settings.REDIS_URL = "unix:///nowhere/valkey.sock"
        order = send(account, "unheard-1", OrderType.MARKET, now_ns=view.now_ns)
        eventually(lambda: status(order) == OrderStatus.FILLED, within_s=RECONCILE_EVERY_S - 10)


def test_a_canceled_order_never_fills(fresh_db: Database, tape: Path, account: AccountRef) -> None:
    with running(tape, fresh_db):
        kept = send(account, "kept-1", OrderType.LIMIT, "99.50")
        canceled = send(account, "canceled-1", OrderType.LIMIT, "99.50")
        eventually(lambda: status(canceled) == OrderStatus.NEW)
        orders.cancel(
            account=account,
            order_id=canceled.pk,
            at=selectors.feed_instant(FEED),
            actor=pseudonym.OPERATOR_SHELL,
        )
        eventually(lambda: status(kept) == OrderStatus.FILLED)
        time.sleep(0.3)
    assert status(canceled) == OrderStatus.CANCELED
    assert Fill.objects.get().order_id == kept.pk
    assert Fill.objects.get().price == Decimal("99.50")  # its own limit, though the ask jumped to 99.02
    assert books.verify()[1] == []


def test_losing_its_connections_loses_no_fill(fresh_db: Database, tape: Path, account: AccountRef) -> None:
    engine = start_engine(tape, FEED, fresh_db.url, speed="1")
    eventually(lambda: EngineState.objects.filter(pk=FEED).exists() and is_published())
    order = send(account, "resting-1", OrderType.LIMIT, "99.50")
    eventually(lambda: status(order) == OrderStatus.NEW)
    cut_connections()
    # It may live on or end; what ends is started again, as a platform does.
    time.sleep(2)
    if engine.poll() is None:
        engine.terminate()
    engine.communicate(timeout=PATIENCE_S)
    with running(tape, fresh_db):
        eventually(lambda: status(order) == OrderStatus.FILLED)
    assert Fill.objects.count() == 1
    assert books.verify()[1] == []


def test_a_second_engine_of_the_same_feed_is_refused(
    fresh_db: Database, tape: Path, account: AccountRef
) -> None:
    first = Engine(ReplayFeed([tape], name=FEED))
    first.start()
    refused: list[BaseException] = []

    def second() -> None:
        try:
            Engine(ReplayFeed([tape], name=FEED)).start()
        except EngineAlreadyRunning as problem:
            refused.append(problem)
        finally:
            connections.close_all()

    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
    assert len(refused) == 1
    process = start_engine(tape, FEED, fresh_db.url, speed="1")
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "already running" in output
    assert "Traceback" not in output


def send(
    account: AccountRef, name: str, kind: OrderType, limit: str | None = None, now_ns: int | None = None
) -> Order:
    view = None if now_ns else selectors.market(FEED, ["ACME"])
    ticket = Ticket(
        symbol="ACME",
        side=Side.BUY,
        qty=Decimal(10),
        order_type=kind,
        time_in_force=TimeInForce.DAY,
        limit_price=Decimal(limit) if limit else None,
        client_order_id=name,
    )
    quote = view.quotes["ACME"] if view else Quote("ACME", now_ns or 0, 1_000_000, 100, 1_000_200, 100)
    at_ns = view.now_ns if view else now_ns
    assert at_ns is not None
    return orders.submit(
        account=account, ticket=ticket, now_ns=at_ns, quotes={"ACME": quote}, actor=pseudonym.OPERATOR_SHELL
    ).order


def status(order: Order) -> str:
    return Order.objects.values_list("status", flat=True).get(pk=order.pk)


def is_published() -> bool:
    try:
        return bool(selectors.market(FEED, ["ACME"]).quotes)
    except MarketDataUnavailable:
        return False


def cut_connections() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
