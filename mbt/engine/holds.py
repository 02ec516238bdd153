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
from raxx.kernel.money import from_ticks, up_to_cents

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
    return Reserved(cash, _less(reserved.positions, _traded(parts)))


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


def after_sibling(reserved: Reserved, parts: Sequence[Part]) -> Reserved:
    """An exit whose sibling has filled is for so much less."""
    return Reserved(reserved.cash, _less(reserved.positions, _traded(parts)))


def after_lowering(reserved: Reserved, order: Order, *, limit: int | None, leaves: Decimal) -> Reserved:
    """A purchase whose limit comes down to `limit` holds so much less for each share that is still to come."""
    if order.side is not Side.BUY or order.legs or order.limit is None or limit is None:
        return reserved
    freed = from_ticks(order.limit - limit) * leaves * order.multiplier
    return Reserved(max(up_to_cents(reserved.cash - freed), ZERO), reserved.positions)


def closed_by(order: Order) -> list[tuple[str, int]]:
    """The positions that an exit closes, and how much of each one unit of it."""
    return [(leg.symbol, leg.ratio) for leg in order.legs] or [(order.symbol, 1)]


def closes(order: Order, symbol: str) -> int:
    """1: the order closes a long position of the symbol; -1: a short one."""
    side = next((leg.side for leg in order.legs if leg.symbol == symbol), order.side)
    return 1 if side is Side.SELL else -1


_Key = TypeVar("_Key")


def uncovered(
    reservations: Iterable[tuple[_Key, Order, Reserved]], *, symbol: str, held: Decimal
) -> list[_Key]:
    """Which open orders, given in order of acceptance, must end because a position is now `held` (negative: short): those
    that would close its other side, and of the rest the newest that reserve what is not there."""
    holders = [(key, order, r) for key, order, r in reservations if symbol in r.positions]
    gone = [key for key, order, _ in holders if closes(order, symbol) * held <= 0]
    rest = [(key, r) for key, order, r in holders if closes(order, symbol) * held > 0]
    return gone + without_cover(rest, symbol=symbol, held=held)


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


def _traded(parts: Sequence[Part]) -> dict[str, Decimal]:
    traded: dict[str, Decimal] = {}
    for part in parts:
        traded[part.symbol] = traded.get(part.symbol, ZERO) + part.qty
    return traded


def _less(positions: Mapping[str, Decimal], used: Mapping[str, Decimal]) -> dict[str, Decimal]:
    left = {symbol: qty - min(qty, used.get(symbol, ZERO)) for symbol, qty in positions.items()}
    return {symbol: qty for symbol, qty in left.items() if qty}
