"""What the native API shows. Decimals are strings; what is unknown is null, never 0."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec

from mbt.engine.margin import Group, Requirement
from mbt.engine.orders import OrderStatus
from mbt.engine.settlement import still_due
from mbt.models import Account, Activity, ExerciseInstruction, Order, Violation
from mbt.selectors import AccountSummary, Holding, MarginSummary, structure_of
from mbt.services.orders.closing import Closed, Held
from mbt.services.orders.previews import Previewed
from mbt.services.restrictions.day_trading import Summary as DayTrades
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import from_ticks
from raxx.market.sessions import Hours

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class LegShape(msgspec.Struct, frozen=True, kw_only=True):
    """`effect`: whether it opens a position or closes one; null for orders from before this was kept."""

    symbol: str
    side: str
    ratio: int
    effect: str | None


class OrderShape(msgspec.Struct, frozen=True, kw_only=True):
    """`symbol` is empty for a package, whose `legs` say what it trades and `structure` what that is called.
    `cash_hold` and `position_holds` (quantities by symbol) are what it reserves until it is over. `group_id` is shared
    by exits that share their quantity, `entry_id` names the order that activates an exit."""

    id: UUID
    client_order_id: str
    order_class: str
    role: str | None
    symbol: str
    asset_class: str
    side: str
    legs: list[LegShape]
    structure: str | None
    qty: str
    notional: str | None
    filled_qty: str
    order_type: str
    limit_price: str | None
    stop_price: str | None
    trail_price: str | None
    trail_percent: str | None
    high_water_mark: str | None
    time_in_force: str
    extended_hours: bool
    fill_preference: str
    status: str
    reason: str | None
    filled_avg_price: str | None
    cash_hold: str
    position_holds: dict[str, str]
    submitted_at: Instant
    accepted_at: Instant
    working_at: Instant | None
    filled_at: Instant | None
    canceled_at: Instant | None
    expired_at: Instant | None
    replaced_at: Instant | None
    expires_at: Instant | None
    replaces: UUID | None
    entry_id: UUID | None
    group_id: UUID | None


class DueShape(msgspec.Struct, frozen=True, kw_only=True):
    """Proceeds that are agreed and still to come."""

    settles: date
    amount: str


class RestrictionShape(msgspec.Struct, frozen=True, kw_only=True):
    """Until the day before `until` a cash account pays for purchases with settled cash only."""

    because: str
    until: date


class ViolationShape(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase of a cash account that was sold too early. `fine_from`: the first day on which it would not have been."""

    kind: str
    day: date
    symbol: str
    purchase_id: UUID
    sale_id: UUID
    fine_from: date
    message: str
    remedy: str


class DayTradingShape(msgspec.Struct, frozen=True, kw_only=True):
    """Of a margin account. `regime` is the rule of the day; `day_trades` counts those of the last five sessions.

    legacy_pdt (until 3 June 2026): `day_trading_buying_power` is what may be bought today to be sold today.
    intraday_margin: there is no such number; `maintenance_excess` is what is left before a deficit.
    """

    regime: str
    day_trades: int
    pattern_day_trader: bool
    day_trading_buying_power: str | None
    last_equity: str | None
    maintenance_excess: str | None


class SettingsShape(msgspec.Struct, frozen=True, kw_only=True):
    """How orders of the account are taken to fill, and what it is judged by. `options_level` and `naked_shorts` are
    approved, `fee_schedule` is given: they cannot be changed here."""

    fill_preference: str
    size_cap: bool
    latency_ms: int
    margin_model: str
    day_trade_rules: str
    options_level: int
    naked_shorts: bool
    fee_schedule: str


class AccountShape(msgspec.Struct, frozen=True, kw_only=True):
    """`cash` counts what is agreed, `settled_cash` what has arrived; `unsettled` is on its way."""

    id: UUID
    account_type: str
    status: str
    feed: str
    currency: str
    cash: str
    cash_held: str
    buying_power: str | None
    equity: str | None
    long_market_value: str | None
    short_market_value: str | None
    initial_margin: str | None
    maintenance_margin: str | None
    options_level: int
    unrealized_pl: str | None
    realized_pl: str
    settled_cash: str
    unsettled: list[DueShape]
    restriction: RestrictionShape | None
    violations: list[ViolationShape]
    day_trading: DayTradingShape | None
    simulated: bool
    created_at: Instant


class GroupShape(msgspec.Struct, frozen=True, kw_only=True):
    """Positions that are charged together, and by which formula."""

    name: str
    label: str
    underlying: str
    legs: dict[str, str]
    formula: str
    initial: str
    maintenance: str


