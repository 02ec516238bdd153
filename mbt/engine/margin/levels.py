"""The option approval that positions need. Source: docs/rules/margin.md#approval-levels."""

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from mbt.engine.margin.groups import Group, Part
from raxx.market.contracts import AssetClass, Right


class Level(IntEnum):
    NONE = 0  # stock only
    COVERED = 1  # covered calls, cash-secured puts
    LONG = 2  # long calls and puts
    SPREADS = 3  # spreads, and options against short stock


class Approval(NamedTuple):
    """`naked_shorts`: short options that neither stock, cash nor long options cover, which is a flag of its own."""

    level: Level
    naked_shorts: bool


def required_level(groups: Iterable[Group], *, puts_are_cash_secured: bool = False) -> Approval:
    """What an account must be approved for to hold these groups: of a requirement, or of an order's structure.

    `puts_are_cash_secured`: the strikes of all short puts that stand alone are set aside in cash.
    """
    needed = [_of_legs(group.legs, puts_are_cash_secured) for group in groups]
    return Approval(
        max((each.level for each in needed), default=Level.NONE), any(each.naked_shorts for each in needed)
    )


def _of_legs(legs: tuple[Part, ...], puts_are_cash_secured: bool) -> Approval:
    stock = sum(part.qty for part in legs if part.instrument.asset_class is AssetClass.EQUITY)
    options = [part for part in legs if part.instrument.right]
    shorts = [part for part in options if part.qty < 0]
    longs = [part for part in options if part.qty > 0]
    if not options:
        return Approval(Level.NONE, naked_shorts=False)
    if stock < 0:
        return Approval(Level.SPREADS, naked_shorts=False)
    if stock > 0:
        return Approval(Level.LONG if longs else Level.COVERED, naked_shorts=False)
    if not shorts:
        return Approval(Level.LONG, naked_shorts=False)
    if longs:
        return Approval(Level.SPREADS, naked_shorts=False)
    if puts_are_cash_secured and all(part.instrument.right is Right.PUT for part in shorts):
        return Approval(Level.COVERED, naked_shorts=False)
    return Approval(Level.SPREADS, naked_shorts=True)
