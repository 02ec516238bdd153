"""What happens to accounts without an order: expiration, early assignment, fees, dividends, the risk close.

The engine decides, in `mbt.engine`; here accounts are loaded and locked, the decision is asked for, and what it
posts is written in one transaction. Every event has a name that is unique in the life of an account: carrying it
out again, after a crash or by mistake, changes nothing. When each is due: `mbt.services.day_end`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID, uuid5

import structlog
from django.db import transaction

from audit import log as audit
from audit import pseudonym
from mbt import events, selectors
from mbt.engine import account as engine
from mbt.engine import assignment, corporate, expiry, fees
from mbt.engine.account import Posting, post
from mbt.engine.corporate import Action, CashDividend, OrderChange
from mbt.engine.expiry import CloseIntent, Expiration, NoSettlementPrice, Outcome
from mbt.engine.fills import Why
from mbt.engine.margin import NoMark
from mbt.engine.matching import Closed
from mbt.engine.orders import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from mbt.engine.tickets import LegTicket, Ticket
from mbt.models import Account, Activity, Fill, Order, SettlementPrice
from mbt.selectors import AccountRef
from mbt.services import event_store, fills, orders
from mbt.services.event_store import QuoteOf, State
from raxx.kernel import outbox
from raxx.kernel.clock import EXCHANGE_ZONE, from_ns
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import from_ticks, to_ticks
from raxx.market.contracts import parse_symbol
from raxx.market.listing import OptionTerms
from raxx.market.quotes import Quote
from raxx.market.sessions import Session, Sessions

log = structlog.get_logger(__name__)

# What an account's `fee_schedule` names.
FEE_SCHEDULES: Mapping[str, fees.Schedule] = {
    "none": fees.NOTHING,
    "regulatory": fees.PASSED_ON,
    "regulatory_holiday": fees.PASSED_ON_WITH_HOLIDAY,
    "per_unit": fees.Schedule(
        name="regulators' fees and a commission per unit", fees=fees.PASSED_ON.fees, commission=fees.PER_UNIT
    ),
    "per_order": fees.Schedule(
        name="regulators' fees and a commission per order",
        fees=fees.PASSED_ON.fees,
        commission=fees.PER_ORDER,
    ),
}
RISK_ORDER = "risk-close-"  # how the engine's own closing orders are named


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
    no longer deliver or pay for.
    """
    with transaction.atomic():
        state = State.locked(account_id)
        ref_id = uuid5(account_id, name)
        if Activity.objects.filter(ref_id=ref_id).exists():
            return Effects()
        decided = decide(state)
        if not decided.postings:
            return Effects()
        at = from_ns(at_ns)
        ended = _end_orders(state, decided, at_ns)
        changed = _adjust_orders(decided.orders, at)
        if ended:
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
    """Open orders that go on at other prices."""
    wanted = {change.order_id: change for change in changes if change.action is Action.ADJUST}
    rows = Order.objects.select_for_update().filter(pk__in=list(wanted), closed_at__isnull=True)
    for row in rows.order_by("number"):
        change = wanted[row.pk]
        before = {"limit_price": row.limit_price, "stop_price": row.stop_price}
        row.limit_price = None if change.limit is None else from_ticks(change.limit)
        row.stop_price = None if change.stop is None else from_ticks(change.stop)
        if row.progress.get("mark"):
            row.progress["mark"] = max(row.progress["mark"] - change.lowered, 0)
        row.save(update_fields=["limit_price", "stop_price", "progress"])
        now = {"limit_price": row.limit_price, "stop_price": row.stop_price}
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
    opened = event_store.open_orders(account.pk)
    over = {order.pk: order for order in opened if event_store.symbols_of(order) & decided.over}
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


# -- prices --------------------------------------------------------------------------------------------


@transaction.atomic
def record_price(
    *, feed: str, symbol: str, at_ns: int, price: Decimal, source: str, actor: str = pseudonym.ENGINE
) -> bool:
    """Record the one price of an underlying at a close or an open. Whether it is new: the first one stays."""
    row, created = SettlementPrice.objects.get_or_create(
        feed=feed, symbol=symbol, at=from_ns(at_ns), defaults={"price": price, "source": source}
    )
    if created:
        audit.record(
            events.SETTLEMENT_PRICE_RECORDED,
            actor=actor,
            object_type="mbt.settlement_price",
            object_id=row.pk,
            at=row.at,
            changes={"feed": feed, "symbol": symbol, "price": price, "source": source},
        )
    return created


