"""What the native API takes."""

import dataclasses
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from mbt.engine.account import Kind
from mbt.engine.closing import Terms
from mbt.engine.daytrades import Model as DayTradeRules
from mbt.engine.margin import Model as MarginModel
from mbt.engine.orders import FillPreference, OrderClass, OrderType, Side, TimeInForce
from mbt.engine.tickets import LEGS_MAX, LEGS_MIN, LegTicket, Ticket
from mbt.models import QTY_MAX
from mbt.services.accounts import LATENCY_MAX_MS
from mbt.services.orders.closing import Into
from raxx.kernel.api import schema
from raxx.kernel.api.fields import Choice, Field, Flag, Form, Instant, Items, Nested, Number, Text, Whole
from raxx.kernel.api.pagination import PAGE_FIELDS
from raxx.kernel.errors import InvalidInput
from raxx.kernel.ids import new_id
from raxx.market.contracts import parse_symbol


class YesNo(StrEnum):
    """A query string has no true and false of its own."""

    TRUE = "true"
    FALSE = "false"


class Openness(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    ALL = "all"


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
_PRICE_MAX = Decimal(10_000_000)


def _price(doc: str, *, signed: bool = False, required: bool = False) -> Number:
    return Number(doc=doc, places=4, maximum=_PRICE_MAX, unit="dollars", signed=signed, required=required)


_TRAIL = {
    "trail_price": _price("Distance of a trailing stop"),
    "trail_percent": Number(
        doc="Distance of a trailing stop", places=4, maximum=Decimal(100), unit="percent"
    ),
}
_CLIENT_ORDER_ID = Text(
    doc="Your own name for the order, unique for ever; made up when absent. Sending the same order again is safe.",
    pattern=re.compile(r"[A-Za-z0-9_.:\-]{1,128}", re.ASCII),
    rule="must have 1 to 128 of the characters A-Z a-z 0-9 _ . : -",
    example="my-bot-0001",
)


def _exits(*, net: bool) -> dict[str, Nested]:
    """The exits of a bracket, OTO or OCO; those of a package have net prices of the package that closes it."""
    of = ", net, of the package that closes it" if net else ""
    profit = {"limit_price": _price(f"Its limit price{of}", signed=net, required=True)}
    loss = {
        "stop_price": _price(f"Its stop price{of}", signed=net, required=True),
        "limit_price": _price(f"Its limit price{of}: makes it a stop_limit", signed=net),
    }
    return {
        "take_profit": Nested(doc="The exit at a profit", form=Form(profit)),
        "stop_loss": Nested(doc="The exit at a loss", form=Form(loss)),
    }


_FILL_PREFERENCE = Choice(
    doc="Where in the spread an option order fills; default: as the account has it", options=FillPreference
)
TICKET = Form(
    {
        "symbol": _SYMBOL,
        "side": Choice(doc="buy or sell", options=Side, required=True),
        "qty": _QTY,
        "notional": Number(
            doc="An amount instead of qty: equities, market day orders",
            places=2,
            maximum=_PRICE_MAX,
            unit="dollars",
        ),
        "order_type": Choice(
            doc="market, limit, stop, stop_limit or trailing_stop", options=OrderType, required=True
        ),
        "time_in_force": Choice(doc="day, gtc, ioc, fok, opg or cls", options=TimeInForce, required=True),
        "limit_price": _price("Limit price, for limit and stop_limit orders"),
        "stop_price": _price("Stop price, for stop and stop_limit orders"),
        **_TRAIL,
        "order_class": Choice(
            doc="simple (default), bracket, oto or oco; mleg for a package", options=OrderClass
        ),
        **_exits(net=False),
        "extended_hours": Flag(
            doc="Also trade before the open and after the close: limit orders of equities"
        ),
        "fill_preference": _FILL_PREFERENCE,
        "client_order_id": _CLIENT_ORDER_ID,
    }
)
PACKAGE = Form(
    {
        "order_class": Choice(doc="mleg", options=OrderClass, required=True),
        "legs": Items(
            doc="The options that trade together, at one net price or not at all",
            form=Form(
                {
                    "symbol": _SYMBOL,
                    "side": Choice(doc="buy or sell", options=Side, required=True),
                    "ratio": Whole(doc="Contracts of it in each package (1)", minimum=1, maximum=100),
                }
            ),
            maximum=LEGS_MAX,
            required=True,
        ),
        "qty": Number(doc="Packages", places=0, maximum=Decimal(QTY_MAX - 1), unit="packages", required=True),
        "order_type": Choice(doc="market or limit", options=OrderType, required=True),
        "time_in_force": Choice(doc="day, gtc, ioc or fok", options=TimeInForce, required=True),
        "limit_price": _price(
            "Net price, for limit orders: a debit positive, a credit negative", signed=True
        ),
        **_exits(net=True),
        "fill_preference": _FILL_PREFERENCE,
        "client_order_id": _CLIENT_ORDER_ID,
    }
)
REPLACEMENT = Form(
    {
        "qty": dataclasses.replace(
            _QTY, doc="The whole quantity, counting what has filled already; it must exceed that"
        ),
        "limit_price": _price("Limit price; of a package its net price", signed=True),
        "stop_price": _price("Stop price; of a package its net price", signed=True),
        **_TRAIL,
        "client_order_id": _CLIENT_ORDER_ID,
    }
)
SETTINGS = Form(
    {
        "fill_preference": dataclasses.replace(
            _FILL_PREFERENCE, doc="Where in the spread option orders fill"
        ),
        "size_cap": Flag(doc="Fills take no more than the size that a quote shows"),
        "latency_ms": Whole(
            doc="Milliseconds from acceptance until an order acts", minimum=0, maximum=LATENCY_MAX_MS
        ),
        "margin_model": Choice(
            doc="reg_t (the least grouping) or universal_spread (broker-style); margin accounts",
            options=MarginModel,
        ),
        "day_trade_rules": Choice(
            doc="by_date (the rule of the day), legacy_pdt or intraday_margin; margin accounts",
            options=DayTradeRules,
        ),
    }
)
SETTINGS_EXAMPLES = [
    schema.example("Fill options at the midpoint", fill_preference="mid"),
    schema.example("Margin as some brokers ask it", margin_model="universal_spread"),
]
CLOSE_ONE = Form({"qty": dataclasses.replace(_QTY, doc="How much of it; all of it when absent")})


class When(StrEnum):
    NOW = "now"
    EXPIRATION = "expiration"


_CONTRACTS = dataclasses.replace(_QTY, doc="How many contracts; all of them when absent")
EXERCISE = Form(
    {
        "qty": _CONTRACTS,
        "when": Choice(
            doc="now (default), or expiration: also where the contract is not in the money then", options=When
        ),
        "client_request_id": dataclasses.replace(
            _CLIENT_ORDER_ID,
            doc="Your own name for an exercise now; sending it again is safe. A part (qty) needs one.",
            example="my-bot-exercise-1",
        ),
    }
)
EXERCISE_EXAMPLES = [
    schema.example("All of it, now"),
    schema.example("A part, now", qty="2", client_request_id="my-bot-exercise-1"),
    schema.example("At expiration, whatever the price", when="expiration"),
]
DO_NOT_EXERCISE = Form({"qty": _CONTRACTS})
CLOSE_ALL = Form({"cancel_orders": Choice(doc="true: cancel every open order first", options=YesNo)})
TICKET_EXAMPLES = [
    schema.example("Buy with a limit", symbol="SPY", side="buy", qty="10", order_type="limit", limit_price="512.40", time_in_force="day", client_order_id="my-bot-0001"),
    schema.example("Buy at the market", symbol="SPY", side="buy", qty="0.5", order_type="market", time_in_force="day"),
    schema.example("Sell an option", symbol="SPY261218C00650000", side="sell", qty="1", order_type="limit", limit_price="3.45", time_in_force="gtc"),
    schema.example("Protect a position", symbol="SPY", side="sell", qty="10", order_type="trailing_stop", trail_percent="2.5", time_in_force="gtc"),
    schema.example(
        "Buy with both exits", symbol="SPY", side="buy", qty="10", order_type="limit", limit_price="512.40", time_in_force="gtc",
        order_class="bracket", take_profit={"limit_price": "530.00"}, stop_loss={"stop_price": "500.00"},
    ),
]  # fmt: skip
PACKAGE_EXAMPLES = [
    schema.example(
        "Sell a put spread for a credit", order_class="mleg", qty="1", order_type="limit", limit_price="-1.35", time_in_force="day",
        legs=[
            {"symbol": "SPY261218P00640000", "side": "sell", "ratio": 1},
            {"symbol": "SPY261218P00635000", "side": "buy", "ratio": 1},
        ],
    ),
]  # fmt: skip
REPLACEMENT_EXAMPLES = [schema.example("Move the limit", limit_price="512.35", client_order_id="my-bot-0002")]
_STRUCTURE: dict[str, Field[Any]] = {
    "structure": Text(
        doc="The id of a structure, as GET structures lists it: a signed count and a symbol for each leg that is held",
        pattern=re.compile(r"[A-Z0-9. +\-]{3,400}", re.ASCII),
        rule="must be the id of a structure",
        example="+1 SPY261218P00635000 -1 SPY261218P00640000",
        required=True,
    ),
    "qty": dataclasses.replace(
        _QTY,
        doc="How many of it; all of it when absent. Needed for legs that are no structure of the account",
    ),
}
_STRUCTURE_ORDER: dict[str, Field[Any]] = {
    "order_type": Choice(doc="market or limit", options=OrderType, required=True),
    "time_in_force": Choice(doc="day, gtc, ioc or fok", options=TimeInForce, required=True),
    "limit_price": _price(
        "Net price of one, for limit orders: a debit positive, a credit negative, that of a single symbol too",
        signed=True,
    ),
    "fill_preference": _FILL_PREFERENCE,
    "client_order_id": _CLIENT_ORDER_ID,
}
CLOSE_STRUCTURE = Form({**_STRUCTURE, **_STRUCTURE_ORDER})
ROLL_STRUCTURE = Form(
    {
        **_STRUCTURE,
        "expiration": Text(
            doc="The expiration that all its options get",
            pattern=re.compile(r"20[0-9]{2}-[01][0-9]-[0-3][0-9]", re.ASCII),
            rule="must be a day like 2027-01-15",
            example="2027-01-15",
        ),
        "strike_shift": _price("Moves every strike", signed=True),
        "to": Items(
            doc="Instead of both: what each option becomes, in the order of its legs",
            form=Form({"symbol": _SYMBOL}),
            maximum=LEGS_MAX,
        ),
        **_STRUCTURE_ORDER,
    }
)
_SPREAD = "+1 SPY261218P00635000 -1 SPY261218P00640000"
CLOSE_STRUCTURE_EXAMPLES = [
    schema.example("All of it, at the market", structure=_SPREAD, order_type="market", time_in_force="day"),
    schema.example("A part, with a limit", structure=_SPREAD, qty="1", order_type="limit", limit_price="0.60", time_in_force="gtc", client_order_id="my-bot-0003"),
]  # fmt: skip
ROLL_STRUCTURE_EXAMPLES = [
    schema.example("To another month", structure=_SPREAD, expiration="2027-01-15", order_type="limit", limit_price="-0.35", time_in_force="day"),
    schema.example("Out and down", structure=_SPREAD, expiration="2027-01-15", strike_shift="-5", order_type="market", time_in_force="day"),
    schema.example("One leg", structure="-1 SPY261218C00650000", qty="1", to=[{"symbol": "SPY261218C00655000"}], order_type="market", time_in_force="day"),
]  # fmt: skip
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
        "type": Choice(doc="Only this type", options=Kind),
        "from": Instant(doc="At or after this instant"),
        "to": Instant(doc="Before this instant"),
        **PAGE_FIELDS,
    }
)


