"""Fills persisted: what it takes until fills are durable with everything that belongs to them.

`mbt.services.fills.apply` settles decisions of the engine: order, fill with its NBBO, activity, position, cash,
audit row, announcement and the engine's own state, in one transaction. Beside it the least that a batched writer
could do on the same PostgreSQL: one statement that updates the order and the position and inserts fill and
activity, on tables without constraints. And between the two: one such statement that writes the product's own rows
into the product's own tables, but locks, reads and decides nothing; so the distance from the first to it is the price
of the record (audit, announcement, receipt, indexes, constraints), and from it to `apply` that of deciding in Python.
Synchronous commit is on for all.
"""

import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg

from bench import house as houses
from bench import market
from bench.common import Contestant, Options, Rates, Report, interleave, main, ratio
from bench.house import House
from mbt.engine.fills import VERSION, Fill, Rule
from mbt.engine.matching import Decision, Filled
from mbt.engine.orders import NEVER_NS, Order, OrderType, Side, TimeInForce
from raxx.kernel import clock
from raxx.kernel.ids import new_id
from raxx.kernel.money import from_ticks
from raxx.market.contracts import AssetClass
from raxx.market.quotes import Quote

TITLE = "Fills persisted"
FEED = "bench"
ACCOUNTS, SYMBOLS = 200, 20
PRICE = 50 * 10_000  # ticks
SWEEP = 10_000
BARE, RECORD, APPLY = "bare statement", "one statement, the product's tables", "fills.apply"

_BARE_TABLES = """
CREATE SCHEMA bare;
CREATE TABLE bare.orders (id uuid PRIMARY KEY, account_id uuid NOT NULL, symbol text NOT NULL, side text NOT NULL,
  qty numeric(18,9) NOT NULL, status text NOT NULL, filled_qty numeric(18,9) NOT NULL, filled_avg_price numeric(14,6),
  closed_at timestamptz);
CREATE TABLE bare.fills (id uuid PRIMARY KEY, order_id uuid NOT NULL, symbol text NOT NULL, side text NOT NULL,
  qty numeric(18,9) NOT NULL, price numeric(12,4) NOT NULL, filled_at timestamptz NOT NULL);
CREATE INDEX ON bare.fills (order_id);
CREATE TABLE bare.activities (id uuid PRIMARY KEY, account_id uuid NOT NULL, fill_id uuid NOT NULL,
  amount numeric(18,2) NOT NULL, occurred_at timestamptz NOT NULL);
CREATE INDEX ON bare.activities (account_id, id);
CREATE TABLE bare.positions (account_id uuid, symbol text, qty numeric(18,9) NOT NULL, cost numeric(18,2) NOT NULL,
  PRIMARY KEY (account_id, symbol));
"""
_BARE_EFFECT = """
WITH t AS (SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::numeric[],
       %s::numeric[], %s::numeric[], %s::timestamptz[])
       AS t (order_id, fill_id, activity_id, account_id, symbol, side, qty, price, amount, at)),
o AS (UPDATE bare.orders o SET status = 'filled', filled_qty = t.qty, filled_avg_price = t.price, closed_at = t.at
        FROM t WHERE o.id = t.order_id),
f AS (INSERT INTO bare.fills SELECT fill_id, order_id, symbol, side, qty, price, at FROM t),
a AS (INSERT INTO bare.activities SELECT activity_id, account_id, fill_id, amount, at FROM t)
INSERT INTO bare.positions AS p
SELECT account_id, symbol, sum(CASE side WHEN 'buy' THEN qty ELSE -qty END), -sum(amount) FROM t
 GROUP BY account_id, symbol ORDER BY account_id, symbol
ON CONFLICT (account_id, symbol) DO UPDATE SET qty = p.qty + excluded.qty, cost = p.cost + excluded.cost
"""
_WHOLE_RECORD = """
WITH t AS (SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::numeric[],
       %s::numeric[], %s::numeric[], %s::timestamptz[])
       AS t (order_id, fill_id, activity_id, account_id, symbol, side, qty, price, amount, at)),
o AS (UPDATE mbt_orders o SET status = 'filled', cash_hold = 0, filled_qty = t.qty, filled_avg_price = t.price, closed_at = t.at
        FROM t WHERE o.id = t.order_id),
c AS (UPDATE mbt_accounts a SET cash_balance = cash_balance + s.amount, cash_held = cash_held - s.held
        FROM (SELECT account_id, sum(amount) AS amount, sum(CASE side WHEN 'buy' THEN -amount ELSE 0 END) AS held FROM t GROUP BY 1) s
       WHERE a.id = s.account_id),
p AS (UPDATE mbt_positions p SET qty = p.qty + s.qty, qty_held = p.qty_held - s.held, cost = p.cost - s.amount
        FROM (SELECT account_id, symbol, sum(CASE side WHEN 'buy' THEN qty ELSE -qty END) AS qty, sum(amount) AS amount,
                     sum(CASE side WHEN 'sell' THEN qty ELSE 0 END) AS held FROM t GROUP BY 1, 2) s
       WHERE p.account_id = s.account_id AND p.symbol = s.symbol AND p.closed_at IS NULL),
f AS (INSERT INTO mbt_fills (id, order_id, fill_seq, symbol, side, qty, price, filled_at, nbbo_bid, nbbo_bid_size, nbbo_ask,
             nbbo_ask_size, quote_ns, feed, rule, rule_version)
      SELECT fill_id, order_id, 1, symbol, side, qty, price, at, price, 100, price, 100, 1, 'bench', 'limit.resting', 1 FROM t),
v AS (INSERT INTO mbt_activities (id, account_id, activity_type, symbol, side, qty, price, amount, cost, realized, order_id, ref_id, note, occurred_at)
      SELECT activity_id, account_id, 'fill', symbol, side, qty, price, amount, -amount, CASE side WHEN 'sell' THEN 0 END, order_id,
             fill_id, '', at FROM t),
l AS (INSERT INTO audit_log (at, actor_ref, action, object_type, object_id, changes, mac)
      SELECT at, 'system:engine', 'mbt.order.filled', 'mbt.order', order_id::text,
             jsonb_build_object('status', jsonb_build_array('new', 'filled'), 'qty', qty, 'price', price),
             uuid_send(order_id) FROM t)
INSERT INTO outbox (topic, key, payload)
SELECT 'mbt.orders', order_id::text, jsonb_build_object('order_id', order_id, 'event', 'filled') FROM t
"""
_HOLD = """
WITH t AS (SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::numeric[]) AS t (account_id, symbol, side, qty)),
cash AS (UPDATE mbt_accounts a SET cash_held = cash_held + t.held
           FROM (SELECT account_id, sum(qty) * %s AS held FROM t WHERE side = 'buy' GROUP BY 1) t WHERE a.id = t.account_id)
UPDATE mbt_positions p SET qty_held = qty_held + t.held
  FROM (SELECT account_id, symbol, sum(qty) AS held FROM t WHERE side = 'sell' GROUP BY 1, 2) t
 WHERE p.account_id = t.account_id AND p.symbol = t.symbol AND p.closed_at IS NULL
"""