def record_middles(*, feed: str, sessions: Sessions, at_ns: int, at_close: bool, quote_of: QuoteOf) -> None:
    """At an open or a close: record the middle of the NBBO in force of everything that options held here are settled
    on then, and at a close of what the others follow, where no official price is known."""
    held = event_store.options_held(feed)
    terms = event_store.held_terms(feed, held, sessions)
    wanted = set()
    for contract in terms.values():
        if contract.price_ns == at_ns or (at_close and contract.price_ns > at_ns):
            wanted.update(event_store.settles_on(contract))
    for symbol in sorted(wanted):
        ticks = event_store.middle(quote_of(symbol))
        if ticks:
            record_price(
                feed=feed,
                symbol=symbol,
                at_ns=at_ns,
                price=from_ticks(ticks),
                source=SettlementPrice.Source.MIDDLE,
            )


# -- expiration ----------------------------------------------------------------------------------------


def expire_options(*, feed: str, sessions: Sessions, at_ns: int, quote_of: QuoteOf) -> Effects:
    """Settle every contract held on the feed whose end has come by `at_ns`, account by account.

    What lacks its price, or a mark that its account's means depend on, is left as it is and tried again when the
    next one is due.
    """
    held = event_store.options_held(feed)
    terms = {
        symbol: contract
        for symbol, contract in event_store.held_terms(feed, held, sessions).items()
        if contract.expires_ns <= at_ns
    }
    effects = Effects()
    for expires_ns in sorted({contract.expires_ns for contract in terms.values()}):
        group = {s: contract for s, contract in terms.items() if contract.expires_ns == expires_ns}
        prices = _prices(feed, group.values())
        for account_id in dict.fromkeys(account for symbol in group for account in held[symbol]):
            decide = partial(_expired, group=group, prices=prices, quote_of=quote_of, at_ns=at_ns)
            name = f"expiration:{expires_ns}"
            try:
                effects.add(apply_event(account_id, name=name, at_ns=at_ns, decide=decide))
            except (NoSettlementPrice, NoMark) as problem:
                log.warning("expiration waits", feed=feed, account=str(account_id), reason=problem.message)
    return effects


def _prices(feed: str, contracts: Iterable[OptionTerms]) -> dict[str, int]:
    wanted = {(symbol, one.price_ns) for one in contracts for symbol in event_store.settles_on(one)}
    found = event_store.settlement_prices(feed, wanted)
    return {symbol: price for (symbol, _), price in sorted(found.items())}


def _expired(
    state: State, group: Mapping[str, OptionTerms], prices: Mapping[str, int], quote_of: QuoteOf, at_ns: int
) -> Decided:
    mine = {symbol: contract for symbol, contract in group.items() if symbol in state.rows}
    means = state.means(mine, prices=prices, quote_of=quote_of, at_ns=at_ns)
    found = expiry.expire(
        state.book, terms=mine, prices=prices, means=means, at_ns=at_ns, instructions=state.instructions()
    )
    return Decided(
        postings=found.postings,
        records=[*settled(found.outcomes, events.OPTION_SETTLED), *_deficit(found)],
        over=frozenset(mine),
    )


def settled(outcomes: Iterable[Outcome], action: str) -> list[Record]:
    """What became of contracts, for the audit record."""
    return [
        Record(
            action,
            {
                "symbol": outcome.symbol, "qty": outcome.qty, "fate": outcome.fate, "amount": outcome.amount,
                "price": from_ticks(outcome.price), "why": outcome.reason,
            },
        )
        for outcome in outcomes
    ]  # fmt: skip


def _deficit(found: Expiration) -> list[Record]:
    return [Record(events.ACCOUNT_DEFICIT, {"deficit": found.deficit})] if found.deficit else []


# -- before expiration ---------------------------------------------------------------------------------


