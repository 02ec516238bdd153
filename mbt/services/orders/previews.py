"""What would become of an order: what it needs and leaves, the fees to expect, and what its sender should know first.

`orders.preview` judges it; here the rest is added. Nothing is stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from mbt import selectors
from mbt.engine import cost, daytrades, fees, halts, settlement
from mbt.engine.daytrades import LEGACY
from mbt.engine.orders import Side
from mbt.engine.tickets import Ticket
from mbt.models import Account
from mbt.selectors import AccountRef
from mbt.services import orders
from mbt.services.orders import Preview, Quotes
from mbt.services.restrictions import day_trading, settling
from raxx.kernel.clock import exchange_date, show_exchange_moment
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import from_ticks, to_cents, to_ticks
from raxx.market import calendar
from raxx.market.contracts import Instrument, parse_symbol
from raxx.market.listing import instrument_of
from raxx.market.status import TradingStatus


@dataclass(frozen=True, slots=True)
class ExpectedFee:
    """One fee of a fill at the price that is expected now, in dollars, and how it comes about."""

    name: str
    amount: Decimal
    how: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that does not stop the order."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Previewed:
    """`fees` is None where no quote gives a price to expect."""

    judged: Preview
    fees: tuple[ExpectedFee, ...] | None
    warnings: tuple[Warned, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """What the order would trade of one instrument: signed quantity, and the price to expect in dollars."""

    instrument: Instrument
    qty: Decimal
    price: Decimal

    @property
    def cash(self) -> Decimal:
        return -to_cents(self.qty * self.price * self.instrument.multiplier)


def preview(
    *, account: AccountRef, ticket: Ticket, now_ns: int, quotes: Quotes, halted: Sequence[TradingStatus] = ()
) -> Previewed:
    """Judge a ticket and tell what there is to tell. Raises InvalidInput for what is no order."""
    judged = orders.preview(account=account, ticket=ticket, now_ns=now_ns, quotes=quotes)
    row = Account.objects.get(pk=account.id)
    try:
        qty = cost.quantity(ticket, quotes)
    except RaxxError:
        qty = None
    adjusted = selectors.adjusted_classes(account.feed, ticket.symbols)
    instruments = [instrument_of(symbol, adjusted) for symbol in ticket.symbols]
    parts = None if qty is None else _expected(ticket, instruments, quotes, qty)
    warnings = [
        *_of_market(ticket, account.feed, now_ns, quotes, halted),
        *(
            _of_day_trades(row, ticket, now_ns, qty)
            if account.is_margin
            else _of_settlement(row, parts, now_ns)
        ),
    ]
    return Previewed(judged, None if parts is None else _fees(row, parts, now_ns), tuple(warnings))


def _expected(
    ticket: Ticket, instruments: Sequence[Instrument], quotes: Quotes, qty: Decimal
) -> list[_Part] | None:
    """At the touch, or at a limit that the market is not at. None where a quote is missing."""
    found = []
    for trade in cost.trades(ticket, instruments, qty):
        quote = quotes.get(trade.instrument.symbol)
        near = (quote.ask if trade.qty > 0 else quote.bid) if quote else 0
        price = from_ticks(near) if near else None
        if ticket.limit_price is not None and not ticket.legs:
            sign = 1 if ticket.side is Side.BUY else -1
            if price is None or sign * (price - ticket.limit_price) > 0:
                price = ticket.limit_price
        if price is None:
            return None
        found.append(_Part(trade.instrument, trade.qty, price))
    return found


def _fees(row: Account, parts: Sequence[_Part], now_ns: int) -> tuple[ExpectedFee, ...]:
    schedule = fees.SCHEDULES[row.fee_schedule]
    items = [
        item
        for part in parts
        for item in fees.of_fill(
            order_id="preview", instrument=part.instrument, side=Side.BUY if part.qty > 0 else Side.SELL,
            qty=abs(part.qty), price=to_ticks(part.price), day=exchange_date(now_ns), schedule=schedule,
        )
    ]  # fmt: skip
    found = []
    for fee in fees.Fee:
        for posting in fees.charge(item for item in items if item.fee is fee):
            found.append(ExpectedFee(fee, -posting.cash, posting.note))
    return tuple(found)


# -- what its sender should know -----------------------------------------------------------------------


def _of_market(
    ticket: Ticket, feed: str, now_ns: int, quotes: Quotes, halted: Sequence[TradingStatus]
) -> list[Warned]:
    found = []
    for symbol in ticket.symbols:
        halt = halts.in_force(parse_symbol(symbol), halted, now_ns)
        if halt is not None:
            found.append(
                Warned(
                    "HALTED",
                    f"{halts.sentence(halt, now_ns=now_ns)} The order would wait, or end if it may not.",
                )
            )
            break
    session = calendar.of_feed(feed).current_or_next(now_ns)
    if not session.is_open(now_ns) and not ticket.extended_hours:
        opens = show_exchange_moment(session.open_ns)
        found.append(Warned("MARKET_CLOSED", f"The market is closed. The order would act after {opens}."))
    missing = [
        symbol for symbol in ticket.symbols if not (quote := quotes.get(symbol)) or not quote.bid or not quote.ask
    ]  # fmt: skip
    if missing:
        found.append(
            Warned(
                "NO_TWO_SIDED_QUOTE",
                f"{', '.join(missing)} has no two-sided quote now; only one can fill it.",
            )
        )
    return found


def _of_settlement(row: Account, parts: Sequence[_Part] | None, now_ns: int) -> list[Warned]:
    today = exchange_date(now_ns)
    trades = [
        settlement.Trade(
            fill_id="preview", order_id="preview", symbol=part.instrument.symbol, qty=part.qty, cash=part.cash, day=today,
            asset_class=part.instrument.asset_class,
        )
        for part in parts or ()
    ]  # fmt: skip
    outlook = settling.outlook(row, trades)
    found = [
        Warned("GOOD_FAITH_VIOLATION", f"Filled now it would be a {_NAMES[each.breach]}. {each.message} {each.remedy}")
        for each in outlook.violations
    ]  # fmt: skip
    if outlook.unsettled:
        due = ", ".join(f"${amount:,.2f} that settles on {day}" for day, amount in outlook.unsettled)
        until = max(day for day, _ in outlook.unsettled)
        found.append(Warned(
            "UNSETTLED_FUNDS",
            f"It would be paid with {due}. Sold before {until}, what it buys would be a good-faith violation.",
        ))  # fmt: skip
    return found


_NAMES = {
    settlement.Breach.GOOD_FAITH: "good-faith violation",
    settlement.Breach.FREE_RIDING: "free ride",
}


def _of_day_trades(row: Account, ticket: Ticket, now_ns: int, qty: Decimal | None) -> list[Warned]:
    today = exchange_date(now_ns)
    if qty is None or day_trading.regime_on(today, row.day_trade_rules) is not daytrades.Model.LEGACY_PDT:
        return []
    limit = day_trading.now(row, now_ns)
    if not limit.adds(cost.trades(ticket, [parse_symbol(symbol) for symbol in ticket.symbols], qty)):
        return []
    number = sum(day.day_trades for day in limit.so_far) + 1
    return [Warned(
        "DAY_TRADE",
        f"Filled now it would be day trade {number} of the last {LEGACY.window} sessions; {LEGACY.day_trades} that are more"
        f" than {LEGACY.share * 100:.0f} % of the trades make a pattern day trader, who needs ${LEGACY.minimum_equity:,}.",
    )]  # fmt: skip
