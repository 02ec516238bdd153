"""Playing a day in lockstep: the feed stops at each command, which goes through the ordinary services, and
then goes on. What the day brings by itself (expirations, fees) comes at its moments on the feed's clock. What a live
engine does with the same commands and quotes is the same, line for line."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from audit import log as audit
from audit import pseudonym
from mbt import events as vocabulary
from mbt.engine.tickets import Ticket
from mbt.models import Account, AdjustedClass, CorporateAction, EngineState, Halt, Order, SettlementPrice
from mbt.selectors import AccountRef
from mbt.selectors.markets import symbols_around, symbols_of, with_tickers
from mbt.services import orders
from mbt.services.accounts import open_account
from mbt.services.engine import Engine
from mbt.services.events import schedule
from mbt.services.events.prices import record_price
from mbt.services.events.schedule import Calendar
from raxx.identity.models import User
from raxx.identity.services.users import register
from raxx.kernel.clock import from_ns, now
from raxx.kernel.errors import RaxxError
from raxx.kernel.ids import new_id
from raxx.market.board import Board
from raxx.market.feeds.base import Batch, SteppedFeed
from raxx.market.models import Instrument
from raxx.market.quotes import Quote


@dataclass(frozen=True, slots=True)
class Denial:
    """A ticket that was not taken."""

    ticket: Ticket
    at_ns: int
    problem: RaxxError


@dataclass
class PaperDay:
    """An account of its own on a feed of its own, played step by step. `close` removes both.

    `known`: what is known of corporate actions and interest on the feed.
    """

    feed: SteppedFeed
    cash: Decimal
    board: Board | None = None
    account_type: str = Account.Type.CASH
    known: Calendar = schedule.NOTHING_KNOWN
    denials: list[Denial] = field(default_factory=list)
    engine: Engine = field(init=False)
    user: User = field(init=False)
    account: AccountRef = field(init=False)

    def open(self, at: datetime) -> None:
        """Register a trader, give them the cash, and start the engine at the beginning of the feed."""
        self.user = register(
            email=f"paper-day-{new_id().hex}@example.com", now=now(), actor=pseudonym.OPERATOR_SHELL
        )
        row = open_account(
            user_id=self.user.pk, cash=self.cash, feed=self.feed.name, now=at, actor=pseudonym.OPERATOR_SHELL,
            account_type=self.account_type,
        )  # fmt: skip
        self.account = AccountRef(row.pk, row.feed, row.account_type == Account.Type.MARGIN)
        self.engine = Engine(self.feed, self.board, known=self.known)
        self.engine.start()

    def official_price(self, symbol: str, at_ns: int, price: Decimal) -> None:
        """The price of an underlying at a close or an open, as its market published it: its options are settled on
        it. Without one it is the middle of the last NBBO."""
        record_price(
            feed=self.feed.name, symbol=symbol, at_ns=at_ns, price=price, source=SettlementPrice.Source.OFFICIAL,
            actor=pseudonym.OPERATOR_SHELL,
        )  # fmt: skip

    def advance(self, at_ns: int) -> None:
        """Play the feed on to an instant; everything that falls due until then is settled."""
        self.engine.advance(self.feed.advance_to(at_ns))

    def pass_quietly(self, at_ns: int) -> None:
        """Let time pass to an instant without quotes: what falls due until then is settled, and the day is over."""
        self.engine.advance(Batch([], at_ns))

    def quote(self, symbol: str) -> Quote | None:
        return self.engine.last_quote(symbol)

    def quotes(self, symbols: Iterable[str]) -> dict[str, Quote]:
        """The quotes in force of those of `symbols` that have one."""
        found = {symbol: self.quote(symbol) for symbol in symbols}
        return {symbol: quote for symbol, quote in found.items() if quote is not None}

    def submit(self, ticket: Ticket) -> Order | None:
        """Through the ordinary service, at the feed's instant. None: it was denied, see `denials`."""
        return self._attempt(ticket, lambda: orders.submit(
            account=self.account, ticket=ticket, now_ns=self.engine.now_ns, quotes=self._market(ticket.symbols),
            actor=self._actor,
        ).order)  # fmt: skip

    def cancel(self, order_id: UUID) -> None:
        """Cancel an order if it is still open."""
        try:
            orders.cancel(
                account=self.account, order_id=order_id, at=from_ns(self.engine.now_ns), actor=self._actor
            )
        except orders.OrderNotOpen:
            return
        self.engine.forget([order_id])

    def replace(self, order: Order, *, limit_price: Decimal, client_order_id: str) -> Order | None:
        """Move an order's limit if it is still open."""
        symbols = symbols_of(order)
        try:
            replacement = orders.replace(
                account=self.account, order_id=order.pk, changes=orders.Changes(limit_price=limit_price),
                now_ns=self.engine.now_ns, client_order_id=client_order_id, quotes=self._market(symbols),
                actor=self._actor,
            )  # fmt: skip
        except RaxxError:
            return None
        self.engine.forget([order.pk])
        self.engine.take_in([replacement.pk])
        return replacement

    def close(self) -> None:
        """Remove the account and everything that only it had. The audit record stays."""
        with transaction.atomic():
            Account.objects.filter(pk=self.account.id).delete()
            self.user.delete()
            Instrument.objects.filter(feed=self.feed.name).delete()
            EngineState.objects.filter(pk=self.feed.name).delete()
            for kept in (SettlementPrice, CorporateAction, AdjustedClass, Halt):
                kept.objects.filter(feed=self.feed.name).delete()
            audit.record(
                vocabulary.ACCOUNT_REMOVED, actor=pseudonym.OPERATOR_SHELL, object_type="mbt.account",
                object_id=self.account.id, at=from_ns(self.engine.now_ns), changes={"feed": self.feed.name},
            )  # fmt: skip
        self.feed.close()

    def _market(self, symbols: Iterable[str]) -> dict[str, Quote]:
        """What an order of these symbols is judged by: in a margin account also what it holds and may sell."""
        wanted = set(symbols)
        if self.account.is_margin:
            wanted = with_tickers(wanted) | symbols_around(self.account)
        return self.quotes(sorted(wanted))

    @property
    def _actor(self) -> str:
        return pseudonym.actor_ref_for(self.user.pk)

    def _attempt(self, ticket: Ticket, act: Callable[[], Order]) -> Order | None:
        try:
            order = act()
        except RaxxError as problem:
            self.denials.append(Denial(ticket, self.engine.now_ns, problem))
            return None
        self.engine.take_in([order.pk])
        return order
