"""How to close what is held: each structure as one order, so that no leg stands alone on the way."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from math import gcd

import msgspec

from mbt.engine.margin import Group, Part
from mbt.engine.orders import OrderClass, OrderType, Side, TimeInForce
from mbt.engine.tickets import LEGS_MAX, LegTicket, Ticket
from raxx.market.contracts import AssetClass


class Closing(msgspec.Struct, frozen=True):
    """An order that closes something: what (a symbol, or the name of a structure), and the ticket without a name."""

    what: str
    ticket: Ticket


def close_single(symbol: str, held: Decimal, qty: Decimal | None = None) -> Ticket:
    """A market order that closes `qty` of a position, or all of it. `held` is negative when short."""
    return Ticket(
        symbol=symbol, side=Side.SELL if held > 0 else Side.BUY, qty=abs(held) if qty is None else qty,
        order_type=OrderType.MARKET, time_in_force=TimeInForce.DAY, client_order_id="",
    )  # fmt: skip


def close_all(groups: Iterable[Group]) -> list[Closing]:
    """Market orders that close everything in these groups, in an order that can be sent one after the other.

    The options of a group go first, as one package where they are two to four legs; of a larger group the short
    ones before the long ones. Stock follows, since it may cover them.
    """
    options: list[Closing] = []
    stock: dict[str, Decimal] = {}
    for group in groups:
        legs = [part for part in group.legs if part.instrument.asset_class is AssetClass.OPTION]
        for part in group.legs:
            if part.instrument.asset_class is AssetClass.EQUITY:
                stock[part.instrument.symbol] = stock.get(part.instrument.symbol, Decimal(0)) + part.qty
        if 1 < len(legs) <= LEGS_MAX:
            options.append(Closing(group.label, _package(legs)))
        else:
            ordered = sorted(legs, key=lambda part: (part.qty > 0, part.instrument.symbol))
            options += [
                Closing(p.instrument.symbol, close_single(p.instrument.symbol, p.qty)) for p in ordered
            ]
    return options + [
        Closing(symbol, close_single(symbol, qty)) for symbol, qty in sorted(stock.items()) if qty
    ]


def _package(legs: Sequence[Part]) -> Ticket:
    count = gcd(*(int(abs(part.qty)) for part in legs))
    return Ticket(
        symbol="", side=Side.BUY, qty=Decimal(count), order_type=OrderType.MARKET, time_in_force=TimeInForce.DAY,
        order_class=OrderClass.MLEG, client_order_id="",
        legs=tuple(
            LegTicket(part.instrument.symbol, Side.SELL if part.qty > 0 else Side.BUY, int(abs(part.qty)) // count)
            for part in legs
        ),
    )  # fmt: skip
