"""What can happen in a simulated week, as values: a list of them is the whole week, and can be told and cut."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeAlias

import msgspec

from mbt.engine.corporate import Event
from mbt.engine.fees import Schedule
from mbt.engine.life import Profile
from mbt.engine.tickets import Ticket
from raxx.kernel.clock import from_ns, show_exchange_time
from raxx.kernel.money import show_price
from raxx.market.quotes import Quote


class Open(msgspec.Struct, frozen=True):
    """A new account; the one before, if there is one, ends with all its orders canceled."""

    at_ns: int
    profile: Profile
    cash: Decimal


class Quotes(msgspec.Struct, frozen=True):
    """Quotes in tape order; without any, time passes."""

    at_ns: int
    quotes: tuple[Quote, ...] = ()


class Send(msgspec.Struct, frozen=True):
    at_ns: int
    ticket: Ticket


class Cancel(msgspec.Struct, frozen=True):
    at_ns: int
    name: str


class Replace(msgspec.Struct, frozen=True):
    at_ns: int
    name: str
    changes: Mapping[str, Decimal]
    new_name: str


class Halt(msgspec.Struct, frozen=True):
    at_ns: int
    symbol: str
    until_ns: int


class Exercise(msgspec.Struct, frozen=True):
    """A holder exercises early."""

    at_ns: int
    symbol: str
    qty: Decimal


class RiskClose(msgspec.Struct, frozen=True):
    """The engine closes what the account could not pay for at expiration."""

    at_ns: int


class Expire(msgspec.Struct, frozen=True):
    """Whatever has expired is settled on these official prices (1/10,000 dollar)."""

    at_ns: int
    prices: Mapping[str, int]


class Evening(msgspec.Struct, frozen=True):
    """After the close: fees of the day, interest, early assignments with the dividends of tomorrow."""

    at_ns: int
    dividends: tuple[Event, ...]
    prices: Mapping[str, int]
    fees: Schedule
    seed: int
    post_interest: bool


class Corporate(msgspec.Struct, frozen=True):
    """A corporate action, before the open of its day."""

    at_ns: int
    event: Event


class Restart(msgspec.Struct, frozen=True):
    """The engine stops and is built anew from the record."""

    at_ns: int


class CancelAll(msgspec.Struct, frozen=True):
    at_ns: int


Operation: TypeAlias = (
    Open | Quotes | Send | Cancel | Replace | Halt | Exercise | RiskClose | Expire | Evening | Corporate | Restart
    | CancelAll
)  # fmt: skip


def tell(operation: Operation) -> str:
    """One line for people."""
    when = f"{from_ns(operation.at_ns):%a} {show_exchange_time(operation.at_ns)}"
    return f"{when}  {_what(operation)}"


def _what(operation: Operation) -> str:
    match operation:
        case Open(profile=profile, cash=cash):
            return f"open a {profile.type} account with ${cash:,.2f}, {_terms(profile)}"
        case Quotes(quotes=quotes):
            shown = ", ".join(
                f"{q.symbol} {show_price(q.bid)} x {q.bid_size} / {show_price(q.ask)} x {q.ask_size}"
                for q in quotes
            )
            return f"quotes {shown}" if quotes else "time passes"
        case Send(ticket=ticket):
            return f"send {ticket.client_order_id}: {_terms(ticket)}"
        case Cancel(name=name):
            return f"cancel {name}"
        case Replace(name=name, changes=changes, new_name=new_name):
            told = ", ".join(f"{field} {value:f}" for field, value in changes.items())
            return f"replace {name} by {new_name}: {told}"
        case Halt(symbol=symbol, until_ns=until_ns):
            return f"halt {symbol} until {show_exchange_time(until_ns)}"
        case Exercise(symbol=symbol, qty=qty):
            return f"exercise {qty:f} {symbol}"
        case Expire(prices=prices):
            return "expire at " + ", ".join(f"{s} {show_price(p)}" for s, p in prices.items())
        case Corporate(event=event):
            return f"{type(event).__name__}: {_terms(event)}"
        case _:
            return type(operation).__name__


def _terms(struct: msgspec.Struct) -> str:
    """The fields that are not at their defaults."""
    told = []
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if value not in (field.default, "", None, ()) and field.name != "client_order_id":
            shown = f"{value:f}" if isinstance(value, Decimal) else str(value)
            if field.name == "legs":
                shown = ", ".join(f"{leg.side} {leg.ratio} {leg.symbol}" for leg in value)
            told.append(f"{field.name} {shown}")
    return "; ".join(told)
