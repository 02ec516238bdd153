"""What an account could not pay for at an expiration is closed on its last afternoon."""

from collections.abc import Iterable
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from audit import log as audit
from audit import pseudonym
from mbt import events, selectors
from mbt.engine import account as engine
from mbt.engine import risk_close
from mbt.engine.margin import NoMark
from mbt.engine.means import NoSettlementPrice
from mbt.engine.orders import OrderClass, OrderType, Side, TimeInForce
from mbt.engine.risk_close import CloseIntent
from mbt.engine.tickets import LegTicket, Ticket
from mbt.models import Order
from mbt.selectors import AccountRef
from mbt.selectors.markets import QuoteOf, middle, quotes_of, symbols_around
from mbt.services import fills, orders
from mbt.services.events import store
from mbt.services.events.applying import Effects
from mbt.services.events.payments import log
from mbt.services.events.store import State
from raxx.kernel.clock import EXCHANGE_ZONE, from_ns
from raxx.kernel.errors import RaxxError
from raxx.market.sessions import Sessions

RISK_ORDER = "risk-close-"  # how the engine's own closing orders are named


def close_risks(*, feed: str, sessions: Sessions, at_ns: int, quote_of: QuoteOf) -> Effects:
    """Send the orders that close what accounts could not pay for at the expiration that is near."""
    held = store.options_held(feed)
    due = {
        symbol
        for symbol, contract in store.held_terms(feed, held, sessions).items()
        if risk_close.risk_close_ns(contract) <= at_ns < contract.last_trade_ns
    }
    effects = Effects()
    for account_id in dict.fromkeys(account for symbol in sorted(due) for account in held[symbol]):
        try:
            with fills.isolated(account_id, at=from_ns(at_ns), event="risk close"):
                effects.add(_close_risk(AccountRef(account_id, feed), sessions, at_ns, quote_of, due))
        except (NoSettlementPrice, NoMark) as problem:
            log.warning("risk not known", feed=feed, account=str(account_id), reason=problem.message)
    return effects


def _close_risk(
    account: AccountRef, sessions: Sessions, at_ns: int, quote_of: QuoteOf, due: set[str]
) -> Effects:
    with transaction.atomic():
        state = State.locked(account.id)
        opened = store.open_orders(account.id)
        terms = state.terms(sessions)
        book = _without(
            state.book, [order for order in opened if order.client_order_id.startswith(RISK_ORDER)]
        )
        marks = {
            symbol: mid
            for contract in terms.values()
            for symbol in store.settles_on(contract)
            if (mid := middle(quote_of(symbol)))
        }
        means = state.means(due & set(terms), prices=marks, quote_of=quote_of, at_ns=at_ns)
        intents = risk_close.risk_close(
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


def _packages(account_id: UUID) -> list[risk_close.Structure]:
    """What the account opened as one, the newest first."""
    rows = Order.objects.filter(account_id=account_id, filled_qty__gt=0).exclude(legs=[]).order_by("-number")
    return [
        risk_close.Structure(
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
    before = store.open_orders(account.id)
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
    symbols = symbols_around(account) | {leg.symbol for leg in intent.legs}
    try:
        with transaction.atomic():
            sent = orders.submit(
                account=account, ticket=ticket, now_ns=at_ns, quotes=quotes_of(symbols, quote_of),
                actor=pseudonym.ENGINE, closes=ticket.symbols,
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
