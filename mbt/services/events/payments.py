"""Fees of a day's fills, and dividends."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import structlog

from mbt import events
from mbt.engine import account as engine
from mbt.engine import corporate, fees
from mbt.engine.corporate import CashDividend
from mbt.engine.orders import Side
from mbt.models import Fill
from mbt.services.events import store
from mbt.services.events.applying import Decided, Effects, Record, apply_event
from mbt.services.events.store import State
from raxx.kernel.clock import EXCHANGE_ZONE
from raxx.kernel.money import to_ticks
from raxx.market.listing import instrument_of

log = structlog.get_logger(__name__)


def charge_fees(*, feed: str, day: date, at_ns: int) -> Effects:
    """Charge each account of the feed the fees of its fills on trade date `day`, by its own schedule."""
    effects = Effects()
    start = _midnight(day)
    for account_id, rows in store.fills_between(feed, start, _midnight(day + timedelta(days=1))).items():

        def decide(state: State, rows: Sequence[Fill] = rows) -> Decided:
            schedule = fees.SCHEDULES[state.account.fee_schedule]
            items = [
                item
                for row in rows
                for item in fees.of_fill(
                    order_id=str(row.order_id), instrument=instrument_of(row.symbol, state.adjusted), side=Side(row.side), qty=row.qty,
                    price=to_ticks(row.price), day=day, schedule=schedule,
                )
            ]  # fmt: skip
            postings = fees.charge(items)
            total = -sum((posting.cash for posting in postings), Decimal(0))
            changes = {"day": day.isoformat(), "amount": total, "schedule": state.account.fee_schedule}
            return Decided(postings=postings, records=[Record(events.FEES_CHARGED, changes)])

        effects.add(apply_event(account_id, name=f"fees:{day}", at_ns=at_ns, decide=decide))
    return effects


def credit_dividends(
    *, feed: str, after: date, day: date, at_ns: int, dividends: Iterable[CashDividend]
) -> Effects:
    """Pay the dividends whose pay date lies after `after` and not after `day`, to and by who held before the
    ex-date."""
    effects = Effects()
    for event in sorted(dividends, key=lambda each: (each.ex_date, each.symbol, each.amount)):
        if not after < (event.pay_date or event.ex_date) <= day:
            continue
        for account_id, qty in store.held_before(feed, event.symbol, _midnight(event.ex_date)).items():

            def decide(state: State, event: CashDividend = event, qty: Decimal = qty) -> Decided:
                owed = corporate.entitlement(event, {event.symbol: engine.Position(qty)})
                if owed is None or not owed.amount:
                    return Decided()
                changes = {
                    "symbol": event.symbol,
                    "ex_date": event.ex_date.isoformat(),
                    "amount": owed.amount,
                }
                return Decided(
                    postings=[corporate.pay(owed)], records=[Record(events.DIVIDEND_PAID, changes)]
                )

            name = f"dividend:{event.symbol}:{event.ex_date}:{event.amount.normalize():f}:{event.special}"
            effects.add(apply_event(account_id, name=name, at_ns=at_ns, decide=decide))
    return effects


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), EXCHANGE_ZONE)
