"""Halts as a feed tells them: recorded, so that they survive a restart and every explanation can name them."""

from django.db import transaction
from django.db.models import Q

from audit import log as audit
from audit import pseudonym
from mbt import events
from mbt.models import Halt
from raxx.kernel.clock import SECOND_NS, from_ns
from raxx.market.status import Reason, TradingStatus

# A quote from before the end of a halt fills nothing, so an engine that begins needs those just over as well.
_REMEMBERED_NS = 86_400 * SECOND_NS


@transaction.atomic
def record(feed: str, status: TradingStatus) -> None:
    """Record that a halt began, or that one is over. Saying it again changes nothing."""
    if status.reason is not None:
        row, created = Halt.objects.get_or_create(
            feed=feed, symbol=status.symbol, from_ns=status.ts,
            defaults={"until_ns": status.until_ns, "reason": status.reason},
        )  # fmt: skip
        if created:
            _note(row, status.ts)
        return
    rows = Halt.objects.select_for_update().filter(feed=feed, symbol=status.symbol, from_ns__lte=status.ts)
    for row in rows.filter(Q(until_ns__isnull=True) | Q(until_ns__gt=status.ts)):
        row.until_ns = status.ts
        row.save(update_fields=["until_ns"])
        _note(row, status.ts)


def _note(row: Halt, at_ns: int) -> None:
    audit.record(
        events.HALT_RECORDED, actor=pseudonym.ENGINE, object_type="mbt.halt", object_id=row.pk, at=from_ns(at_ns),
        changes={"feed": row.feed, "symbol": row.symbol, "from_ns": row.from_ns, "until_ns": row.until_ns},
        reason=row.reason,
    )  # fmt: skip


def known_at(feed: str, at_ns: int) -> list[TradingStatus]:
    """The halts in force at an instant and those of the day before it, in the order in which they began."""
    rows = Halt.objects.filter(feed=feed, from_ns__lte=at_ns)
    rows = rows.filter(Q(until_ns__isnull=True) | Q(until_ns__gt=at_ns - _REMEMBERED_NS))
    return [_status(row) for row in rows.order_by("from_ns")]


def _status(row: Halt) -> TradingStatus:
    return TradingStatus(row.symbol, row.from_ns, Reason(row.reason), row.until_ns)
