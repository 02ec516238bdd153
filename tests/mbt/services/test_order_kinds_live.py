"""Orders of every kind through the services and the real engine process: what PostgreSQL says afterwards is what the
oracle says, and what the matcher does in memory, fill for fill.

`mbt.services` decides what is taken; here everything is taken, so that every kind meets the tape in numbers. Each
group of orders has a margin account of its own with ample cash.
"""

import os
import random
import signal
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from uuid import UUID

import pytest

from audit import pseudonym
from mbt import books, selectors
from mbt.engine.orders import NEVER_NS, OrderClass, OrderStatus, OrderType, Side, TimeInForce
from mbt.engine.tickets import Ticket
from mbt.models import Account, Activity, EngineState, Fill, Order, Position
from mbt.selectors import AccountRef
from mbt.services import orders
from mbt.services.engine import Engine
from mbt.services.engine.process import _Settler
from raxx.identity.services.users import register
from raxx.kernel.clock import from_ns, now, to_ns
from raxx.kernel.ids import new_id
from raxx.market.feeds.replay import ReplayFeed
from raxx.market.services import instruments
from tests.conftest import Database
from tests.mbt.engine.test_vocabulary import Engine as Memory
from tests.mbt.engine.test_vocabulary import engine_order
from tests.mbt.engine_tools import MONDAY_10_NS, start_engine, write_tape
from tests.oracle import brute_force as oracle
from tests.oracle.sample_vocabulary import Odds, Play, Scene, groups, packages, recorded, singles
from tests.oracle.tape import SECOND, Tape, asset_class, current_or_next
from tests.patience import eventually

SOAK = int(os.environ.get("RAXX_SOAK", "0"))
SHOP = pseudonym.OPERATOR_SHELL
CASH = Decimal("1000000000.00")
# The recorded tapes have no halts.
ODDS = Odds(size_cap=0.6, latency=0.2, cancels=0.25, halts=0)
IBM, TWX = "quotes_tick_IBM_20131007", "quotes_1min_options_TWX_20140605"
DRAWN = {
    IBM: {"singles": 60, "groups": 40}, TWX: {"singles": 60, "packages": 60, "groups": 40},
}  # fmt: skip


@dataclass(frozen=True)
class Day:
    """A recorded day, its random orders, and the accounts that have them."""

    play: Play
    path: Path
    feed_name: str
    accounts: dict[UUID, AccountRef]  # by order

    @property
    def feed(self) -> ReplayFeed:
        return ReplayFeed([self.path], name=self.feed_name)

    @cached_property
    def wanted(self) -> dict[int, oracle.Result]:
        found = oracle.results(self.play.orders, self.play.tape, self.play.venue, self.play.cancels)
        return {result.number: plain(result) for result in found}

    def check(self) -> None:
        """The record says what the oracle says, and the accounts add up."""
        found = recorded_results(self.play)
        for order in self.play.orders:
            group = [o for o in self.play.orders if o is order or (o.group and o.group == order.group)]
            assert found[order.number] == self.wanted[order.number], (group, self.play.cancels)
        assert books.verify()[1] == []
        assert sum(bool(result.fills) for result in self.wanted.values()) > len(self.wanted) // 4


def drawn(path: Path, seed: int, *, cancels: bool) -> Play:
    """Orders of every kind on one tape, by their instants, until its last session has closed."""
    scene = recorded(path, seed, ODDS if cancels else replace(ODDS, cancels=0.0))
    counts = DRAWN[path.name.removesuffix(".csv.gz")]
    plays = [DRAW[kind](scene, count * (1 + 4 * SOAK)) for kind, count in counts.items()]
    last = max(rows[-1].ts_ns for rows in scene.tape.rows.values())
    day = current_or_next(last - 1, scene.sessions)
    end_ns = max(last, day.close_ns if day.open_ns <= last else last)
    asked: list[oracle.Order] = []
    canceled: dict[int, int] = {}
    for play in plays:  # one after the other, in numbers; an instant may be any
        shift = len(asked)
        asked += [replace(o, number=o.number + shift, group=o.group and o.group + shift) for o in play.orders]
        canceled |= {number + shift: at_ns for number, at_ns in play.cancels.items()}
    # What arrives after the last quote meets no market on this feed.
    asked = [order for order in asked if order.submit_ns + order.latency_ns <= end_ns]
    return Play(orders=asked, tape=Tape(scene.tape.rows, end_ns), venue=plays[0].venue, cancels=canceled)


