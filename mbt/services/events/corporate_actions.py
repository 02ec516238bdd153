"""Corporate actions at their moment: before the open of their day, account by account, then for the feed as a whole.

The engine decides, in `mbt.engine.corporate`. An action has a name that is unique in the life of a feed. The option
classes that it changes are kept per feed, and change last: until then every account, also one that a crash left for
later, sees the classes as they were.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any
from uuid import UUID

import msgspec
from django.db import transaction

from audit import log as audit
from audit import pseudonym
from mbt import events as vocabulary
from mbt import selectors
from mbt.engine import corporate, repricing
from mbt.engine.account import Kind, Posting
from mbt.engine.corporate import (
    Action,
    CashDividend,
    CashMerger,
    Effect,
    Event,
    SpinOff,
    Split,
    StockMerger,
    SymbolChange,
)
from mbt.models import AdjustedClass, CorporateAction, Order, Position
from mbt.selectors.accounts import instructions_of
from mbt.services.events import store
from mbt.services.events.applying import Decided, Effects, Record, apply_event
from mbt.services.events.store import State
from raxx.kernel.clock import from_ns, to_ns
from raxx.market.contracts import AssetClass
from raxx.market.contracts import Instrument as Contract
from raxx.market.listing import OptionClass, instrument_of, root_of
from raxx.market.models import Instrument
from raxx.market.quotes import Quote
from raxx.market.services import instruments

_KINDS: Mapping[str, type[Event]] = {
    kind.__name__: kind for kind in (CashDividend, Split, SymbolChange, CashMerger, StockMerger, SpinOff)
}


def effective_date(event: Event) -> date:
    """The day before whose open it takes effect."""
    match event:
        case CashDividend() | Split() | SpinOff():
            return event.ex_date
        case _:
            return event.effective


def name_of(event: Event) -> str:
    """Unique in the life of a feed."""
    what = f"{type(event).__name__}:{event.symbol}:{effective_date(event)}"
    if isinstance(event, CashDividend):  # a regular and a special one may share their day
        return f"{what}:{event.amount.normalize():f}:{event.special}"
    return what


def apply_actions(
    *, feed: str, after: date, day: date, at_ns: int, actions: Iterable[Event],
    quotes_of: Callable[[], Mapping[str, Quote]],
) -> Effects:  # fmt: skip
    """Carry out what takes effect after `after` and not after `day`, in the order of days and names.

    `quotes_of` gives those in force, by symbol. The effects tell what they are from now on.
    """
    effects = Effects()
    due = [event for event in actions if after < effective_date(event) <= day]
    in_force = dict(quotes_of()) if due else {}
    for event in sorted(due, key=lambda each: (effective_date(each), name_of(each))):
        done = _apply(event, feed=feed, at_ns=at_ns, quotes=in_force)
        in_force |= done.quotes
        effects.add(done)
    return effects


def _apply(event: Event, *, feed: str, at_ns: int, quotes: Mapping[str, Quote]) -> Effects:
    name = name_of(event)
    if CorporateAction.objects.filter(feed=feed, name=name).exists():
        return Effects()
    before = selectors.adjusted_classes(feed)
    classes = corporate.adjusted_classes(event, before)
    effects = Effects()
    for account_id in _concerned(event, feed, before):

        def decide(state: State) -> Decided:
            state.adjusted = classes
            opened = [selectors.to_engine(order) for order in store.open_orders(state.account.pk)]
            found = corporate.apply(event, book=state.book, orders=opened, adjusted=before)
            _carry_instructions(state, found)
            return _decided(event, found)

        effects.add(apply_event(account_id, name=f"action:{name}", at_ns=at_ns, decide=decide))
    _note(event, feed=feed, at_ns=at_ns, before=before, after=classes)
    effects.quotes = _repriced(event, quotes, at_ns, before)
    return effects


def _decided(event: Event, found: Effect) -> Decided:
    postings = list(found.postings)
    if not postings and found.orders:
        # So that the history says it, and that it is done once.
        count = len(found.orders)
        verb = "canceled" if any(change.action is Action.CANCEL for change in found.orders) else "lowered"
        note = f"{found.orders[0].reason.split('. ')[0].rstrip('.')}; open orders changed: {count} ({verb})"
        postings.append(Posting(kind=Kind.CORPORATE_ACTION, symbol=event.symbol, note=note))
    changes: dict[str, object] = {
        "action": name_of(event),
        "orders": {str(change.order_id): change.reason for change in found.orders},
        "contracts": {change.old: change.new for change in found.contracts},
    }
    return Decided(
        postings=postings, orders=found.orders,
        records=[Record(vocabulary.CORPORATE_ACTION_APPLIED, {k: v for k, v in changes.items() if v})],
    )  # fmt: skip


def _carry_instructions(state: State, found: Effect) -> None:
    """What a holder asked for holds for the contract under its new name."""
    changes = {change.old: change for change in found.contracts}
    for row in instructions_of(state.account.pk):
        change = changes.get(row.symbol)
        if change is not None:
            row.symbol, row.qty = change.new, None if row.qty is None else row.qty * change.each
            row.save(update_fields=["symbol", "qty"])


def _concerned(event: Event, feed: str, adjusted: Mapping[str, OptionClass]) -> list[UUID]:
    """The accounts that hold, or have open orders in, what the event changes; in a fixed order."""
    held = Position.objects.filter(account__feed=feed, closed_at__isnull=True)
    ordered = Order.objects.filter(account__feed=feed, closed_at__isnull=True)
    symbols = {*held.values_list("symbol", flat=True).distinct()}
    for symbol, legs in ordered.values_list("symbol", "legs").distinct():
        symbols |= {leg["symbol"] for leg in legs} or {symbol}
    touched = {symbol for symbol in symbols if _touches(event, symbol, adjusted)}
    by_position = held.filter(symbol__in=touched).values_list("account__created_at", "account_id")
    found = set(by_position)
    rows = ordered.values_list("account__created_at", "account_id", "symbol", "legs")
    for created_at, account_id, symbol, legs in rows:
        if touched & ({leg["symbol"] for leg in legs} or {symbol}):
            found.add((created_at, account_id))
    return [account_id for _, account_id in sorted(found)]


def _touches(event: Event, symbol: str, adjusted: Mapping[str, OptionClass]) -> bool:
    return symbol == event.symbol or corporate.contract_change(event, symbol, adjusted) is not None


@transaction.atomic
def _note(
    event: Event,
    *,
    feed: str,
    at_ns: int,
    before: Mapping[str, OptionClass],
    after: Mapping[str, OptionClass],
) -> None:
    """The feed's own part, after that of all accounts: its option classes are the new ones, and its contracts can be
    ordered under their new names."""
    at = from_ns(at_ns)
    row = CorporateAction.objects.create(
        feed=feed, name=name_of(event), event={"type": type(event).__name__, **_plain(event)},
        classes_before={root: _plain(listed) for root, listed in before.items()}, applied_at=at,
    )  # fmt: skip
    AdjustedClass.objects.filter(feed=feed).exclude(root__in=list(after)).delete()
    for root, listed in after.items():
        AdjustedClass.objects.update_or_create(feed=feed, root=root, defaults={"terms": _plain(listed)})
    instruments.load(feed=feed, found=_renamed(event, feed, before, after))
    audit.record(
        vocabulary.CLASSES_ADJUSTED, actor=pseudonym.ENGINE, object_type="mbt.corporate_action", object_id=row.pk,
        at=at, changes={"feed": feed, "action": row.name, "roots": sorted(after)},
    )  # fmt: skip


def _renamed(
    event: Event, feed: str, before: Mapping[str, OptionClass], after: Mapping[str, OptionClass]
) -> list[Contract]:
    """What the contracts of the feed are now."""
    roots = {root_of(event.symbol), *before}
    listed = Instrument.objects.filter(feed=feed, asset_class=AssetClass.OPTION, underlying__in=roots)
    changes = (
        corporate.contract_change(event, symbol, before)
        for symbol in listed.order_by("symbol").values_list("symbol", flat=True)
    )
    return [instrument_of(change.new, after) for change in changes if change is not None]


def _plain(value: object) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(value, builtin_types=())
    return found


def in_terms_of_now(feed: str, quotes: Mapping[str, Quote]) -> dict[str, Quote]:
    """Quotes as a feed gives them after a restart, those from before a corporate action in terms of what there is
    since."""
    found = dict(quotes)
    for row in CorporateAction.objects.filter(feed=feed).order_by("applied_at", "id"):
        event = msgspec.convert(
            {k: v for k, v in row.event.items() if k != "type"}, _KINDS[row.event["type"]]
        )
        before = {root: msgspec.convert(t, OptionClass) for root, t in row.classes_before.items()}
        found |= _repriced(event, found, to_ns(row.applied_at), before)
    return found


def _repriced(
    event: Event, quotes: Mapping[str, Quote], at_ns: int, before: Mapping[str, OptionClass]
) -> dict[str, Quote]:
    """What quotes from before `at_ns` say now; whatever has been quoted since says it itself."""
    earlier = {symbol: quote for symbol, quote in quotes.items() if quote.ts < at_ns}
    found = repricing.reprice(event, earlier, before)
    return {symbol: quote for symbol, quote in found.items() if symbol not in quotes or symbol in earlier}