class Trades:
    """Open orders, half buys and half sells of what is held, and what fills them; each is used once."""

    def __init__(self, house: House, bare: psycopg.Connection[Any]) -> None:
        from mbt.services import fills

        self._dice = random.Random(5)
        self._accounts = [t.account_id for t in house.traders(ACCOUNTS, feed=FEED)]
        self._symbols = market.names(SYMBOLS)
        self._bare = bare
        self._number = 0
        holdings = [(a, s) for a in self._accounts for s in self._symbols]
        bought = self._open([self._order(a, s, Side.BUY, Decimal(500)) for a, s in holdings])
        for start in range(0, len(bought), 1_000):  # everybody holds something of everything
            fills.apply(bought[start : start + 1_000], feed=FEED, position_ns=1, now=clock.now())

    def some(self, count: int) -> list[Filled]:
        orders = [
            self._order(self._dice.choice(self._accounts), self._dice.choice(self._symbols), side, Decimal(1))
            for side in self._dice.choices((Side.BUY, Side.SELL), k=count)
        ]
        return self._open(orders)

    def _order(self, account_id: UUID, symbol: str, side: Side, qty: Decimal) -> Order:
        self._number += 1
        return Order(
            id=new_id(), number=self._number, account_id=account_id, symbol=symbol, asset_class=AssetClass.EQUITY,
            multiplier=1, side=side, type=OrderType.LIMIT, tif=TimeInForce.GTC, qty=qty, limit=PRICE,
            accepted_ns=market.OPEN_NS, expires_ns=NEVER_NS,
        )  # fmt: skip

    def _open(self, orders: Sequence[Order]) -> list[Filled]:
        """Write them as the API leaves them, working, with their holds; and into the bare tables."""
        with self._bare.transaction(), self._bare.cursor() as cursor:
            with cursor.copy(
                "COPY mbt_orders (id, account_id, client_order_id, symbol, asset_class, multiplier, side, qty, order_type,"
                " limit_price, time_in_force, status, reason, cash_hold, filled_qty, accepted_at, working_at, refusals,"
                " arrival, fingerprint, hours, fill_preference, size_cap, legs, order_class, role, position_holds, arrives_ns,"
                " progress) FROM STDIN"
            ) as copy:
                at = clock.from_ns(market.OPEN_NS)
                for order in orders:
                    hold = order.qty * from_ticks(PRICE) if order.side is Side.BUY else Decimal(0)
                    holds = "{}" if order.side is Side.BUY else json.dumps({order.symbol: str(order.qty)})
                    copy.write_row((
                        order.id, order.account_id, str(order.id), order.symbol, "equity", 1, order.side, order.qty, "limit",
                        from_ticks(PRICE), "gtc", "new", "", hold, 0, at, at, "{}", '{"bid": 499000, "ask": 501000}', "",
                        "regular", "conservative", False, "[]", "simple", "", holds, 0, "{}",
                    ))  # fmt: skip
            with cursor.copy(
                "COPY bare.orders (id, account_id, symbol, side, qty, status, filled_qty) FROM STDIN"
            ) as copy:
                for order in orders:
                    copy.write_row(
                        (order.id, order.account_id, order.symbol, order.side, order.qty, "new", 0)
                    )
            held = [(o.account_id, o.symbol, o.side, o.qty) for o in orders]
            cursor.execute(_HOLD, [list(column) for column in zip(*held, strict=True)] + [from_ticks(PRICE)])
        quote = Quote("", market.OPEN_NS + 1_000_000, PRICE, 100, PRICE, 100)
        return [
            Filled(
                order,
                quote.ts,
                Fill(price=PRICE, qty=order.qty, rule=Rule.LIMIT_RESTING, version=VERSION, quote=quote),
                Decimal(0),
            )
            for order in orders
        ]


