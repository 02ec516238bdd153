"""Replacing an open order, also one that is filled in part: what the order in its place is for. Pure.

A quantity that is asked for counts what has filled already; the new order is for the rest. The old one keeps its fills.
"""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from mbt.engine import tickets
from mbt.engine.intake import Draft
from mbt.engine.tickets import Ticket
from raxx.kernel.errors import InvalidInput

ZERO = Decimal(0)


def ticket_for(before: Ticket, changes: Mapping[str, Decimal], *, filled: Decimal, name: str) -> Ticket:
    """The ticket of the order that comes in the place of the one that `before` made, of which `filled` has filled.
    `changes` are its fields, in dollars; a `qty` is the whole quantity."""
    changed = msgspec.structs.replace(before, client_order_id=name, **changes)
    return changed if changed.qty is None else msgspec.structs.replace(changed, qty=changed.qty - filled)


def check(before: Ticket, after: Ticket, *, filled: Decimal, is_exit: bool) -> None:
    """Raises InvalidInput for a replacement that makes no sense. `after`: of `ticket_for`."""
    left = None if before.qty is None else before.qty - filled
    if tickets.fingerprint(after) == tickets.fingerprint(msgspec.structs.replace(before, qty=left)):
        raise InvalidInput(
            field="(body)",
            rule="must change something",
            value="nothing changed",
            remedy="Send what should change.",
        )
    if after.qty is None or after.qty == left:
        return
    asked = after.qty + filled
    if is_exit:
        raise InvalidInput(
            field="qty", rule="exits share the quantity of their entry or their sibling", value=f"{asked.normalize():f}",
            remedy="Cancel them and send new ones.",
        )  # fmt: skip
    if after.qty <= 0 < filled:
        raise InvalidInput(
            field="qty", rule="the whole quantity exceeds what has filled already", value=f"{asked.normalize():f}",
            remedy=f"Send more than {filled.normalize():f}, or cancel the order.",
        )  # fmt: skip


def at_work(exit_leaves: Decimal, entry_leaves: Decimal) -> Decimal:
    """For how much of what its entry has bought an exit works: what it is for, less what is still to be bought."""
    return max(exit_leaves - entry_leaves, ZERO)


def taken_over(draft: Draft, *, qty: Decimal, cash: Decimal, positions: Mapping[str, Decimal]) -> Draft:
    """An exit of the new entry, which also works for the `qty` that the one before it was at work for, with what that
    one reserved for it."""
    if not qty:
        return draft
    return msgspec.structs.replace(
        draft,
        qty=draft.qty + qty,
        is_held=False,
        cash_hold=cash,
        position_holds=dict(positions),
        arrives_ns=0,
    )
