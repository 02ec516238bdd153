"""A whole paper-trading day on recorded or simulated quotes, told in full."""

import argparse
import csv
import gzip
import json
import re
import tempfile
import textwrap
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mbt import demo, selectors
from mbt.engine.ledger import EventLine, digest
from mbt.engine.orders import OrderStatus
from mbt.management.commands.run_engine import speed
from mbt.models import Account, Order
from mbt.services.engine.paper_day import PaperDay
from mbt.services.events import schedule
from raxx.kernel import clock, valkey
from raxx.kernel.clock import SECOND_NS, from_ns, show_exchange_moment, show_exchange_time
from raxx.kernel.errors import RaxxError
from raxx.kernel.ids import new_id
from raxx.market import calendar
from raxx.market.board import Board
from raxx.market.feeds.base import SteppedFeed
from raxx.market.feeds.replay import ReplayFeed
from raxx.market.feeds.simulated import SimulatedFeed
from raxx.market.feeds.tape import read_tape
from raxx.market.sessions import Session

WIDTH = 110
# What the simulated day trades: a fund with a condor's worth of strikes, and a stock of which lots can be paid for.
SIMULATED_SYMBOLS = ("SPY", "BAC")
_SIMULATED_DAY = clock.from_ns(1_781_276_400 * SECOND_NS)  # Friday, 2026-06-12: its weeklies expire
_HAPPENINGS = {
    "fee": "fees",
    "interest": "interest",
    "dividend": "dividend",
    "corporate_action": "corporate action",
}