def groups_of_both(scene: Scene, count: int) -> Play:
    return groups(scene, count, of_packages=0.6 if scene.options else 0.0)


DRAW = {"singles": singles, "packages": packages, "groups": groups_of_both}


# -- orders as rows ------------------------------------------------------------------------------------


def opened(path: Path, play: Play, name: str) -> Day:
    """An account for each group and for each order that stands alone, and their rows."""
    day = Day(play, path, name, {})
    instruments.load(feed=name, found=day.feed.instruments())
    owners: dict[int, Account] = {}
    for order in play.orders:
        made = engine_order(order, play)
        key = order.group or -order.number
        if key not in owners:
            owners[key] = account = _account(name)
            if order.role == "exit":
                _hold(account, order)
        day.accounts[made.id] = AccountRef(owners[key].pk, name, is_margin=True)
        exits = [o for o in play.orders if order.group and o.group == order.group and o.role == "exit"]
        is_exit = order.role == "exit"
        Order.objects.create(
            id=made.id, number=1_000_000 + order.number, account=owners[key], client_order_id=f"o{order.number}",
            symbol=made.symbol, asset_class=made.asset_class, multiplier=made.multiplier, side=made.side, qty=made.qty,
            order_type=made.type, limit_price=order.limit_price, stop_price=order.stop_price,
            trail_price=order.trail_price, trail_percent=order.trail_percent, time_in_force=made.tif, hours=made.hours,
            fill_preference=made.preference, size_cap=made.size_cap,
            legs=[{"symbol": leg.symbol, "side": leg.side, "ratio": leg.ratio, "multiplier": 100} for leg in made.legs],
            order_class="mleg" if made.legs else "simple",
            role={"alone": "", "entry": "entry"}.get(order.role, "take_profit" if order.type == "limit" else "stop_loss"),
            entry_id=made.entry_id, group_id=made.group_id if len(exits) > 1 and is_exit else None,
            status=OrderStatus.HELD if made.entry_id else OrderStatus.ACCEPTED, accepted_at=from_ns(order.submit_ns),
            arrives_ns=made.arrives_ns, expires_at=None if made.expires_ns == NEVER_NS else from_ns(made.expires_ns),
        )  # fmt: skip
    return day


def _account(feed: str) -> Account:
    user = register(email=f"{new_id().hex}@example.com", now=now(), actor=SHOP)
    row = Account.objects.create(
        user=user, feed=feed, cash_balance=CASH, created_at=now(), fee_schedule="none", account_type="margin"
    )
    row.activities.create(activity_type="adjustment", amount=CASH, ref_id=row.pk, occurred_at=now())
    return row


def _hold(account: Account, order: oracle.Order) -> None:
    """What the exits of an OCO close."""
    parts = [(leg.symbol, leg.side, leg.ratio) for leg in order.legs] or [(order.symbol, order.side, 1)]
    for symbol, side, ratio in parts:
        qty = order.qty * ratio * (1 if side == "sell" else -1)
        option = asset_class(symbol) == "option"
        Position.objects.create(
            account=account, symbol=symbol, asset_class="option" if option else "equity", multiplier=100 if option else 1,
            qty=qty, cost=qty, opened_at=now(),
        )  # fmt: skip
        Activity.objects.create(
            account=account, activity_type="adjustment", symbol=symbol, side="buy" if qty > 0 else "sell", qty=abs(qty),
            amount=0, cost=qty, ref_id=new_id(), occurred_at=now(),
        )  # fmt: skip
        account.shorts += qty < 0
    account.save(update_fields=["shorts"])


# -- rows as results -----------------------------------------------------------------------------------


def whole_us(at_ns: int) -> int:
    """What a timestamp in PostgreSQL keeps of an instant."""
    return at_ns // 1_000 * 1_000


def plain(result: oracle.Result) -> oracle.Result:
    """A result as far as the record tells it: whole microseconds, and of a quote its stamp and its sides."""
    fills = tuple(
        replace(
            fill, at_ns=whole_us(fill.at_ns), quotes=tuple(q._replace(line=0) for q in fill.quotes)
        ) for fill in result.fills
    )  # fmt: skip
    end_ns = whole_us(result.end_ns) if result.end_ns is not None else None
    return replace(result, fills=fills, end_ns=end_ns, quotes=())


