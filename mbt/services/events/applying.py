"""What happens to an account without an order, carried out once.

The engine decides, in `mbt.engine`; here the account is loaded and locked, the decision is asked for, and what it
posts is written in one transaction. Every event has a name that is unique in the life of an account: carrying it
out again, after a crash or by mistake, changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid5

from django.db import transaction
from django.db.models import F

from audit import log as audit
from audit import pseudonym
from mbt import events, selectors
from mbt.engine import account as engine
from mbt.engine.account import Posting, post
from mbt.engine.corporate import Action, OrderChange
from mbt.engine.fills import Why
from mbt.engine.holds import Reserved, after_lowering
from mbt.engine.matching import Closed
from mbt.engine.orders import OrderStatus
from mbt.models import Account, Activity, Order
from mbt.selectors.markets import symbols_of
from mbt.services import fills
from mbt.services.events import store
from mbt.services.events.store import State
from raxx.kernel import outbox
from raxx.kernel.clock import from_ns
from raxx.kernel.money import from_ticks
from raxx.market.quotes import Quote


@dataclass(frozen=True, slots=True)
class Record:
    """One row for the audit record."""

    action: str
    changes: Mapping[str, object]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What an event does to one account. `over`: the contracts that cease to exist."""

    postings: Sequence[Posting] = ()
    records: Sequence[Record] = ()
    over: frozenset[str] = frozenset()
    orders: Sequence[OrderChange] = ()


@dataclass
class Effects:
    """What the engine must know afterwards: orders that were ended, changed or sent, and the quotes in force of
    what is another thing now."""

    accounts: int = 0
    ended: set[UUID] = field(default_factory=set)
    changed: set[UUID] = field(default_factory=set)
    sent: list[UUID] = field(default_factory=list)
    quotes: dict[str, Quote] = field(default_factory=dict)

    def add(self, other: "Effects") -> None:
        self.accounts += other.accounts
        self.ended |= other.ended
        self.changed |= other.changed
        self.sent += other.sent
        self.quotes |= other.quotes


def apply_event(
    account_id: UUID,
    *,
    name: str,
    at_ns: int,
    decide: Callable[[State], Decided],
    actor: str = pseudonym.ENGINE,
) -> Effects:
    """Carry out the event `name` for one account, once: what it posts, all of it or nothing.

    `decide` sees the account locked. Open orders in what ceased to exist are ended, and those that the account can
    no longer deliver or pay for. Where the engine cannot write it, the account is set aside (`fills.isolated`), and the
    effects are those on its orders: the engine works none of them any more.
    """
    if actor != pseudonym.ENGINE:
        return _apply(account_id, name=name, at_ns=at_ns, decide=decide, actor=actor)
    with fills.isolated(account_id, at=from_ns(at_ns), event=name):
        return _apply(account_id, name=name, at_ns=at_ns, decide=decide, actor=actor)
    return Effects(ended={order.pk for order in store.open_orders(account_id)})


def _apply(
    account_id: UUID, *, name: str, at_ns: int, decide: Callable[[State], Decided], actor: str
) -> Effects:
    with transaction.atomic():
        state = State.locked(account_id)
        ref_id = uuid5(account_id, name)
        if Activity.objects.filter(ref_id=ref_id).exists():
            return Effects()
        decided = decide(state)
        if not decided.postings:
            return Effects()
        at = from_ns(at_ns)
        changed = _adjust_orders(decided.orders, at)
        ended = _end_orders(state, decided, at_ns)
        if ended or changed:
            state.read_again()
        state.write(decided.postings, ref_id=ref_id, at=at)
        audit.record_many([
            audit.Entry(
                action=each.action, actor=actor, object_type="mbt.account", object_id=account_id, at=at,
                changes=each.changes, reason=each.reason,
            )
            for each in decided.records
        ])  # fmt: skip
        outbox.add(
            topic=events.ACCOUNTS_TOPIC,
            key=str(account_id),
            payload={"account_id": account_id, "event": decided.postings[0].kind, "ref_id": ref_id},
        )
    return Effects(accounts=1, ended=ended, changed=changed)