class Command(BaseCommand):
    help = (
        "Play a day of an options-income account: a session of orders goes through the same services as the API's, "
        "options expire, fees are charged, and everything that came of it is printed, each fill with its NBBO and its "
        "why. The same input gives the same digest."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--tape", nargs="+", metavar="PATH", help="recorded quotes; without, simulated ones"
        )
        parser.add_argument(
            "--index", nargs="+", metavar="PATH", default=[],
            help="recorded one-minute bars of indexes, taken for quotes at their close",
        )  # fmt: skip
        parser.add_argument(
            "--price", nargs="+", metavar="SYMBOL=DOLLARS", default=[],
            help="official closing prices that settle what expires (GOOG=748.40); without, the middle of the last NBBO",
        )  # fmt: skip
        parser.add_argument("--speed", default="max", help="tape seconds per second, or max (default)")
        parser.add_argument(
            "--seed", type=int, default=1, help="of the plan and of simulated quotes (default 1)"
        )
        parser.add_argument(
            "--cash", type=Decimal, default=Decimal("100000.00"), help="starting cash in dollars"
        )
        parser.add_argument(
            "--minutes",
            type=int,
            default=90,
            help="how much of a simulated day before its close (default 90)",
        )
        parser.add_argument("--json", action="store_true", help="the result as JSON on standard output")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Django's
        pace = speed(options["speed"])
        prices = _prices(options["price"])
        feed, days = (
            _replay(options["tape"], options["index"])
            if options["tape"]
            else _simulated(options["seed"], options["minutes"])
        )
        board = Board(valkey.shared(), feed.name)
        day = PaperDay(feed, options["cash"], board, account_type=Account.Type.MARGIN)
        started = time.monotonic()
        day.open(from_ns(days[0].open_ns))
        try:
            for session in days:
                for symbol, price in prices.items():
                    day.official_price(symbol, session.close_ns, price)
                prefix = "" if session is days[0] else f"d{session.date:%m%d}-"
                self._play(day, session, options, pace, prefix)
            self._tell(day, days, options, time.monotonic() - started)
        finally:
            day.close()
            board.clear()

    def _play(
        self, day: PaperDay, session: Session, options: dict[str, Any], pace: float | None, prefix: str
    ) -> None:
        instruments = list(day.feed.instruments())
        day.advance(session.open_ns + (session.close_ns - session.open_ns) // 100)
        quotes = day.quotes(instrument.symbol for instrument in instruments)
        sent: dict[str, Order] = {}
        for step in demo.plan(
            session, instruments, quotes, cash=options["cash"], seed=options["seed"], prefix=prefix
        ):
            if pace is not None:
                time.sleep(max(0, step.at_ns - day.engine.now_ns) / SECOND_NS / pace)
            day.advance(step.at_ns)
            match step:
                case demo.Send(symbols=symbols, make=make):
                    now = day.quotes(symbols)
                    ticket = make(now) if len(now) == len(symbols) else None
                    order = day.submit(ticket) if ticket else None
                    if order is not None:
                        sent[order.client_order_id] = order
                case demo.CancelOrder(client_order_id=name) if name in sent:
                    day.cancel(sent[name].pk)
                case demo.MoveLimit(client_order_id=name, symbols=symbols, price=price) if name in sent:
                    now = day.quotes(symbols)
                    limit = price(now) if len(now) == len(symbols) else None
                    if limit is not None:
                        day.replace(sent[name], limit_price=limit, client_order_id=f"{name}-moved")
        day.advance(session.close_ns)
        # What trades longer than stocks do, assignments and fees still come; nothing of this plan trades any more.
        day.pass_quietly(schedule.last_moment_ns(session))

    # -- telling -----------------------------------------------------------------------------------

    def _tell(self, day: PaperDay, days: list[Session], options: dict[str, Any], seconds: float) -> None:
        ledger = selectors.ledger(day.account.id)
        summary = selectors.account_summary(day.account)
        orders = list(Order.objects.filter(account_id=day.account.id).order_by("number"))
        if options["json"]:
            self.stdout.write(json.dumps({
                "digest": digest(ledger), "feed": day.feed.name.rpartition("@")[0], "cash": str(ledger.cash),
                "orders": len(ledger.orders), "fills": len(ledger.fills), "denied": len(day.denials),
                "events": len(ledger.events), "equity": None if summary.equity is None else str(summary.equity),
            }))  # fmt: skip
            return
        self._line("PAPER DAY — simulated money, real rules")
        self._line(f"Feed       {day.feed.name.rpartition('@')[0]}")
        for session in days:
            early = " (early close)" if session.early_close else ""
            self._line(
                f"Session    {show_exchange_moment(session.open_ns)} to {show_exchange_time(session.close_ns)}{early}"
            )
        self._line(f"Account    margin, ${options['cash']:,.2f} at the start")
        self._orders("FILLED", [o for o in orders if o.status == OrderStatus.FILLED], day)
        self._orders("NOT FILLED", [o for o in orders if o.status != OrderStatus.FILLED], day)
        show = show_exchange_time if len(days) == 1 else show_exchange_moment
        self._denied(day, show)
        self._happened(ledger.events, show)
        self._positions(summary)
        self._line(f"\nPlayed in {seconds:.1f} s")
        self._line(f"Digest of the ledger: {digest(ledger)}")

    def _orders(self, title: str, orders: list[Order], day: PaperDay) -> None:
        self._line(f"\n{title} ({len(orders)})")
        for order in orders:
            story = selectors.explanation(day.account, order.pk)
            self._text(f"{order.client_order_id}: {story.headline}", "  ", "    ")
            for sentence in story.sentences:
                self._text(sentence, "      ")

    def _denied(self, day: PaperDay, show: Callable[[int], str]) -> None:
        if not day.denials:
            return
        self._line(f"\nDENIED ({len(day.denials)}) — nothing was stored")
        for denial in day.denials:
            ticket = denial.ticket
            asked = selectors.structure_of(ticket) or f"{ticket.side} {ticket.qty:f} {ticket.symbol}"
            self._text(f"{show(denial.at_ns)}  {ticket.client_order_id}: {asked}", "  ", "    ")
            self._text(f"{denial.problem.code}: {denial.problem.message}", "      ")

    def _happened(self, events: list[EventLine], show: Callable[[int], str]) -> None:
        """What no order did: expirations, exercise and assignment, fees."""
        if not events:
            return
        self._line(f"\nWHAT THE DAY BROUGHT BY ITSELF ({len(events)})")
        for line in events:
            qty = "" if line.qty is None else f"{'+' if line.side == 'buy' else '-'}{line.qty.normalize():f} "
            kind = _HAPPENINGS.get(line.type, line.type)
            what = f"{qty}{line.symbol}".strip()
            money = f", {line.amount:+,.2f}" if line.amount else ""
            earned = (
                f", realized {line.realized:+,.2f}" if line.realized and line.realized != line.amount else ""
            )
            head = f"{show(line.occurred_ns)}  {kind}{': ' if what else ''}{what}{money}{earned}"
            self._text(head, "  ", "    ")
            if line.note:
                self._text(line.note[0].upper() + line.note[1:].rstrip(".") + ".", "      ")

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

    def _text(self, text: str, first: str, rest: str | None = None) -> None:
        """A paragraph of at most so many characters a line."""
        self.stdout.write(textwrap.fill(
            text, WIDTH, initial_indent=first, subsequent_indent=first if rest is None else rest,
            break_long_words=False, break_on_hyphens=False,
        ))  # fmt: skip

    def _line(self, text: str) -> None:
        self.stdout.write(text)


def _prices(given: list[str]) -> dict[str, Decimal]:
    """`GOOG=748.40`. Raises CommandError."""
    found = {}
    for text in given:
        named = re.fullmatch(r"([A-Z.]{1,8})=(\d{1,7}(?:\.\d{1,4})?)", text, re.ASCII)
        if named is None or not Decimal(named[2]):
            raise CommandError(f"--price is like GOOG=748.40, not {text!r}.")
        found[named[1]] = Decimal(named[2])
    return found


def _replay(paths: list[str], indexes: list[str]) -> tuple[SteppedFeed, list[Session]]:
    """The tape, and the sessions that it has quotes in."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            bars = [str(_index_quotes(Path(path), Path(folder))) for path in indexes]
            plain = ReplayFeed(read_tape([*bars, *paths]))
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


def _index_quotes(path: Path, folder: Path) -> Path:
    """Bars of an index as quotes: its value at the end of each minute, on both sides. Raises CommandError."""
    lines = ["ts_ns_utc,symbol,bid,bid_size,ask,ask_size"]
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as bars:
            for row in csv.DictReader(bars):
                lines.append(f"{row['ts_end_ns_utc']},{row['symbol']},{row['close']},1,{row['close']},1")
    except (OSError, KeyError) as problem:
        raise CommandError(f"--index {path} cannot be read: {problem}.") from problem
    made = folder / f"quotes_{path.name.removesuffix('.gz').removesuffix('.csv')}.csv"
    made.write_text("\n".join(lines) + "\n")
    return made


def _simulated(seed: int, minutes: int) -> tuple[SteppedFeed, list[Session]]:
    """The last minutes of a Friday on the practice market, with the hours of New York, so that its weeklies expire."""
    if not 1 <= minutes <= 390:
        raise CommandError("--minutes is a whole number from 1 to 390.")
    whole = calendar.xnys().current_or_next(clock.to_ns(_SIMULATED_DAY))
    session = Session(
        date=whole.date, open_ns=whole.close_ns - minutes * 60 * SECOND_NS, close_ns=whole.close_ns,
        late_close_ns=whole.late_close_ns, extended_open_ns=whole.extended_open_ns, extended_close_ns=whole.extended_close_ns,
    )  # fmt: skip
    feed = SimulatedFeed(
        seed=seed, start_ns=session.open_ns, name=f"replay:practice-{seed}@{new_id().hex[-12:]}", sessions=calendar.xnys(),
        symbols=SIMULATED_SYMBOLS,
    )  # fmt: skip
    return feed, [session]
