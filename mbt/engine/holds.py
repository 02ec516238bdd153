"""What an open order reserves, and what is left of it after each thing that happens. Pure.

An order holds cash that it may spend and quantities of the positions that it closes. A fill uses up its
share, whatever ends the order releases the rest. Exits of one group share one reservation, which one of
them carries. Totals of an account move by the difference of before and after.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

import msgspec

from mbt.engine.account import Part
from mbt.engine.orders import Order, Side
from raxx.kernel.money import up_to_cents

ZERO = Decimal(0)


class Reserved(msgspec.Struct, frozen=True):
    """Dollars, and quantities by symbol, positive for long and short positions alike. Nothing is named at 0."""

    cash: Decimal = ZERO
    positions: Mapping[str, Decimal] = {}

    def __sub__(self, other: "Reserved") -> "Reserved":
        """What the first has more than the second, signed."""
        symbols = [*self.positions, *(symbol for symbol in other.positions if symbol not in self.positions)]
        return Reserved(
            self.cash - other.cash,
            {s: self.positions.get(s, ZERO) - other.positions.get(s, ZERO) for s in symbols},
        )


NOTHING = Reserved()


def after_fill(reserved: Reserved, *, qty: Decimal, leaves: Decimal, parts: Sequence[Part]) -> Reserved:
    """A fill of `qty` that leaves `leaves` uses up its share: of the cash in proportion, of each position what
    it traded. What is kept is rounded up to the cent."""
    cash = up_to_cents(reserved.cash * leaves / (leaves + qty)) if leaves else ZERO
    traded: dict[str, Decimal] = {}
    for part in parts:
        traded[part.symbol] = traded.get(part.symbol, ZERO) + part.qty
    return Reserved(cash, _less(reserved.positions, traded))


def after_resize(reserved: Reserved, order: Order, *, more: Decimal, free: Mapping[str, Decimal]) -> Reserved:
    """An exit works for `more` than it did (negative: less): who carries the reservation of its group follows.

    `free`: what is held of each symbol and not reserved by any order. Another order may have taken some of what
    the entry brought; then so much less is reserved.
    """
    needed = {symbol: abs(more) * ratio for symbol, ratio in closed_by(order)}
    if more < 0:
        return Reserved(reserved.cash, _less(reserved.positions, needed))
    positions = dict(reserved.positions)
    for symbol, qty in needed.items():
        if (taken := min(qty, free.get(symbol, ZERO))) > 0:
            positions[symbol] = positions.get(symbol, ZERO) + taken
    return Reserved(reserved.cash, positions)


def closed_by(order: Order) -> list[tuple[str, int]]:
    """The positions that an exit closes, and how much of each one unit of it."""
    return [(leg.symbol, leg.ratio) for leg in order.legs] or [(order.symbol, 1)]


def closes(order: Order, symbol: str) -> int:
    """1: the order closes a long position of the symbol; -1: a short one."""
    side = next((leg.side for leg in order.legs if leg.symbol == symbol), order.side)
    return 1 if side is Side.SELL else -1


_Key = TypeVar("_Key")


def without_cover(reservations: Iterable[tuple[_Key, Reserved]], *, symbol: str, held: Decimal) -> list[_Key]:
    """Which orders, given in order of acceptance, reserve what is no longer there: the newest first, no more
    than must, until the others fit into a position of `held` (negative: short)."""
    holders = [(key, r.positions[symbol]) for key, r in reservations if symbol in r.positions]
    over = sum((qty for _, qty in holders), ZERO) - abs(held)
    found: list[_Key] = []
    for key, qty in reversed(holders):
        if over <= 0:
            break
        found.append(key)
        over -= qty
    return found


def _less(positions: Mapping[str, Decimal], used: Mapping[str, Decimal]) -> dict[str, Decimal]:
    left = {symbol: qty - min(qty, used.get(symbol, ZERO)) for symbol, qty in positions.items()}
    return {symbol: qty for symbol, qty in left.items() if qty}