def early_assignments(
    *, feed: str, sessions: Sessions, session: Session, at_ns: int, quote_of: QuoteOf, dividends: Iterable[CashDividend],
    rate: Decimal, seed: int = 0,
) -> Effects:  # fmt: skip
    """Assign the short contracts that their holders exercise in the evening of `session`."""
    held = event_store.options_held(feed)
    terms = event_store.held_terms(feed, held, sessions)
    next_session = sessions.current_or_next(session.close_ns).date
    known = tuple(dividends)
    closes = event_store.settlement_prices(
        feed, {(s, session.close_ns) for one in terms.values() for s in event_store.settles_on(one)}
    )
    effects = Effects()

    def decide(state: State) -> Decided:
        mine = state.terms(sessions)
        marks = {s: quote for one in mine.values() for s in event_store.settles_on(one) if (quote := mark(s))}
        priced = {
            s: one for s, one in mine.items() if all(name in marks for name in event_store.settles_on(one))
        }
        early = assignment.early_assignments(
            state.book, terms=priced, marks=marks,
            mids={symbol: mid for symbol in priced if (mid := event_store.middle(quote_of(symbol)))},
            dividends=known, rate=rate, evening=session.date, next_session=next_session,
            account=str(state.account.pk), seed=seed,
        )  # fmt: skip
        return Decided(postings=early.postings, records=settled(early.outcomes, events.OPTION_ASSIGNED_EARLY))

    def mark(symbol: str) -> int:
        return closes.get((symbol, session.close_ns)) or event_store.middle(quote_of(symbol))

    for account_id in dict.fromkeys(account for accounts in held.values() for account in accounts):
        name = f"early-assignment:{session.date}"
        effects.add(apply_event(account_id, name=name, at_ns=at_ns, decide=decide))
    return effects


def close_risks(*, feed: str, sessions: Sessions, at_ns: int, quote_of: QuoteOf) -> Effects:
    """Send the orders that close what accounts could not pay for at the expiration that is near."""
    held = event_store.options_held(feed)
    due = {
        symbol
        for symbol, contract in event_store.held_terms(feed, held, sessions).items()
        if expiry.risk_close_ns(contract) <= at_ns < contract.last_trade_ns
    }
    effects = Effects()
    for account_id in dict.fromkeys(account for symbol in sorted(due) for account in held[symbol]):
        try:
            effects.add(_close_risk(AccountRef(account_id, feed), sessions, at_ns, quote_of, due))
        except (NoSettlementPrice, NoMark) as problem:
            log.warning("risk not known", feed=feed, account=str(account_id), reason=problem.message)
    return effects


def _close_risk(
    account: AccountRef, sessions: Sessions, at_ns: int, quote_of: QuoteOf, due: set[str]
) -> Effects:
    with transaction.atomic():
        state = State.locked(account.id)
        opened = event_store.open_orders(account.id)
        terms = state.terms(sessions)
        book = _without(
            state.book, [order for order in opened if order.client_order_id.startswith(RISK_ORDER)]
        )
        marks = {
            symbol: mid
            for contract in terms.values()
            for symbol in event_store.settles_on(contract)
            if (mid := event_store.middle(quote_of(symbol)))
        }
        means = state.means(due & set(terms), prices=marks, quote_of=quote_of, at_ns=at_ns)
        intents = expiry.risk_close(
            book,
            terms=terms,
            marks=marks,
            means=means,
            now_ns=at_ns,
            declared=_packages(account.id),
            instructions=state.instructions(),
        )
    effects = Effects(accounts=1 if intents else 0)
    for number, intent in enumerate(intents, start=1):
        effects.ended |= _make_room(account, intent, at_ns)
        name = f"{RISK_ORDER}{from_ns(at_ns).astimezone(EXCHANGE_ZONE):%Y-%m-%d-%H%M}-{number}"
        sent = _send_close(account, intent, name, at_ns, quote_of)
        if sent is not None:
            effects.sent.append(sent.pk)
    return effects


def _without(book: dict[str, engine.Position], closing: Iterable[Order]) -> dict[str, engine.Position]:
    """The book as it will be when the engine's own orders of before have filled."""
    for order in closing:
        for symbol, reserved in order.position_holds.items():
            held = book[symbol]
            closed = min(Decimal(reserved), abs(held.qty)).copy_sign(held.qty)
            book[symbol] = engine.Position(held.qty - closed, held.cost)
    return book


def _packages(account_id: UUID) -> list[expiry.Structure]:
    """What the account opened as one, the newest first."""
    rows = Order.objects.filter(account_id=account_id, filled_qty__gt=0).exclude(legs=[]).order_by("-number")
    return [
        expiry.Structure(
            "package",
            tuple(
                (leg["symbol"], row.filled_qty * leg["ratio"] * (1 if leg["side"] == Side.BUY else -1))
                for leg in row.legs
            ),
        )
        for row in rows
    ]


