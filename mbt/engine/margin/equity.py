"""What an account is worth and what of it is free. Source: docs/rules/margin.md#the-identity."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from mbt.engine.margin.book import Holding, NoMark
from raxx.kernel.money import from_ticks, to_cents
from raxx.market.contracts import AssetClass


def net_liq(cash: Decimal, holdings: Iterable[Holding], marks: Mapping[str, int]) -> Decimal:
    """Dollars if everything were closed at its mark: cash and the signed value of every holding. Raises NoMark."""
    return cash + sum((_value(holding, marks) for holding in holdings), Decimal(0))


def margin_equity(cash: Decimal, holdings: Iterable[Holding], marks: Mapping[str, int]) -> Decimal:
    """Cash and the signed value of stock. Raises NoMark.

    Long options have no loan value. Short options are not deducted: their requirement contains their mark.
    """
    stock = (one for one in holdings if one.instrument.asset_class is AssetClass.EQUITY)
    return net_liq(cash, stock, marks)


def excess(equity: Decimal, required: Decimal) -> Decimal:
    """What margin equity leaves over a requirement; negative: a deficit."""
    return equity - required


def effect(before: Decimal, after: Decimal, *, net_debit: Decimal, fees: Decimal) -> Decimal:
    """What an order takes from the excess: the change of the requirement, what it pays (a credit is negative), fees.

    For options. Stock that is bought is paid by cash and counts in margin equity, so its debit is 0 here.
    """
    return after - before + net_debit + fees


def _value(holding: Holding, marks: Mapping[str, int]) -> Decimal:
    symbol = holding.instrument.symbol
    mark = marks.get(symbol)
    if mark is None:
        raise NoMark(
            f"{symbol} has no price now, so the account cannot be valued.",
            field="symbol", rule="holdings are valued at current marks", value=symbol,
            remedy="Try again when it is quoted.",
        )  # fmt: skip
    return to_cents(holding.qty * from_ticks(mark) * holding.instrument.multiplier)
