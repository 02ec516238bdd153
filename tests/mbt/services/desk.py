"""What tests of events share: accounts on a recorded day or on one written by hand, and the orders that they send."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from audit import pseudonym
from mbt import selectors
from mbt.engine.ledger import Ledger
from mbt.engine.orders import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from mbt.engine.tickets import LegTicket, Ticket
from mbt.models import Account, Order, Position
from mbt.selectors import AccountRef
from mbt.selectors.markets import quotes_of, symbols_around, with_tickers
from mbt.services import orders
from mbt.services.accounts import open_account
from mbt.services.engine import Engine
from mbt.services.events.schedule import NOTHING_KNOWN, Calendar
from raxx.identity.services.users import register
from raxx.kernel.clock import now, to_ns
from raxx.kernel.ids import new_id
from raxx.market.contracts import parse_symbol
from raxx.market.feeds.replay import ReplayFeed
from raxx.market.feeds.tape import read_tape

SHOP = pseudonym.OPERATOR_SHELL


Rows = list[tuple[str, str, str, str]]


def tape(path: Path, rows: Rows) -> Path:
    """A tape written by hand: `2026-11-20 15:00` in UTC, symbol, bid, ask."""
    lines = [
        f"{at(when)},{symbol},{bid},{10 if bid else 0},{ask},{10 if ask else 0}"
        for when, symbol, bid, ask in sorted(rows)
    ]
    path.write_text("\n".join(["ts_ns_utc,symbol,bid,bid_size,ask,ask_size", *lines]) + "\n")
    return path


def at(text: str) -> int:
    """`2015-12-24 18:00` in UTC, as nanoseconds."""
    return to_ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


@dataclass
class Desk:
    """A recorded day with an engine, and accounts that trade on it."""

    feed: ReplayFeed
    known: Calendar = NOTHING_KNOWN
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """As after a crash: nothing is remembered but what PostgreSQL has."""
        self.engine = Engine(self.feed, known=self.known)
        self.engine.start()

    def advance(self, text: str) -> None:
        self.engine.advance(self.feed.advance_to(at(text)))

    def worth(self, account: AccountRef) -> Decimal:
        """Cash, and what is held at the middle of the quotes in force."""
        rows = Position.objects.filter(account_id=account.id, closed_at__isnull=True)
        total = cash(account)
        for row in rows:
            quote = self.engine.last_quote(row.symbol)
            assert quote is not None, row.symbol
            total += row.qty * row.multiplier * Decimal(quote.bid + quote.ask) / 20_000
        return total

    def open(
        self,
        cash: str = "200000.00",
        *,
        kind: str = Account.Type.MARGIN,
        fees: str = "none",
        interest: str = "none",
    ) -> AccountRef:
        user = register(email=f"{new_id().hex}@example.com", now=now(), actor=SHOP)
        row = open_account(
            user_id=user.pk, cash=Decimal(cash), feed=self.feed.name, now=now(), actor=SHOP, account_type=kind
        )
        Account.objects.filter(pk=row.pk).update(
            fee_schedule=fees, interest_schedule=interest, naked_shorts=True
        )
        return AccountRef(row.pk, row.feed, row.account_type == Account.Type.MARGIN)

    def send(self, account: AccountRef, ticket: Ticket) -> Order:
        """Through the ordinary service, at the engine's instant."""
        wanted = symbols_around(account) | with_tickers(ticket.symbols)
        order = orders.submit(
            account=account, ticket=ticket, now_ns=self.engine.now_ns,
            quotes=quotes_of(wanted, self.engine.last_quote), actor=SHOP,
        ).order  # fmt: skip
        self.engine.take_in([order.pk])
        return order

    def trade(self, account: AccountRef, *legs: str, qty: int = 1, limit: str | None = None) -> Order:
        """Trade at once what `legs` say, as one order: `+1 GOOG151224C00740000`."""
        order = self.send(account, ticket(*legs, qty=qty, limit=limit))
        self.engine.advance(self.feed.advance_to(self.engine.now_ns))
        order.refresh_from_db()
        assert order.status == OrderStatus.FILLED, (order.status, order.reason)
        return order


def ticket(
    *legs: str, qty: int = 1, name: str = "", limit: str | None = None, tif: TimeInForce = TimeInForce.DAY
) -> Ticket:
    """A market or limit order for `legs`, each like `+1 GOOG151224C00740000` or `-2 GOOG`."""
    parsed = [(int(text.split()[0]), text.split()[1]) for text in legs]
    single = len(parsed) == 1
    count, symbol = parsed[0]
    return Ticket(
        symbol=symbol if single else "", side=_side(count) if single else Side.BUY,
        qty=Decimal(abs(count) * qty if single else qty),
        order_type=OrderType.LIMIT if limit else OrderType.MARKET, time_in_force=tif,
        limit_price=Decimal(limit) if limit else None, client_order_id=name or new_id().hex,
        order_class=OrderClass.SIMPLE if single else OrderClass.MLEG,
        legs=() if single else tuple(LegTicket(symbol, _side(count), abs(count)) for count, symbol in parsed),
    )  # fmt: skip


def _side(count: int) -> Side:
    return Side.BUY if count > 0 else Side.SELL


def cash(account: AccountRef) -> Decimal:
    return Account.objects.get(pk=account.id).cash_balance


def held(account: AccountRef) -> dict[str, tuple[Decimal, Decimal]]:
    """Quantity and cost of everything that the account holds."""
    ledger = selectors.ledger(account.id)
    return {line.symbol: (line.qty, line.cost) for line in ledger.positions if line.qty}


def realized(account: AccountRef) -> dict[str, Decimal]:
    """What each symbol has earned so far."""
    return {line.symbol: line.realized for line in selectors.ledger(account.id).positions}


def ledgers(accounts: Iterable[AccountRef]) -> list[Ledger]:
    return [selectors.ledger(account.id) for account in accounts]


def excerpt(path: Path, tapes: Iterable[Path], symbols: Iterable[str]) -> Path:
    """A tape of its own with the quotes of a few symbols, as recorded."""
    wanted = {parse_symbol(symbol).symbol for symbol in symbols}
    tape = read_tape(list(tapes))
    lines = ["ts_ns_utc,symbol,bid,bid_size,ask,ask_size"]
    for quote in tape.rows(0, len(tape)):
        if quote.symbol in wanted:
            bid = f"{Decimal(quote.bid) / 10_000:f}" if quote.bid else ""
            ask = f"{Decimal(quote.ask) / 10_000:f}" if quote.ask else ""
            lines.append(f"{quote.ts},{quote.symbol},{bid},{quote.bid_size},{ask},{quote.ask_size}")
    path.write_text("\n".join(lines) + "\n")
    return path