def _make_room(account: AccountRef, intent: CloseIntent, at_ns: int) -> set[UUID]:
    """Cancel the orders that already offer what is about to be closed."""
    before = event_store.open_orders(account.id)
    legs = {leg.symbol for leg in intent.legs}
    for order in before:
        if legs & set(order.position_holds) and not order.client_order_id.startswith(RISK_ORDER):
            try:
                orders.cancel(account=account, order_id=order.pk, at=from_ns(at_ns), actor=pseudonym.ENGINE)
            except orders.OrderNotOpen:
                continue  # it ended with another
    ids = {order.pk for order in before}
    return ids - selectors.open_order_ids(ids)


def _send_close(
    account: AccountRef, intent: CloseIntent, name: str, at_ns: int, quote_of: QuoteOf
) -> Order | None:
    single = len(intent.legs) == 1
    ticket = Ticket(
        symbol=intent.legs[0].symbol if single else "", side=intent.legs[0].side if single else Side.BUY,
        qty=intent.qty * (intent.legs[0].ratio if single else 1), order_type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY, client_order_id=name,
        order_class=OrderClass.SIMPLE if single else OrderClass.MLEG,
        legs=() if single else tuple(LegTicket(leg.symbol, leg.side, leg.ratio) for leg in intent.legs),
    )  # fmt: skip
    symbols = event_store.symbols_around(account.id) | {leg.symbol for leg in intent.legs}
    try:
        with transaction.atomic():
            sent = orders.submit(
                account=account, ticket=ticket, now_ns=at_ns, quotes=event_store.quotes_of(symbols, quote_of),
                actor=pseudonym.ENGINE,
            )  # fmt: skip
            if sent.created:
                audit.record(
                    events.RISK_CLOSED, actor=pseudonym.ENGINE, object_type="mbt.order", object_id=sent.order.pk,
                    at=from_ns(at_ns), changes={"why": intent.reason},
                )  # fmt: skip
    except RaxxError as denial:
        log.warning("risk close denied", account=str(account.id), code=denial.code, reason=denial.message)
        return None
    return sent.order


# -- money ---------------------------------------------------------------------------------------------


def charge_fees(*, feed: str, day: date, at_ns: int) -> Effects:
    """Charge each account of the feed the fees of its fills on trade date `day`, by its own schedule."""
    effects = Effects()
    start = _midnight(day)
    for account_id, rows in event_store.fills_between(
        feed, start, _midnight(day + timedelta(days=1))
    ).items():

        def decide(state: State, rows: Sequence[Fill] = rows) -> Decided:
            schedule = FEE_SCHEDULES[state.account.fee_schedule]
            items = [
                item
                for row in rows
                for item in fees.of_fill(
                    order_id=str(row.order_id), instrument=parse_symbol(row.symbol), side=Side(row.side), qty=row.qty,
                    price=to_ticks(row.price), day=day, schedule=schedule,
                )
            ]  # fmt: skip
            postings = fees.charge(items)
            total = -sum((posting.cash for posting in postings), Decimal(0))
            changes = {"day": day.isoformat(), "amount": total, "schedule": state.account.fee_schedule}
            return Decided(postings=postings, records=[Record(events.FEES_CHARGED, changes)])

        effects.add(apply_event(account_id, name=f"fees:{day}", at_ns=at_ns, decide=decide))
    return effects


def credit_dividends(
    *, feed: str, after: date, day: date, at_ns: int, dividends: Iterable[CashDividend]
) -> Effects:
    """Pay the dividends whose pay date lies after `after` and not after `day`, to and by who held before the
    ex-date."""
    effects = Effects()
    for event in sorted(dividends, key=lambda each: (each.ex_date, each.symbol, each.amount)):
        if not after < (event.pay_date or event.ex_date) <= day:
            continue
        for account_id, qty in event_store.held_before(feed, event.symbol, _midnight(event.ex_date)).items():

            def decide(state: State, event: CashDividend = event, qty: Decimal = qty) -> Decided:
                owed = corporate.entitlement(event, {event.symbol: engine.Position(qty)})
                if owed is None or not owed.amount:
                    return Decided()
                changes = {
                    "symbol": event.symbol,
                    "ex_date": event.ex_date.isoformat(),
                    "amount": owed.amount,
                }
                return Decided(
                    postings=[corporate.pay(owed)], records=[Record(events.DIVIDEND_PAID, changes)]
                )

            name = f"dividend:{event.symbol}:{event.ex_date}:{event.amount.normalize():f}:{event.special}"
            effects.add(apply_event(account_id, name=name, at_ns=at_ns, decide=decide))
    return effects


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), EXCHANGE_ZONE)
