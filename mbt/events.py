"""What paper trading writes into the audit record."""

from audit.events import EventType
from audit.events import register as register_types

ACCOUNT_OPENED = "mbt.account.opened"
ORDER_ACCEPTED = "mbt.order.accepted"
ORDER_DENIED = "mbt.order.denied"
ORDER_ACTIVATED = "mbt.order.activated"
ORDER_RESIZED = "mbt.order.resized"
ORDER_TRIGGERED = "mbt.order.triggered"
ORDER_WORKING = "mbt.order.working"
ORDER_FILLED = "mbt.order.filled"
ORDER_CANCELED = "mbt.order.canceled"
ORDER_EXPIRED = "mbt.order.expired"
ORDER_REJECTED = "mbt.order.rejected"
ORDER_REPLACED = "mbt.order.replaced"

# The outbox topic under which every change of an order is announced; the engine listens to it.
ORDERS_TOPIC = "mbt.orders"


def register() -> None:
    register_types(
        EventType(ACCOUNT_OPENED, "7y", "A paper account was opened and given its starting cash."),
        EventType(ORDER_ACCEPTED, "7y", "An order was checked, its cost was held, and it was taken."),
        EventType(ORDER_DENIED, "2y", "An order was refused; nothing else was stored."),
        EventType(ORDER_ACTIVATED, "7y", "A fill of its entry let an exit work."),
        EventType(ORDER_RESIZED, "7y", "A fill of its entry or sibling changed the quantity of an exit."),
        EventType(ORDER_TRIGGERED, "7y", "A quote reached the stop of an order."),
        EventType(ORDER_WORKING, "7y", "An order met its first usable quote and rests in the book."),
        EventType(ORDER_FILLED, "7y", "An order was filled: cash, position and history changed with it."),
        EventType(ORDER_CANCELED, "7y", "An order was canceled by its owner or by its own terms."),
        EventType(ORDER_EXPIRED, "7y", "An order reached the end of its time in force."),
        EventType(ORDER_REJECTED, "7y", "A fill could not be booked, so the order ended."),
        EventType(ORDER_REPLACED, "7y", "An order was replaced by another with changed terms."),
    )
