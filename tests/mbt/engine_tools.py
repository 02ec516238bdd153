"""What tests of the engine share: a stocked account on a feed of its own, sampled orders, engine processes."""

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from audit import pseudonym
from mbt.engine.account import Position as Holding
from mbt.engine.ledger import Ledger
from mbt.engine.orders import OrderType, Side, TimeInForce
from mbt.engine.replay import Submit, replay
from mbt.engine.search import TapeIndex
from mbt.engine.tickets import Ticket
from mbt.models import Account, Activity, Position
from mbt.selectors import AccountRef, to_engine
from mbt.services import orders
from raxx.identity.services.users import register
from raxx.kernel.clock import from_ns, now
from raxx.kernel.ids import new_id
from raxx.market.feeds.replay import ReplayFeed
from raxx.market.quotes import Quote
from raxx.market.services import instruments
from tests.oracle import brute_force

ROOT = Path(__file__).resolve().parents[2]
CASH = Decimal("1000000000.00")
SHARES = Decimal(10_000_000)
COST = Decimal("100000000.00")


@dataclass(frozen=True, slots=True)
class Stocked:
    """An account with ample cash and shares of every symbol of a tape, and the orders sent for it."""

    account: AccountRef
    feed: ReplayFeed
    submits: list[Submit]

    def in_memory(self) -> Ledger:
        """What the pure replay makes of the same orders and quotes."""
        tape = self.feed.tape
        held = {symbol: Holding(SHARES, COST) for symbol in tape.symbols}
        return replay(
            self.submits,
            TapeIndex(tape),
            self.feed.sessions,
            cash=CASH,
            positions=held,
            start_ns=int(tape.ts[0]) - 1,
            end_ns=self.end_ns,
        )

    @property
    def end_ns(self) -> int:
        last = int(self.feed.tape.ts[-1])
        session = self.feed.sessions.last_opened(last)
        return max(last, session.close_ns) if session else last


def stocked(path: Path, sampled: Iterable[brute_force.Order], name: str) -> Stocked:
    """Open the account and send the sampled orders through the ordinary service, each at its own instant."""
    feed = ReplayFeed([path], name=name)
    user = register(email=f"{new_id().hex}@example.com", now=now(), actor=pseudonym.OPERATOR_SHELL)
    # The pure replay knows no fees.
    row = Account.objects.create(
        user=user, feed=feed.name, cash_balance=CASH, created_at=now(), fee_schedule="none"
    )
    Activity.objects.create(
        account=row, activity_type="adjustment", amount=CASH, ref_id=row.pk, occurred_at=now()
    )
    for symbol in feed.tape.symbols:
        Position.objects.create(
            account=row,
            symbol=symbol,
            asset_class="equity",
            multiplier=1,
            qty=SHARES,
            cost=COST,
            opened_at=from_ns(int(feed.tape.ts[0])),
        )
    instruments.load(feed=feed.name, found=feed.instruments())
    account = AccountRef(row.pk, row.feed)
    rows = feed.tape.rows(0, len(feed.tape))
    submits, cursor = [], 0
    latest: dict[str, Quote] = {}
    for order in sampled:
        while cursor < len(rows) and rows[cursor].ts <= order.submit_ns:
            latest[rows[cursor].symbol] = rows[cursor]
            cursor += 1
        taken = orders.submit(
            account=account,
            ticket=ticket(order),
            now_ns=order.submit_ns,
            quotes=latest,
            actor=pseudonym.OPERATOR_SHELL,
        ).order
        submits.append(Submit(to_engine(taken), taken.client_order_id, taken.cash_hold))
    return Stocked(account, feed, submits)


def ticket(order: brute_force.Order) -> Ticket:
    return Ticket(
        symbol=order.symbol,
        side=Side(order.side),
        qty=order.qty,
        order_type=OrderType(order.type),
        time_in_force=TimeInForce(order.tif),
        limit_price=order.limit_price,
        client_order_id=f"o{order.number}",
    )


def start_engine(path: Path, name: str, database_url: str, *, speed: str = "max") -> subprocess.Popen[str]:
    """The real engine process on a tape."""
    command = [sys.executable, "manage.py", "run_engine", "--feed", "replay", "--tape", str(path)]
    return subprocess.Popen(
        [*command, "--name", name, "--speed", speed],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database_url,
            "DJANGO_SECRET_KEY": "x" * 40,
            "RAXX_FIELD_KEY": "y" * 40,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# 2013-10-07 10:00:00 in New York, a Monday in the middle of a session.
MONDAY_10_NS = 1_381_154_400 * 1_000_000_000


def write_tape(path: Path, rows: Iterable[tuple[int, str, str, str]]) -> Path:
    """A tape of (milliseconds after MONDAY_10, symbol, bid, ask); sizes are 100."""
    lines = ["ts_ns_utc,symbol,bid,bid_size,ask,ask_size"]
    lines += [
        f"{MONDAY_10_NS + ms * 1_000_000},{symbol},{bid},{100 if bid else 0},{ask},{100 if ask else 0}"
        for ms, symbol, bid, ask in rows
    ]
    path.write_text("\n".join(lines) + "\n")
    return path
