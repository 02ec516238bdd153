"""The one price of an underlying at a close or an open, which everything is settled on."""

from decimal import Decimal

from django.db import transaction

from audit import log as audit
from audit import pseudonym
from mbt import events
from mbt.models import SettlementPrice
from mbt.selectors.markets import QuoteOf, middle
from mbt.services.events import store
from raxx.kernel.clock import from_ns
from raxx.kernel.money import from_ticks
from raxx.market.sessions import Sessions


@transaction.atomic
def record_price(
    *, feed: str, symbol: str, at_ns: int, price: Decimal, source: str, actor: str = pseudonym.ENGINE
) -> bool:
    """Record the one price of an underlying at a close or an open. Whether it is new: the first one stays."""
    row, created = SettlementPrice.objects.get_or_create(
        feed=feed, symbol=symbol, at=from_ns(at_ns), defaults={"price": price, "source": source}
    )
    if created:
        audit.record(
            events.SETTLEMENT_PRICE_RECORDED,
            actor=actor,
            object_type="mbt.settlement_price",
            object_id=row.pk,
            at=row.at,
            changes={"feed": feed, "symbol": symbol, "price": price, "source": source},
        )
    return created


def record_middles(*, feed: str, sessions: Sessions, at_ns: int, at_close: bool, quote_of: QuoteOf) -> None:
    """At an open or a close: record the middle of the NBBO in force of everything that options held here are settled
    on then, and at a close of what the others follow, where no official price is known."""
    held = store.options_held(feed)
    terms = store.held_terms(feed, held, sessions)
    wanted = set()
    for contract in terms.values():
        if contract.price_ns == at_ns or (at_close and contract.price_ns > at_ns):
            wanted.update(store.settles_on(contract))
    for symbol in sorted(wanted):
        ticks = middle(quote_of(symbol))
        if ticks:
            record_price(
                feed=feed,
                symbol=symbol,
                at_ns=at_ns,
                price=from_ticks(ticks),
                source=SettlementPrice.Source.MIDDLE,
            )
