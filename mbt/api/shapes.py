"""What the native API shows. Decimals are strings; what is unknown is null, never 0."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec

from mbt.engine.margin import Requirement
from mbt.engine.orders import OrderStatus
from mbt.models import Activity, Order
from mbt.selectors import AccountSummary, Holding, MarginSummary
from mbt.services.closing import Closed
from mbt.services.orders import Preview
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import from_ticks
from raxx.market.sessions import Hours

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class LegShape(msgspec.Struct, frozen=True, kw_only=True):
    symbol: str
    side: str
    ratio: int


class OrderShape(msgspec.Struct, frozen=True, kw_only=True):
    """`symbol` is empty for a package, whose `legs` say what it trades. `group_id` is shared by exits that
    share their quantity, `entry_id` names the order that activates an exit."""

    id: UUID
    client_order_id: str
    order_class: str
    role: str | None
    symbol: str
    asset_class: str
    side: str
    legs: list[LegShape]
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


class AccountShape(msgspec.Struct, frozen=True, kw_only=True):
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
    """The least that the rules allow for a book. Its groups are the proof: they add up to it."""

    initial: str
    maintenance: str
    groups: list[GroupShape]


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


class PreviewShape(msgspec.Struct, frozen=True, kw_only=True):
    """`needed` is what the order takes of the buying power, `debit` what it pays (negative: a credit)."""

    accepted: bool
    denial: DenialShape | None
    cash_hold: str | None
    structure: str | None
    available: str | None
    needed: str | None
    debit: str | None
    before: RequirementShape | None
    after: RequirementShape | None


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


def order(row: Order) -> OrderShape:
    def when(status: OrderStatus) -> datetime | None:
        return row.closed_at if row.status == status else None

    return OrderShape(
        id=row.pk, client_order_id=row.client_order_id, order_class=row.order_class, role=row.role or None,
        symbol=row.symbol, asset_class=row.asset_class, side=row.side,
        legs=[LegShape(symbol=leg["symbol"], side=leg["side"], ratio=leg["ratio"]) for leg in row.legs],
        qty=plain(row.qty), notional=money(row.notional), filled_qty=plain(row.filled_qty), order_type=row.order_type,
        limit_price=price(row.limit_price), stop_price=price(row.stop_price), trail_price=price(row.trail_price),
        trail_percent=None if row.trail_percent is None else plain(row.trail_percent),
        high_water_mark=price(from_ticks(row.progress["mark"])) if row.progress.get("mark") else None,
        time_in_force=row.time_in_force, extended_hours=row.hours == Hours.EXTENDED,
        fill_preference=row.fill_preference, status=row.status,
        reason=row.reason or None, filled_avg_price=price(row.filled_avg_price), cash_hold=f"{row.cash_hold:.2f}",
        submitted_at=row.accepted_at, accepted_at=row.accepted_at, working_at=row.working_at,
        filled_at=when(OrderStatus.FILLED), canceled_at=when(OrderStatus.CANCELED),
        expired_at=when(OrderStatus.EXPIRED), replaced_at=when(OrderStatus.REPLACED), expires_at=row.expires_at,
        replaces=row.replaces_id, entry_id=row.entry_id, group_id=row.group_id,
    )  # fmt: skip


def account(summary: AccountSummary, margin: MarginSummary | None) -> AccountShape:
    """`margin` for accounts whose buying power is more than cash that no order holds."""
    row = summary.account
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
    return RequirementShape(
        initial=f"{found.initial:.2f}", maintenance=f"{found.maintenance:.2f}",
        groups=[
            GroupShape(
                name=group.name, label=group.label, underlying=group.underlying,
                legs={part.instrument.symbol: plain(part.qty) for part in group.legs}, formula=group.formula,
                initial=f"{group.initial:.2f}", maintenance=f"{group.maintenance:.2f}",
            )
            for group in found.groups
        ],
    )  # fmt: skip


def denial(problem: RaxxError) -> DenialShape:
    return DenialShape(code=problem.code, message=problem.message, details=problem.details)


def closed(found: Closed) -> ClosedShape:
    return ClosedShape(
        what=found.what, order=order(found.order) if found.order else None,
        error=denial(found.denial) if found.denial else None,
    )  # fmt: skip


def preview(found: Preview, structure: str | None) -> PreviewShape:
    effect = found.effect
    return PreviewShape(
        accepted=found.denial is None, denial=denial(found.denial) if found.denial else None,
        cash_hold=f"{found.drafts[0].cash_hold:.2f}" if found.drafts else None, structure=structure,
        available=money(effect.available) if effect else None, needed=money(effect.needed) if effect else None,
        debit=money(effect.debit) if effect else None, before=requirement(effect.before) if effect else None,
        after=requirement(effect.after) if effect else None,
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