def structure(form: Form, data: object) -> tuple[str, Decimal | None, Into, Terms]:
    """The structure that is to be closed or rolled, how many, into what, and how the order is sent. Raises
    InvalidInput."""
    values = form.read(data)
    day = values.pop("expiration", None)
    try:
        expiration = None if day is None else date.fromisoformat(day)
    except ValueError:
        raise InvalidInput(
            field="expiration", rule="must be a day of the calendar", value=day, remedy="Send a day such as 2027-01-15."
        ) from None  # fmt: skip
    into = Into(expiration, values.pop("strike_shift", None), [leg["symbol"] for leg in values.pop("to", ())])
    name = values.pop("client_order_id", None) or str(new_id())
    return values.pop("structure"), values.pop("qty", None), into, Terms(client_order_id=name, **values)


def ticket(data: object) -> Ticket:
    """The order asked for. Raises InvalidInput."""
    is_package = isinstance(data, Mapping) and data.get("order_class") == OrderClass.MLEG
    values = (PACKAGE if is_package else TICKET).read(data)
    if is_package and not values["legs"]:
        raise InvalidInput(
            field="legs",
            rule=f"a package has {LEGS_MIN} to {LEGS_MAX} legs",
            value="0",
            remedy="Send its legs.",
        )
    profit, loss = values.pop("take_profit", {}), values.pop("stop_loss", {})
    symbol = values.pop("symbol", None)
    return Ticket(
        symbol=parse_symbol(symbol).symbol if symbol else "", side=values.pop("side", Side.BUY),
        legs=tuple(
            LegTicket(parse_symbol(leg["symbol"]).symbol, leg["side"], leg.get("ratio", 1)) for leg in values.pop("legs", ())
        ),
        take_profit=profit.get("limit_price"), stop_loss=loss.get("stop_price"), stop_loss_limit=loss.get("limit_price"),
        client_order_id=values.pop("client_order_id", None) or str(new_id()), **values,
    )  # fmt: skip
