"""A whole paper-trading day on recorded or simulated quotes, told in full."""

import argparse
import json
import time
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mbt import demo, selectors
from mbt.engine.ledger import digest
from mbt.engine.orders import OrderStatus
from mbt.management.commands.run_engine import speed
from mbt.models import Order
from mbt.services.paper_day import PaperDay
from raxx.kernel import clock, valkey
from raxx.kernel.clock import SECOND_NS, from_ns, show_exchange_moment, show_exchange_time
from raxx.kernel.errors import RaxxError
from raxx.kernel.ids import new_id
from raxx.market import calendar
from raxx.market.board import Board
from raxx.market.feeds.base import SteppedFeed
from raxx.market.feeds.replay import ReplayFeed
from raxx.market.feeds.simulated import SimulatedFeed
from raxx.market.sessions import Session


class Command(BaseCommand):
    help = (
        "Play a day: a session of orders goes through the same services as the API's, and everything that came of it "
        "is printed, each fill with its NBBO and its why. The same input gives the same digest."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--tape", nargs="+", metavar="PATH", help="recorded quotes; without, simulated ones"
        )
        parser.add_argument("--speed", default="max", help="tape seconds per second, or max (default)")
        parser.add_argument(
            "--seed", type=int, default=1, help="of the plan and of simulated quotes (default 1)"
        )
        parser.add_argument(
            "--cash", type=Decimal, default=Decimal("100000.00"), help="starting cash in dollars"
        )
        parser.add_argument("--minutes", type=int, default=15, help="length of a simulated day (default 15)")
        parser.add_argument("--json", action="store_true", help="the result as JSON on standard output")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Django's
        pace = speed(options["speed"])
        feed, days = (
            _replay(options["tape"]) if options["tape"] else _simulated(options["seed"], options["minutes"])
        )
        board = Board(valkey.shared(), feed.name)
        day = PaperDay(feed, options["cash"], board)
        started = time.monotonic()
        day.open(from_ns(days[0].open_ns))
        try:
            for session in days:
                self._play(day, session, options["seed"], pace)
            self._tell(day, days, options, time.monotonic() - started)
        finally:
            day.close()
            board.clear()

    def _play(self, day: PaperDay, session: Session, seed: int, pace: float | None) -> None:
        instruments = list(day.feed.instruments())
        day.advance(session.open_ns + (session.close_ns - session.open_ns) // 100)
        quotes = {i.symbol: q for i in instruments if (q := day.quote(i.symbol)) is not None}
        sent: dict[str, Order] = {}
        for step in demo.plan(session, demo.choose(instruments, quotes, session), seed=seed):
            if pace is not None:
                time.sleep(max(0, step.at_ns - day.engine.now_ns) / SECOND_NS / pace)
            day.advance(step.at_ns)
            match step:
                case demo.Send(symbol=symbol, make=make):
                    quote = day.quote(symbol)
                    ticket = make(quote) if quote else None
                    order = day.submit(ticket) if ticket else None
                    if order is not None:
                        sent[order.client_order_id] = order
                case demo.CancelOrder(client_order_id=name) if name in sent:
                    day.cancel(sent[name].pk)
                case demo.MoveLimit(client_order_id=name, symbol=symbol) if name in sent:
                    quote = day.quote(symbol)
                    if quote is not None and quote.bid and quote.ask:
                        middle = demo.middle(symbol, quote)
                        day.replace(sent[name], limit_price=middle, client_order_id=f"{name}-moved")
        day.advance(session.close_ns)

    # -- telling -----------------------------------------------------------------------------------

    def _tell(self, day: PaperDay, days: list[Session], options: dict[str, Any], seconds: float) -> None:
        ledger = selectors.ledger(day.account.id)
        summary = selectors.account_summary(day.account)
        orders = list(Order.objects.filter(account_id=day.account.id).order_by("number"))
        if options["json"]:
            self.stdout.write(json.dumps({
                "digest": digest(ledger), "feed": day.feed.name.rpartition("@")[0], "cash": str(ledger.cash),
                "orders": len(ledger.orders), "fills": len(ledger.fills), "denied": len(day.denials),
                "equity": None if summary.equity is None else str(summary.equity),
            }))  # fmt: skip
            return
        self._line("PAPER DAY — simulated money, real rules")
        self._line(f"Feed       {day.feed.name.rpartition('@')[0]}")
        for session in days:
            early = " (early close)" if session.early_close else ""
            self._line(
                f"Session    {show_exchange_moment(session.open_ns)} to {show_exchange_time(session.close_ns)}{early}"
            )
        self._line(f"Cash       ${options['cash']:,.2f} at the start")
        self._orders("FILLED", [o for o in orders if o.status == OrderStatus.FILLED], day)
        self._orders("NOT FILLED", [o for o in orders if o.status != OrderStatus.FILLED], day)
        if day.denials:
            self._line(f"\nDENIED ({len(day.denials)}) — nothing was stored")
            for denial in day.denials:
                self._line(
                    f"  {show_exchange_time(denial.at_ns)}  {denial.ticket.side} {denial.ticket.qty:f} {denial.ticket.symbol}"
                )
                self._line(f"      {denial.problem.code}: {denial.problem.message}")
        self._positions(summary)
        self._line(f"\nPlayed in {seconds:.1f} s")
        self._line(f"Digest of the ledger: {digest(ledger)}")

    def _orders(self, title: str, orders: list[Order], day: PaperDay) -> None:
        self._line(f"\n{title} ({len(orders)})")
        for order in orders:
            story = selectors.explanation(day.account, order.pk)
            self._line(f"  {order.client_order_id}: {story.headline}")
            for sentence in story.sentences:
                self._line(f"      {sentence}")

    def _positions(self, summary: selectors.AccountSummary) -> None:
        self._line(f"\nPOSITIONS ({len(summary.holdings)})")
        for holding in summary.holdings:
            row = holding.position
            mark = "—" if holding.mark is None else f"${holding.mark.normalize():f}"
            open_pl = "—" if holding.unrealized is None else f"{holding.unrealized:+,.2f}"
            average = row.cost / (row.qty * row.multiplier)
            self._line(
                f"  {row.symbol:<21} {row.qty.normalize():>10f} at ${average:,.4f} on average, mark {mark}, "
                f"open P&L {open_pl}, realized {row.realized:+,.2f}"
            )
        account = summary.account
        self._line("\nMONEY")
        self._line(
            f"  Cash {account.cash_balance:,.2f}, of which {account.cash_held:,.2f} held for open orders"
        )
        equity = "—" if summary.equity is None else f"{summary.equity:,.2f}"
        self._line(f"  Equity {equity}, realized P&L {summary.realized:+,.2f}")

    def _line(self, text: str) -> None:
        self.stdout.write(text)


def _replay(paths: list[str]) -> tuple[SteppedFeed, list[Session]]:
    """The tape, and the sessions that it has quotes in."""
    try:
        plain = ReplayFeed(paths)
    except RaxxError as problem:
        raise CommandError(str(problem)) from problem
    first, last = int(plain.tape.ts[0]), int(plain.tape.ts[-1])
    session = plain.sessions.current_or_next(first)
    days = []
    while session.open_ns <= last:
        days.append(session)
        session = plain.sessions.current_or_next(session.close_ns)
    if not days:
        raise CommandError("The tape has no quotes in a trading session.")
    return ReplayFeed(plain.tape, name=f"{plain.name}@{new_id().hex[-12:]}"), days


def _simulated(seed: int, minutes: int) -> tuple[SteppedFeed, list[Session]]:
    """The last minutes of a practice day, so that day orders are seen to expire."""
    if not 1 <= minutes <= 24 * 60:
        raise CommandError("--minutes is a whole number from 1 to 1440.")
    whole = calendar.always().current_or_next(clock.to_ns(_SIMULATED_DAY))
    session = Session(whole.date, whole.close_ns - minutes * 60 * SECOND_NS, whole.close_ns)
    feed = SimulatedFeed(seed=seed, start_ns=session.open_ns, name=f"simulated@{new_id().hex[-12:]}")
    return feed, [session]


_SIMULATED_DAY = clock.from_ns(1_781_190_000 * SECOND_NS)  # 2026-06-11, in the middle of a trading day
