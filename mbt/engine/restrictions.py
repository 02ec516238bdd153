"""What is forbidden although it could be paid for: unsettled cash in a restricted account, day trades, deficits.

Sources: docs/rules/settlement.md, docs/rules/day-trading.md. What is computed lies in `settlement` and `daytrades`;
here it meets an order.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from mbt.engine import daytrades
from mbt.engine.cost import Trade
from mbt.engine.daytrades import Day, Model, Refusal, Traded
from mbt.engine.settlement import Breach
from raxx.kernel.errors import RaxxError
from raxx.market.sessions import Sessions

ZERO = Decimal(0)
_THIS_ORDER = "this order"


class SettledCashOnly(RaxxError):
    """A restricted cash account pays for purchases with settled cash."""

    code = "SETTLED_CASH_ONLY"
    http_status = 403


class PatternDayTrader(RaxxError):
    """A day trade that the rule in force until June 2026 does not allow an account below 25,000 dollars."""

    code = "PATTERN_DAY_TRADER"
    http_status = 403


class IntradayMarginDeficit(RaxxError):
    """The positions after the order would need more than the account is worth."""

    code = "INTRADAY_MARGIN_DEFICIT"
    http_status = 403


class SettledOnly(msgspec.Struct, frozen=True, kw_only=True):
    """A cash account that spends settled cash only, until the day before `until`.

    `unsettled`: proceeds agreed and still to come, dollars by the day on which they settle.
    """

    until: date
    breach: Breach
    unsettled: Mapping[date, Decimal]

    @property
    def to_come(self) -> Decimal:
        return sum(self.unsettled.values(), ZERO)

    def fine_from(self, missing: Decimal) -> date | None:
        """The day on which `missing` dollars more have settled; None when that is never."""
        come = ZERO
        for day in sorted(self.unsettled):
            come += self.unsettled[day]
            if come >= missing:
                return day
        return None


class DayTrading(msgspec.Struct, frozen=True, kw_only=True):
    """What limits the day trades of a margin account on `today`.

    `regime` is the one of the day. The rest is asked only of the old one: the fills of today, what was `held` before
    them, the earlier `days` of the window, the `equity` of the last close, and whether the account is marked.
    """

    regime: Model
    today: date
    sessions: Sessions
    equity: Decimal = ZERO
    pattern: bool = False
    fills: tuple[Traded, ...] = ()
    held: Mapping[str, Decimal] = {}
    days: tuple[Day, ...] = ()

    @property
    def so_far(self) -> tuple[Day, ...]:
        """The days of the window, today with what it has seen."""
        trips = len(daytrades.round_trips(self.fills, held=self.held))
        orders = len({fill.order_id for fill in self.fills})
        return (*self.days, Day(self.today, trips, orders))

    def adds(self, traded: Iterable[Trade]) -> bool:
        """Whether these trades, filled now, would be a day trade."""
        mine = [Traded(_THIS_ORDER, trade.instrument.symbol, trade.qty) for trade in traded]
        before = daytrades.round_trips(self.fills, held=self.held)
        return len(daytrades.round_trips([*self.fills, *mine], held=self.held)) > len(before)


def check_settled(needed: Decimal, available: Decimal, *, value: str, restricted: SettledOnly | None) -> None:
    """Raises SettledCashOnly for what could be paid if everything had settled. Dollars; `value` is the quantity."""
    if restricted is None or not available < needed <= available + restricted.to_come:
        return
    due = "; ".join(
        f"${amount:,.2f} settles on {day}" for day, amount in sorted(restricted.unsettled.items())
    )
    wait = restricted.fine_from(needed - available)
    raise SettledCashOnly(
        f"This account pays with settled cash only until {restricted.until}, because of {_CAUSES[restricted.breach]}."
        f" The order needs ${needed:,.2f}; ${max(available, ZERO):,.2f} is settled and free. {due}.",
        field="qty", rule="a restricted cash account spends settled cash only", value=value,
        needed=f"{needed:.2f}", available=f"{max(available, ZERO):.2f}", restricted_until=restricted.until,
        settles=", ".join(f"{day} {amount:.2f}" for day, amount in sorted(restricted.unsettled.items())),
        fine_from=wait,
    )  # fmt: skip


_CAUSES = {
    Breach.GOOD_FAITH: "good-faith violations",
    Breach.FREE_RIDING: "a purchase that was sold without having been paid for",
}


def check_day_trade(traded: Sequence[Trade], *, value: str, trading: DayTrading | None) -> None:
    """Raises PatternDayTrader for the day trade that the account may not make."""
    if trading is None or trading.regime is not Model.LEGACY_PDT or not trading.adds(traded):
        return
    refusal = daytrades.judge_day_trade(
        trading.so_far, on=trading.today, equity=trading.equity, pattern=trading.pattern, sessions=trading.sessions
    )  # fmt: skip
    if refusal is not None:
        raise PatternDayTrader(
            refusal.message, **_facts(refusal, "an account below the minimum makes no more day trades", value)
        )


def check_intraday(
    *, equity: Decimal, before: Decimal, after: Decimal, value: str, trading: DayTrading | None
) -> None:
    """Raises IntradayMarginDeficit where the maintenance requirement after the order exceeds the equity. Dollars."""
    if trading is None or trading.regime is not Model.INTRADAY_MARGIN:
        return
    refusal = daytrades.judge_intraday(equity=equity, before=before, after=after)
    if refusal is not None:
        rule = "after every trade that adds risk the equity covers the maintenance requirement"
        raise IntradayMarginDeficit(refusal.message, **_facts(refusal, rule, value))


def _facts(refusal: Refusal, rule: str, value: str) -> dict[str, object]:
    return {
        "field": "qty", "rule": rule, "value": value, "limit": f"{refusal.limit:.2f}", "found": f"{refusal.value:.2f}",
        "remedy": refusal.remedy,
    }  # fmt: skip