def recorded_results(play: Play) -> dict[int, oracle.Result]:
    fills: dict[UUID, list[Fill]] = {}
    for fill in Fill.objects.order_by("order_id", "fill_seq"):
        fills.setdefault(fill.order_id, []).append(fill)
    rows = {row.pk: row for row in Order.objects.filter(number__gt=1_000_000)}
    found = {}
    for order in play.orders:
        row = rows[UUID(int=order.number)]
        status = row.status
        if row.closed_at is None:
            status = "held" if status == OrderStatus.HELD else "working"
        found[order.number] = oracle.Result(
            number=order.number, status=status, fills=tuple(_fills(order, fills.get(row.pk, []))),  # type: ignore[arg-type]
            end_ns=to_ns(row.closed_at) if row.closed_at else None, reason=row.reason or None,
        )  # fmt: skip
    return found


def _fills(order: oracle.Order, rows: list[Fill]) -> Iterable[oracle.Fill]:
    count = max(1, len(order.legs))
    for first in range(0, len(rows), count):
        together = rows[first : first + count]
        prices = tuple(fill.price for fill in together)
        net, qty = prices[0], together[0].qty
        if order.legs:
            signed = [leg.ratio * (1 if leg.side == "buy" else -1) for leg in order.legs]
            net = sum((times * price for times, price in zip(signed, prices, strict=True)), Decimal(0))
            qty = together[0].qty / order.legs[0].ratio
            assert [fill.symbol for fill in together] == [leg.symbol for leg in order.legs]
        yield oracle.Fill(
            at_ns=to_ns(together[0].filled_at), price=net, qty=qty, rule=together[0].rule, legs=prices if order.legs else (),
            quotes=tuple(
                oracle.Row(f.quote_ns, f.nbbo_bid, f.nbbo_ask, f.nbbo_bid_size, f.nbbo_ask_size) for f in together
            ),
        )  # fmt: skip


# -- the services, step by step --------------------------------------------------------------------------


@pytest.mark.tapes
@pytest.mark.parametrize("tape", DRAWN)
@pytest.mark.parametrize("hears", [True, False], ids=["told", "deaf"])
def test_the_services_agree_with_the_oracle(fresh_db: Database, tapes: Path, tape: str, hears: bool) -> None:
    """With cancels at any instant and restarts in between. A deaf engine does not hear of cancels: it goes on to
    decide about orders that are over, and none of that may take effect."""
    path = tapes / f"{tape}.csv.gz"
    day = opened(path, drawn(path, 11, cancels=True), f"replay:{tape}")
    play, feed, dice = day.play, day.feed, random.Random(5)
    engine = Engine(feed)
    engine.start()
    stamps = [row.ts_ns for rows in play.tape.rows.values() for row in rows]
    cuts = {dice.choice(stamps) for _ in range(12)}
    for at_ns in sorted({*play.cancels.values(), *cuts, play.tape.end_ns}):
        if at_ns > play.tape.end_ns:
            break
        engine.advance(feed.advance_to(at_ns))
        for number in sorted(n for n, when in play.cancels.items() if when == at_ns):
            canceled = _cancel(day, UUID(int=number), at_ns)
            if canceled and hears:
                engine.forget(canceled)
        if at_ns in cuts:
            engine = Engine(feed)
            engine.start()
    day.check()


def _cancel(day: Day, order_id: UUID, at_ns: int) -> set[UUID]:
    """As its owner would; the orders that ended with it."""
    open_before = set(Order.objects.filter(closed_at__isnull=True).values_list("pk", flat=True))
    try:
        orders.cancel(account=day.accounts[order_id], order_id=order_id, at=from_ns(at_ns), actor=SHOP)
    except orders.OrderNotOpen:
        return set()
    return open_before - set(Order.objects.filter(closed_at__isnull=True).values_list("pk", flat=True))


# -- the real process ------------------------------------------------------------------------------------