def _adjust_orders(changes: Iterable[OrderChange], at: datetime) -> set[UUID]:
    """Open orders that go on at other prices; a purchase holds no more than its lower limit needs."""
    wanted = {change.order_id: change for change in changes if change.action is Action.ADJUST}
    rows = Order.objects.select_for_update().filter(pk__in=list(wanted), closed_at__isnull=True)
    for row in rows.order_by("number"):
        change = wanted[row.pk]
        before = {"limit_price": row.limit_price, "stop_price": row.stop_price, "cash_hold": row.cash_hold}
        held = after_lowering(
            Reserved(row.cash_hold),
            selectors.to_engine(row),
            limit=change.limit,
            leaves=row.qty - row.filled_qty,
        ).cash
        Account.objects.filter(pk=row.account_id).update(cash_held=F("cash_held") - row.cash_hold + held)
        row.cash_hold = held
        row.limit_price = None if change.limit is None else from_ticks(change.limit)
        row.stop_price = None if change.stop is None else from_ticks(change.stop)
        if row.progress.get("mark"):
            row.progress["mark"] = max(row.progress["mark"] - change.lowered, 0)
        row.save(update_fields=["limit_price", "stop_price", "progress", "cash_hold"])
        now = {"limit_price": row.limit_price, "stop_price": row.stop_price, "cash_hold": row.cash_hold}
        audit.record(
            events.ORDER_ADJUSTED, actor=pseudonym.ENGINE, object_type="mbt.order", object_id=row.pk, at=at,
            changes={name: [before[name], now[name]] for name in before if before[name] != now[name]},
            reason=change.reason,
        )  # fmt: skip
        outbox.add(
            topic=events.ORDERS_TOPIC, key=str(row.pk), payload={"order_id": row.pk, "event": "adjusted"}
        )
    return set(wanted)


def _end_orders(state: State, decided: Decided, at_ns: int) -> set[UUID]:
    """End the open orders that the event leaves without their contract, their position or their cash."""
    account, after = state.account, state.book
    for posting in decided.postings:
        if posting.symbol and (posting.qty or posting.cost):
            after[posting.symbol] = post(after.get(posting.symbol, engine.Position()), posting)
    cash = account.cash_balance + sum((posting.cash for posting in decided.postings), Decimal(0))
    opened = store.open_orders(account.pk)
    over = {order.pk: order for order in opened if symbols_of(order) & decided.over}
    canceled = {change.order_id for change in decided.orders if change.action is Action.CANCEL}
    gone: dict[UUID, tuple[Order, Why]] = {
        order.pk: (order, Why.CORPORATE_ACTION) for order in opened if order.pk in canceled
    }

    def left(symbol: str) -> Decimal:
        """How much of a position can still be closed, beyond what orders that stay have reserved."""
        before, now = state.rows[symbol].qty, after[symbol].qty
        reserved = sum(
            Decimal(order.position_holds.get(symbol, 0))
            for order in opened
            if order.pk not in over and order.pk not in gone
        )
        return (abs(now) if before * now > 0 else Decimal(0)) - reserved

    # The newest goes first: who came earlier keeps what there is.
    for order in reversed(opened):
        if order.pk not in over and any(left(symbol) < 0 for symbol in order.position_holds):
            gone[order.pk] = (order, Why.POSITION_GONE)
    if account.account_type == Account.Type.CASH:
        held = {
            order.pk: order.cash_hold for order in opened if order.pk not in over and order.pk not in gone
        }
        for order in reversed(opened):
            if sum(held.values()) > max(cash, Decimal(0)) and held.get(order.pk):
                gone[order.pk] = (order, Why.CASH_GONE)
                del held[order.pk]
    for order, why in list(gone.values()):
        for kin in opened:
            if kin.pk not in over and kin.pk not in gone and _belongs(kin, order):
                gone[kin.pk] = (kin, why)
    decisions = [
        *(Closed(selectors.to_engine(order), at_ns, OrderStatus.EXPIRED) for order in over.values()),
        *(
            Closed(selectors.to_engine(order), at_ns, OrderStatus.CANCELED, why)
            for order, why in gone.values()
        ),
    ]
    if decisions:
        fills.settle(decisions, feed=account.feed)
    return {*over, *gone}


def _belongs(kin: Order, order: Order) -> bool:
    """Whether `kin` ends with `order`: the other exit of a pair, or an exit that waits for it."""
    if kin.group_id is not None and kin.group_id == order.group_id:
        return True
    return kin.entry_id == order.pk and kin.status == OrderStatus.HELD