class RequirementShape(msgspec.Struct, frozen=True, kw_only=True):
    """The least that the rules allow for a book. Its groups are the proof: they add up to it. `initial_groups` where
    another grouping gives the least initial requirement; null nearly always."""

    initial: str
    maintenance: str
    groups: list[GroupShape]
    initial_groups: list[GroupShape] | None


class MarginShape(msgspec.Struct, frozen=True, kw_only=True):
    """null where something held has no price now."""

    account_type: str
    options_level: int
    naked_shorts: bool
    cash: str
    cash_held: str
    equity: str | None
    buying_power: str | None
    requirement: RequirementShape | None


class DenialShape(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    message: str
    details: dict[str, str]


class ClosedShape(msgspec.Struct, frozen=True, kw_only=True):
    """`what` is a symbol or the name of a structure; either there is an order, or the error says why not."""

    what: str
    order: OrderShape | None
    error: DenialShape | None


class StructureLegShape(msgspec.Struct, frozen=True, kw_only=True):
    """`ratio` contracts or shares in each unit of the structure."""

    symbol: str
    side: str
    ratio: str


class StructureShape(msgspec.Struct, frozen=True, kw_only=True):
    """What is held, `qty` times its legs. `natural_*` is at the touch of every leg, `mid_*` at their midpoints; costs are
    dollars for all of it, negative where closing brings money; null without two-sided quotes. `one_order`: whether a
    single order closes it; prices are null where none does."""

    id: str
    name: str
    label: str
    direction: str | None
    underlying: str
    qty: str
    legs: list[StructureLegShape]
    one_order: bool
    natural_price: str | None
    mid_price: str | None
    natural_cost: str | None
    mid_cost: str | None


class FeeShape(msgspec.Struct, frozen=True, kw_only=True):
    """A fee of a fill at the price that is expected now, and how it comes about."""

    name: str
    amount: str
    how: str


class WarningShape(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    message: str


class PreviewShape(msgspec.Struct, frozen=True, kw_only=True):
    """`needed` is what the order takes of the buying power, `debit` what it pays (negative: a credit); `cash_hold` and
    `position_holds` are what it would reserve, null for an order that would be denied. `available` is the buying power
    beside all open orders, `buying_power_after` what this one leaves of it. `fees` are charged at the end of the day and
    not held; null where no quote gives a price to expect. `warnings` do not stop the order."""

    accepted: bool
    denial: DenialShape | None
    cash_hold: str | None
    position_holds: dict[str, str] | None
    structure: str | None
    available: str | None
    needed: str | None
    debit: str | None
    before: RequirementShape | None
    after: RequirementShape | None
    buying_power_after: str | None
    fees: list[FeeShape] | None
    fees_total: str | None
    warnings: list[WarningShape]


class PositionShape(msgspec.Struct, frozen=True, kw_only=True):
    symbol: str
    asset_class: str
    multiplier: int
    side: str
    qty: str
    qty_available: str
    avg_entry_price: str
    cost_basis: str
    mark_price: str | None
    market_value: str | None
    unrealized_pl: str | None
    realized_pl: str
    opened_at: Instant


class ActivityShape(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    activity_type: str
    symbol: str | None
    side: str | None
    qty: str | None
    price: str | None
    amount: str
    realized_pl: str | None
    order_id: UUID | None
    ref_id: UUID
    occurred_at: Instant


class InstructionShape(msgspec.Struct, frozen=True, kw_only=True):
    """`qty` null: all of the position, however many contracts there are then. It can be taken back until `cutoff_at`."""

    id: UUID
    symbol: str
    instruction: str
    qty: str | None
    given_at: Instant
    cutoff_at: Instant
    withdrawn_at: Instant | None


class ExerciseShape(msgspec.Struct, frozen=True, kw_only=True):
    """Of an exercise now the lines of history that it made; of one at expiration the instruction."""

    symbol: str
    activities: list[ActivityShape]
    instruction: InstructionShape | None


def order(row: Order) -> OrderShape:
    def when(status: OrderStatus) -> datetime | None:
        return row.closed_at if row.status == status else None

    return OrderShape(
        id=row.pk, client_order_id=row.client_order_id, order_class=row.order_class, role=row.role or None,
        symbol=row.symbol, asset_class=row.asset_class, side=row.side,
        legs=[
            LegShape(symbol=leg["symbol"], side=leg["side"], ratio=leg["ratio"], effect=leg.get("effect")) for leg in row.legs
        ], structure=structure_of(row),
        qty=plain(row.qty), notional=money(row.notional), filled_qty=plain(row.filled_qty), order_type=row.order_type,
        limit_price=price(row.limit_price), stop_price=price(row.stop_price), trail_price=price(row.trail_price),
        trail_percent=None if row.trail_percent is None else plain(row.trail_percent),
        high_water_mark=price(from_ticks(row.progress["mark"])) if row.progress.get("mark") else None,
        time_in_force=row.time_in_force, extended_hours=row.hours == Hours.EXTENDED,
        fill_preference=row.fill_preference, status=row.status,
        reason=row.reason or None, filled_avg_price=price(row.filled_avg_price), cash_hold=f"{row.cash_hold:.2f}",
        position_holds={symbol: plain(Decimal(qty)) for symbol, qty in row.position_holds.items()},
        submitted_at=row.accepted_at, accepted_at=row.accepted_at, working_at=row.working_at,
        filled_at=when(OrderStatus.FILLED), canceled_at=when(OrderStatus.CANCELED),
        expired_at=when(OrderStatus.EXPIRED), replaced_at=when(OrderStatus.REPLACED), expires_at=row.expires_at,
        replaces=row.replaces_id, entry_id=row.entry_id, group_id=row.group_id,
    )  # fmt: skip


def account(
    summary: AccountSummary, margin: MarginSummary | None, *, today: date, violations: Iterable[Violation],
    trading: DayTrades | None,
) -> AccountShape:  # fmt: skip
    """`margin` for accounts whose buying power is more than cash that no order holds. `today`: on its feed."""
    row = summary.account
    due = still_due(row.unsettled, today)
    restricted = row.restricted_until is not None and today < row.restricted_until
    standing = margin.standing if margin else None
    required = standing.requirement if standing else None
    free = row.cash_balance - row.cash_held if margin is None else standing.available if standing else None
    return AccountShape(
        id=row.pk, account_type=row.account_type, status=row.status, feed=row.feed, currency="USD",
        cash=f"{row.cash_balance:.2f}", cash_held=f"{row.cash_held:.2f}",
        buying_power=money(free), equity=money(summary.equity),
        long_market_value=money(summary.long_market_value), short_market_value=money(summary.short_market_value),
        initial_margin=money(required.initial) if required else None if margin else "0.00",
        maintenance_margin=money(required.maintenance) if required else None if margin else "0.00",
        options_level=row.options_level, unrealized_pl=money(summary.unrealized),
        realized_pl=f"{summary.realized:.2f}", simulated=True, created_at=row.created_at,
        settled_cash=f"{row.cash_balance - sum(due.values(), Decimal(0)):.2f}",
        unsettled=[DueShape(settles=day, amount=f"{amount:.2f}") for day, amount in due.items()],
        restriction=RestrictionShape(because=row.restriction, until=row.restricted_until)
        if restricted and row.restricted_until else None,
        violations=[violation(each) for each in violations],
        day_trading=day_trading(row, trading) if trading else None,
    )  # fmt: skip


def violation(row: Violation) -> ViolationShape:
    return ViolationShape(
        kind=row.kind, day=row.day, symbol=row.symbol, purchase_id=row.purchase_id, sale_id=row.sale_id,
        fine_from=row.fine_from, message=row.message, remedy=row.remedy,
    )  # fmt: skip


def day_trading(row: Account, found: DayTrades) -> DayTradingShape:
    return DayTradingShape(
        regime=found.regime, day_trades=found.day_trades, pattern_day_trader=found.pattern,
        day_trading_buying_power=money(found.power), last_equity=money(row.closing_equity),
        maintenance_excess=money(found.excess),
    )  # fmt: skip


def settings(row: Account) -> SettingsShape:
    return SettingsShape(
        fill_preference=row.fill_preference, size_cap=row.size_cap, latency_ms=row.latency_ms,
        margin_model=row.margin_model, day_trade_rules=row.day_trade_rules, options_level=row.options_level,
        naked_shorts=row.naked_shorts, fee_schedule=row.fee_schedule,
    )  # fmt: skip


def margin(summary: MarginSummary) -> MarginShape:
    row, found = summary.account, summary.standing
    return MarginShape(
        account_type=row.account_type, options_level=row.options_level, naked_shorts=row.naked_shorts,
        cash=f"{row.cash_balance:.2f}", cash_held=f"{row.cash_held:.2f}", equity=money(found.equity) if found else None,
        buying_power=money(found.available) if found else None,
        requirement=requirement(found.requirement) if found else None,
    )  # fmt: skip


def requirement(found: Requirement) -> RequirementShape:
    same = found.initial_groups == found.groups
    return RequirementShape(
        initial=f"{found.initial:.2f}", maintenance=f"{found.maintenance:.2f}",
        groups=[group(each) for each in found.groups],
        initial_groups=None if same else [group(each) for each in found.initial_groups],
    )  # fmt: skip


def group(found: Group) -> GroupShape:
    return GroupShape(
        name=found.name, label=found.label, underlying=found.underlying,
        legs={part.instrument.symbol: plain(part.qty) for part in found.legs}, formula=found.formula,
        initial=f"{found.initial:.2f}", maintenance=f"{found.maintenance:.2f}",
    )  # fmt: skip


def denial(problem: RaxxError) -> DenialShape:
    return DenialShape(code=problem.code, message=problem.message, details=problem.details)


def closed(found: Closed) -> ClosedShape:
    return ClosedShape(
        what=found.what, order=order(found.order) if found.order else None,
        error=denial(found.denial) if found.denial else None,
    )  # fmt: skip


def structure(held: Held) -> StructureShape:
    found, cost = held.structure, held.cost
    return StructureShape(
        id=held.id, name=found.name, label=found.label, direction=found.direction, underlying=found.underlying,
        qty=plain(found.quantity), one_order=held.is_one_order,
        legs=[
            StructureLegShape(
                symbol=leg.instrument.symbol, side="long" if leg.ratio > 0 else "short", ratio=plain(abs(leg.ratio))
            ) for leg in found.legs
        ],
        natural_price=price(cost.natural_price) if cost else None, mid_price=price(cost.mid_price) if cost else None,
        natural_cost=money(cost.natural) if cost else None, mid_cost=money(cost.mid) if cost else None,
    )  # fmt: skip


def preview(previewed: Previewed, structure: str | None) -> PreviewShape:
    found, fees = previewed.judged, previewed.fees
    effect = found.effect
    return PreviewShape(
        accepted=found.denial is None, denial=denial(found.denial) if found.denial else None,
        cash_hold=f"{found.drafts[0].cash_hold:.2f}" if found.drafts else None,
        position_holds={symbol: plain(qty) for symbol, qty in found.drafts[0].position_holds.items()} if found.drafts else None,
        structure=structure,
        available=money(effect.available) if effect else None, needed=money(effect.needed) if effect else None,
        debit=money(effect.debit) if effect else None, before=requirement(effect.before) if effect else None,
        after=requirement(effect.after) if effect else None,
        buying_power_after=money(effect.available - effect.needed) if effect else None,
        fees=[FeeShape(name=fee.name, amount=f"{fee.amount:.2f}", how=fee.how) for fee in fees] if fees is not None else None,
        fees_total=money(sum((fee.amount for fee in fees), Decimal(0))) if fees is not None else None,
        warnings=[WarningShape(code=each.code, message=each.message) for each in previewed.warnings],
    )  # fmt: skip


def position(holding: Holding) -> PositionShape:
    row = holding.position
    return PositionShape(
        symbol=row.symbol, asset_class=row.asset_class, multiplier=row.multiplier,
        side="long" if row.qty > 0 else "short", qty=plain(row.qty),
        qty_available=plain(abs(row.qty) - row.qty_held), avg_entry_price=plain(row.avg_entry_price or Decimal(0)),
        cost_basis=f"{row.cost:.2f}", mark_price=price(holding.mark), market_value=money(holding.market_value),
        unrealized_pl=money(holding.unrealized), realized_pl=f"{row.realized:.2f}", opened_at=row.opened_at,
    )  # fmt: skip


def activity(row: Activity) -> ActivityShape:
    return ActivityShape(
        id=row.pk, activity_type=row.activity_type, symbol=row.symbol or None, side=row.side or None,
        qty=None if row.qty is None else plain(row.qty), price=price(row.price), amount=f"{row.amount:.2f}",
        realized_pl=money(row.realized), order_id=row.order_id, ref_id=row.ref_id, occurred_at=row.occurred_at,
    )  # fmt: skip


def instruction(row: ExerciseInstruction) -> InstructionShape:
    return InstructionShape(
        id=row.pk, symbol=row.symbol, instruction=row.kind, qty=None if row.qty is None else plain(row.qty),
        given_at=row.given_at, cutoff_at=row.cutoff_at, withdrawn_at=row.withdrawn_at,
    )  # fmt: skip


def plain(value: Decimal) -> str:
    """Without trailing zeros and without an exponent."""
    return f"{value.normalize():f}" if value else "0"


def price(value: Decimal | None) -> str | None:
    """At least two decimals, more only where they say something."""
    if value is None:
        return None
    text = plain(value)
    places = len(text.partition(".")[2])
    return f"{value:.2f}" if places < 2 else text


def money(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:.2f}"