@pytest.mark.tapes
@pytest.mark.parametrize("tape", DRAWN)
def test_the_engine_process_agrees_with_the_oracle_and_the_matcher(
    fresh_db: Database, tapes: Path, tape: str
) -> None:
    path = tapes / f"{tape}.csv.gz"
    day = opened(path, drawn(path, 21, cancels=False), f"replay:{tape}")
    engine = start_engine(path, day.feed_name, fresh_db.url)
    output, _ = engine.communicate(timeout=180)
    assert engine.returncode == 0, output
    day.check()
    assert {result.number: plain(result) for result in Memory(day.play).run()} == day.wanted


@pytest.mark.tapes
@pytest.mark.parametrize("tape", DRAWN)
def test_kills_in_the_middle_lose_nothing_and_double_nothing(
    fresh_db: Database, tapes: Path, tape: str
) -> None:
    path = tapes / f"{tape}.csv.gz"
    day = opened(path, drawn(path, 31, cancels=False), f"replay:{tape}")
    dice = random.Random(3)
    first = min(rows[0].ts_ns for rows in day.play.tape.rows.values())
    length = day.play.tape.end_ns - first
    for _ in range(6):
        # The whole day in ten seconds; each life of the engine is a part of it.
        kill_ns = max(first, _position(day.feed_name)) + int(dice.uniform(0.02, 0.15) * length)
        engine = start_engine(path, day.feed_name, fresh_db.url, speed=str(length // (10 * SECOND)))
        eventually(lambda: _position(day.feed_name) >= kill_ns or engine.poll() is not None)  # noqa: B023
        assert engine.poll() is None
        engine.send_signal(signal.SIGKILL)
        engine.communicate()
    assert Fill.objects.exists()
    assert _position(day.feed_name) < day.play.tape.end_ns, "the last kill came in the middle of the day"
    engine = start_engine(path, day.feed_name, fresh_db.url)
    output, _ = engine.communicate(timeout=180)
    assert engine.returncode == 0, output
    day.check()


# -- between a decision and the record of it -------------------------------------------------------------


def test_what_is_not_settled_yet_is_not_taken_in_again(fresh_db: Database, tmp_path: Path) -> None:
    """While its fill is on its way to the record, an entry looks open there. Taken in once more it would fill again in
    the engine's eyes, and keep its exits from working."""
    tape = write_tape(
        tmp_path / "quotes_acme.csv", [(0, "ACME", "100.00", "100.02"), (8_000, "ACME", "99.00", "99.02")]
    )
    feed = ReplayFeed([tape], name="replay:acme")
    instruments.load(feed=feed.name, found=feed.instruments())
    account = _account(feed.name)
    engine = Engine(feed)
    engine.start()
    engine.advance(feed.advance_to(MONDAY_10_NS + SECOND))
    bracket = Ticket(
        symbol="ACME", side=Side.BUY, qty=Decimal(10), order_type=OrderType.LIMIT, limit_price=Decimal("100.02"),
        time_in_force=TimeInForce.DAY, order_class=OrderClass.BRACKET, take_profit=Decimal("105.00"),
        stop_loss=Decimal("99.50"), client_order_id="bracket",
    )  # fmt: skip
    quote = engine.last_quote("ACME")
    assert quote is not None
    entry = orders.submit(
        account=AccountRef(account.pk, feed.name, is_margin=True), ticket=bracket, now_ns=engine.now_ns,
        quotes={"ACME": quote}, actor=SHOP,
    ).order  # fmt: skip
    engine.take_in([entry.pk])
    settler = _Settler(feed.name)
    engine._unsettled = settler.unsettled
    settler.offer(engine.match(feed.advance_to(MONDAY_10_NS + 2 * SECOND)), engine.now_ns)
    assert entry.pk in selectors.waiting_order_ids(feed.name), "the record is behind"
    assert engine.take_in(selectors.waiting_order_ids(feed.name)) == 0
    assert engine.take_in() == 0
    settler.start()
    settler.finish(engine.now_ns)
    assert settler.unsettled() == set()
    assert Order.objects.get(pk=entry.pk).status == OrderStatus.FILLED
    engine.advance(feed.advance_to(MONDAY_10_NS + 9 * SECOND))
    found = {row.role: (row.status, row.filled_avg_price) for row in Order.objects.exclude(pk=entry.pk)}
    assert found == {"take_profit": ("canceled", None), "stop_loss": ("filled", Decimal("99.00"))}
    assert books.verify()[1] == []


def _position(feed: str) -> int:
    state = EngineState.objects.filter(pk=feed).first()
    return state.position_ns if state else 0
