"""What paper trading writes into the audit record."""

from audit.events import EventType
from audit.events import register as register_types

ACCOUNT_OPENED = "mbt.account.opened"
ACCOUNT_REMOVED = "mbt.account.removed"
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
ORDER_ADJUSTED = "mbt.order.adjusted"
RISK_CLOSED = "mbt.order.risk_closed"
OPTION_SETTLED = "mbt.option.settled"
OPTION_ASSIGNED_EARLY = "mbt.option.assigned_early"
ACCOUNT_DEFICIT = "mbt.account.deficit"
ACCOUNT_VIOLATION = "mbt.account.violation"
ACCOUNT_RESTRICTED = "mbt.account.restricted"
ACCOUNT_PATTERN = "mbt.account.pattern_day_trader"
ACCOUNT_CLOSED_DAY = "mbt.account.closed_day"
HALT_RECORDED = "mbt.halt.recorded"
ACCOUNT_APPROVED = "mbt.account.approved"
ACCOUNT_SETTINGS = "mbt.account.settings_changed"
ACCOUNT_SET_ASIDE = "mbt.account.set_aside"
ACCOUNT_TAKEN_BACK = "mbt.account.taken_back"
FEES_CHARGED = "mbt.account.fees_charged"
DIVIDEND_PAID = "mbt.account.dividend_paid"
INTEREST_POSTED = "mbt.account.interest_posted"
CORPORATE_ACTION_APPLIED = "mbt.account.corporate_action"
CLASSES_ADJUSTED = "mbt.corporate_action.applied"
OPTION_EXERCISED = "mbt.option.exercised"
INSTRUCTION_GIVEN = "mbt.option.instruction_given"
INSTRUCTION_WITHDRAWN = "mbt.option.instruction_withdrawn"
INSTRUCTION_DENIED = "mbt.option.instruction_denied"
SETTLEMENT_PRICE_RECORDED = "mbt.settlement_price.recorded"

# The outbox topic under which every change of an order is announced; the engine listens to it.
ORDERS_TOPIC = "mbt.orders"
# Under this one everything else that changes an account: expirations, assignments, fees, dividends.
ACCOUNTS_TOPIC = "mbt.accounts"


def register() -> None:
    register_types(
        EventType(ACCOUNT_OPENED, "7y", "A paper account was opened and given its starting cash."),
        EventType(ACCOUNT_REMOVED, "2y", "The account of a played day was removed with all that it had."),
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
        EventType(ORDER_ADJUSTED, "7y", "A dividend lowered the price of an open order."),
        EventType(
            RISK_CLOSED, "7y", "The engine sent an order, to close what could not be paid for at expiration."
        ),
        EventType(
            OPTION_SETTLED, "7y", "A contract expired: exercised, assigned, settled in cash, or worthless."
        ),
        EventType(OPTION_ASSIGNED_EARLY, "7y", "A short contract was assigned before it expired."),
        EventType(ACCOUNT_DEFICIT, "7y", "An assignment took more than the account had."),
        EventType(ACCOUNT_VIOLATION, "7y", "A cash account sold too early what it had bought."),
        EventType(ACCOUNT_RESTRICTED, "7y", "Violations restricted an account to settled cash."),
        EventType(ACCOUNT_PATTERN, "7y", "Day trades made an account a pattern day trader's."),
        EventType(ACCOUNT_CLOSED_DAY, "2y", "What a margin account was worth at a close was kept."),
        EventType(HALT_RECORDED, "7y", "A feed said that something is halted, or trades again."),
        EventType(
            ACCOUNT_APPROVED, "7y", "The option level or the flag for naked shorts of an account was set."
        ),
        EventType(ACCOUNT_SETTINGS, "7y", "The owner of an account changed its settings."),
        EventType(
            ACCOUNT_SET_ASIDE,
            "7y",
            "Something of an account could not be recorded: it was halted, its orders wait.",
        ),
        EventType(ACCOUNT_TAKEN_BACK, "7y", "An account that was set aside had been released, and goes on."),
        EventType(FEES_CHARGED, "7y", "The fees of a trade date were charged."),
        EventType(DIVIDEND_PAID, "7y", "A dividend was paid, to the account or by it."),
        EventType(INTEREST_POSTED, "7y", "A month's interest and borrow fees were posted."),
        EventType(
            CORPORATE_ACTION_APPLIED, "7y", "A corporate action changed positions or orders of an account."
        ),
        EventType(
            CLASSES_ADJUSTED, "7y", "A corporate action took effect on a feed, and changed its contracts."
        ),
        EventType(OPTION_EXERCISED, "7y", "The holder of a contract exercised it before its end."),
        EventType(INSTRUCTION_GIVEN, "7y", "A holder said what should become of a contract at its end."),
        EventType(INSTRUCTION_WITHDRAWN, "7y", "A holder took such an instruction back."),
        EventType(INSTRUCTION_DENIED, "2y", "An exercise or an instruction was refused; nothing was stored."),
        EventType(
            SETTLEMENT_PRICE_RECORDED,
            "7y",
            "The price that settles the options of an underlying was recorded.",
        ),
    )