def product(trades: Trades, batch: int, batches: int) -> Contestant:
    from mbt.services import fills

    def prepare() -> Callable[[], int]:
        decisions = trades.some(batch * batches)

        def run() -> int:
            for some in _cut(decisions, batch):
                applied = fills.apply(some, feed=FEED, position_ns=market.OPEN_NS, now=clock.now())
                assert applied.effective == len(some)
            return len(decisions)

        return run

    return prepare


def statement(
    sql: str, connection: psycopg.Connection[Any], trades: Trades, batch: int, batches: int
) -> Contestant:
    def prepare() -> Callable[[], int]:
        decisions = trades.some(batch * batches)

        def run() -> int:
            for some in _cut(decisions, batch):
                columns = [list(column) for column in zip(*map(_effect, some), strict=True)]
                connection.execute(sql, columns)
            return len(decisions)

        return run

    return prepare


def _effect(
    decision: Decision,
) -> tuple[UUID, UUID, UUID, UUID, str, str, Decimal, Decimal, Decimal, datetime]:
    assert isinstance(decision, Filled)
    order, price = decision.order, from_ticks(decision.fill.price)
    amount = order.qty * price
    return (
        order.id, new_id(), new_id(), order.account_id, order.symbol, str(order.side), order.qty, price,
        -amount if order.side is Side.BUY else amount, clock.from_ns(decision.at_ns),
    )  # fmt: skip


def _cut(decisions: Sequence[Filled], size: int) -> Iterator[Sequence[Filled]]:
    for start in range(0, len(decisions), size):
        yield decisions[start : start + size]


@contextmanager
def bare_tables(house: House) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(house.database_url, autocommit=True) as connection:
        connection.execute(_BARE_TABLES)
        row = connection.execute("SHOW synchronous_commit").fetchone()
        assert row == ("on",), row
        yield connection


def run(options: Options, report: Report) -> None:
    with houses.opened() as house, bare_tables(house) as connection:
        trades = Trades(house, connection)

        def contestants(batch: int, batches: int) -> dict[str, Contestant]:
            return {
                BARE: statement(_BARE_EFFECT, connection, trades, batch, batches),
                RECORD: statement(_WHOLE_RECORD, connection, trades, batch, batches),
                APPLY: product(trades, batch, batches),
            }

        def measure(batch: int, batches: int, clock: Callable[[], float], rounds: int) -> Rates:
            connection.execute("VACUUM ANALYZE")  # as autovacuum does in the long run
            return interleave(contestants(batch, batches), rounds=rounds, clock=clock)

        for batch, batches in (
            (1, options.size(100, 10)),
            (10, options.size(40, 5)),
            (100, options.size(20, 3)),
            (1_000, options.size(4, 1)),
        ):
            rates = measure(batch, batches, time.perf_counter, options.rounds)
            report.rates(f"Whole effects durable, {batch:,} at a time", rates, base=BARE, unit="fills/s")
            if batch == 100:
                report.goal(
                    "9 whole effects in batches of 100, of the bare statement",
                    ratio(rates, APPLY, BARE),
                    least=0.5,
                )
                report.say(
                    f"of one statement with the product's whole record: {ratio(rates, APPLY, RECORD):.2f}"
                )
        cpu = measure(100, options.size(20, 3), houses.own_and(house.postgres()), options.rounds)
        report.rates(
            "By CPU time of client and PostgreSQL, 100 at a time", cpu, base=BARE, unit="fills/CPU s"
        )

        sweep = options.size(SWEEP, 1_000)
        swept = measure(sweep, 1, time.perf_counter, options.size(5, 1))
        rows = [
            [name, 1_000 * sweep / statistics.median(found), 1_000 * sweep / min(found)]
            for name, found in swept.items()
        ]
        report.table(f"A sweep of {sweep:,} orders by one quote", ["", "ms, median", "ms, worst"], rows)
        slower = ratio(swept, BARE, APPLY)
        report.goal(f"9 time until a sweep of {sweep:,} is durable, of the bare statement's", slower, most=2)
        _verify(report)


def _verify(report: Report) -> None:
    from mbt import books

    checked, problems = books.verify()
    if problems:
        raise AssertionError("\n".join(problems[:5]))
    report.say(f"the books of {checked} accounts are right")


if __name__ == "__main__":
    main(run, TITLE)
