"""What the native API takes."""

import re
from decimal import Decimal
from enum import StrEnum

from mbt.engine.orders import OrderType, Side, TimeInForce
from mbt.engine.tickets import Ticket
from mbt.models import QTY_MAX, Activity
from raxx.kernel.api import schema
from raxx.kernel.api.fields import Choice, Form, Instant, Number, Text
from raxx.kernel.api.pagination import PAGE_FIELDS
from raxx.kernel.ids import new_id
from raxx.market.contracts import parse_symbol


class Openness(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    ALL = "all"


class ActivityKind(StrEnum):
    FILL = Activity.Type.FILL.value
    ADJUSTMENT = Activity.Type.ADJUSTMENT.value


_SYMBOL = Text(
    doc="Ticker, or an option's OSI symbol",
    pattern=re.compile(r"[A-Z0-9. ]{1,21}", re.ASCII),
    rule="must be a ticker or an OSI option symbol in capitals",
    example="SPY",
    required=True,
)
_QTY = Number(
    doc="Shares or contracts; fractions of a share only as market day orders",
    places=9,
    maximum=Decimal(QTY_MAX - 1),
    unit="shares or contracts",
)
_LIMIT = Number(doc="Limit price, for limit orders", places=4, maximum=Decimal(10_000_000), unit="dollars")
_CLIENT_ORDER_ID = Text(
    doc="Your own name for the order, unique for ever; made up when absent. Sending the same order again is safe.",
    pattern=re.compile(r"[A-Za-z0-9_.:\-]{1,128}", re.ASCII),
    rule="must have 1 to 128 of the characters A-Z a-z 0-9 _ . : -",
    example="my-bot-0001",
)

TICKET = Form(
    {
        "symbol": _SYMBOL,
        "side": Choice(doc="buy or sell", options=Side, required=True),
        "qty": Number(doc=_QTY.doc, places=_QTY.places, maximum=_QTY.maximum, unit=_QTY.unit, required=True),
        "order_type": Choice(doc="market or limit", options=OrderType, required=True),
        "time_in_force": Choice(doc="day, gtc, ioc or fok", options=TimeInForce, required=True),
        "limit_price": _LIMIT,
        "client_order_id": _CLIENT_ORDER_ID,
    }
)
REPLACEMENT = Form({"qty": _QTY, "limit_price": _LIMIT, "client_order_id": _CLIENT_ORDER_ID})
TICKET_EXAMPLES = [
    schema.example("Buy with a limit", symbol="SPY", side="buy", qty="10", order_type="limit", limit_price="512.40", time_in_force="day", client_order_id="my-bot-0001"),
    schema.example("Buy at the market", symbol="SPY", side="buy", qty="0.5", order_type="market", time_in_force="day"),
    schema.example("Sell an option", symbol="SPY261218C00650000", side="sell", qty="1", order_type="limit", limit_price="3.45", time_in_force="gtc"),
]  # fmt: skip
REPLACEMENT_EXAMPLES = [schema.example("Move the limit", limit_price="512.35", client_order_id="my-bot-0002")]
ORDER_LIST = Form(
    {
        "status": Choice(doc="open, closed or all (default)", options=Openness),
        "symbol": Text(
            doc="Only this symbol", pattern=_SYMBOL.pattern, rule=_SYMBOL.rule, example=_SYMBOL.example
        ),
        **PAGE_FIELDS,
    }
)
ACTIVITY_LIST = Form(
    {
        "type": Choice(doc="Only this type", options=ActivityKind),
        "from": Instant(doc="At or after this instant"),
        "to": Instant(doc="Before this instant"),
        **PAGE_FIELDS,
    }
)


def ticket(data: object) -> Ticket:
    """The order asked for. Raises InvalidInput."""
    values = TICKET.read(data)
    return Ticket(
        symbol=parse_symbol(values["symbol"]).symbol, side=values["side"], qty=values["qty"],
        order_type=values["order_type"], time_in_force=values["time_in_force"], limit_price=values.get("limit_price"),
        client_order_id=values.get("client_order_id") or str(new_id()),
    )  # fmt: skip
