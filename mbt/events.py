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
RISK_CLOSED = "mbt.order.risk_closed"
OPTION_SETTLED = "mbt.option.settled"
OPTION_ASSIGNED_EARLY = "mbt.option.assigned_early"
ACCOUNT_DEFICIT = "mbt.account.deficit"
FEES_CHARGED = "mbt.account.fees_charged"
DIVIDEND_PAID = "mbt.account.dividend_paid"
SETTLEMENT_PRICE_RECORDED = "mbt.settlement_price.recorded"

# The outbox topic under which every change of an order is announced; the engine listens to it.
ORDERS_TOPIC = "mbt.orders"
# Under this one everything else that changes an account: expirations, assignments, fees, dividends.
ACCOUNTS_TOPIC = "mbt.accounts"


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
        EventType(
            RISK_CLOSED, "7y", "The engine sent an order, to close what could not be paid for at expiration."
        ),
        EventType(
            OPTION_SETTLED, "7y", "A contract expired: exercised, assigned, settled in cash, or worthless."
        ),
        EventType(OPTION_ASSIGNED_EARLY, "7y", "A short contract was assigned before it expired."),
        EventType(ACCOUNT_DEFICIT, "7y", "An assignment took more than the account had."),
        EventType(FEES_CHARGED, "7y", "The fees of a trade date were charged."),
        EventType(DIVIDEND_PAID, "7y", "A dividend was paid, to the account or by it."),
        EventType(
            SETTLEMENT_PRICE_RECORDED,
            "7y",
            "The price that settles the options of an underlying was recorded.",
        ),
    )
