"""What holders ask of their options: exercise now, do not exercise, exercise although it is not in the money.

An exercise is carried out at once, whole or not at all. An instruction waits for the expiration, where it is
honoured, and can be taken back until the contract trades for the last time. Each is recorded; asked for again it
changes nothing. Source: docs/rules/assignment.md, docs/rules/expiration.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypeVar
from uuid import UUID, uuid5

from django.db import transaction

from audit import log as audit
from console import switches
from mbt import events as vocabulary
from mbt.engine import assignment, buying_power, margin
from mbt.engine.account import Posting
from mbt.engine.assignment import CannotExercise
from mbt.engine.margin import NoMark, required_level
from mbt.engine.means import NoSettlementPrice
from mbt.models import Account, Activity, ExerciseInstruction, Position
from mbt.selectors import AccountRef
from mbt.selectors.markets import QuoteOf, middle
from mbt.services.events import store
from mbt.services.events.applying import Decided, apply_event
from mbt.services.events.expirations import settled
from mbt.services.events.store import State
from mbt.services.orders import AccountNotActive
from raxx.kernel.clock import from_ns, show_exchange_moment, to_ns
from raxx.kernel.errors import InvalidInput, NotFound, RaxxError
from raxx.kernel.ids import new_id
from raxx.market import calendar
from raxx.market.contracts import Right, parse_symbol
from raxx.market.listing import OptionTerms, stock_of
from raxx.market.quotes import Quote

ZERO = Decimal(0)
Kind = ExerciseInstruction.Kind


class CannotInstruct(RaxxError):
    """No such instruction can be given, or taken back, for this position now."""

    code = "CANNOT_INSTRUCT"
    http_status = 422


class RequestIdReused(RaxxError):
    """The id already names an exercise of something else."""

    code = "REQUEST_ID_REUSED"
    http_status = 422


@dataclass(frozen=True, slots=True)
class Exercised:
    """The lines of history of an exercise. `created` False: it had been carried out before."""

    activities: list[Activity]
    created: bool


# -- now -----------------------------------------------------------------------------------------------


def exercise(
    *, account: AccountRef, symbol: str, qty: Decimal | None, request_id: str | None, now_ns: int,
    quotes: Mapping[str, Quote], actor: str,
) -> Exercised:  # fmt: skip
    """Exercise `qty` long contracts now; None: all that no open order offers.

    `request_id` names the exercise: asked for again it gives what it gave the first time. A part needs one, or
    sending it twice would exercise twice. Raises NotFound, InvalidInput, CannotExercise, NoSettlementPrice, NoMark,
    RequestIdReused, AccountNotActive, TradingDisabled.
    """
    if qty is not None and request_id is None:
        raise InvalidInput(
            field="client_request_id", rule="names the exercise of a part, so that it can be sent again safely",
            value="nothing", remedy="Send a name of your own, or no qty to exercise all.",
        )  # fmt: skip
    name = f"exercise:{request_id or new_id()}"
    ref_id = uuid5(account.id, name)
    known = _exercised_before(account.id, ref_id, symbol, qty)
    if known:
        return Exercised(known, created=False)

    def decide(state: State) -> Decided:
        return _exercise(state, symbol, qty, now_ns, quotes.get)

    def act() -> None:
        with transaction.atomic():
            # The gate comes before the row locks, as in a submission.
            root = parse_symbol(symbol).underlying
            keys = [switches.EVERYTHING, switches.PAPER]
            keys.append(switches.key(switches.Scope.ACCOUNT, account.id))
            keys += [switches.key(switches.Scope.SYMBOL, name) for name in sorted({root, stock_of(root)})]
            switches.require_open(switches.enter(keys), reduces=False)
            apply_event(account.id, name=name, at_ns=now_ns, decide=decide, actor=actor)

    _attempt(act, account=account, symbol=symbol, asked="exercise", qty=qty, now_ns=now_ns, actor=actor)
    done = _exercised_before(account.id, ref_id, symbol, qty)
    return Exercised(done, created=True)


def _exercised_before(account_id: UUID, ref_id: UUID, symbol: str, qty: Decimal | None) -> list[Activity]:
    rows = list(Activity.objects.filter(account_id=account_id, ref_id=ref_id).order_by("line"))
    if rows and (rows[0].symbol != symbol or (qty is not None and rows[0].qty != qty)):
        raise RequestIdReused(
            "This client_request_id already names another exercise. Choose a new one.", field="client_request_id",
            rule="names one exercise for ever", value=f"{rows[0].qty:f} {rows[0].symbol}", remedy="Choose a new one.",
        )  # fmt: skip
    return rows


def _exercise(state: State, symbol: str, qty: Decimal | None, now_ns: int, quote_of: QuoteOf) -> Decided:
    row, contract = _long_option(state, symbol)
    free = row.qty - row.qty_held
    wanted = free if qty is None else qty
    if (wanted > free or not free) and wanted <= row.qty and row.qty_held:
        raise _offered(state, symbol, symbol, wanted, free)
    prices = {name: mid for name in store.settles_on(contract) if (mid := middle(quote_of(name)))}
    means = state.means((), prices=prices, quote_of=quote_of, at_ns=now_ns, used={symbol: wanted})
    found = assignment.exercise(
        symbol, wanted, book=state.book, terms={symbol: contract}, prices=prices, means=means, now_ns=now_ns
    )
    if contract.is_physical:
        _require_free_shares(state, contract, wanted)
        _require_cover(state, found.postings, symbol, prices, quote_of, now_ns)
    return Decided(postings=found.postings, records=settled(found.outcomes, vocabulary.OPTION_EXERCISED))


def _require_free_shares(state: State, contract: OptionTerms, qty: Decimal) -> None:
    """What an exercise takes out of a position must not be what open orders offer."""
    way = 1 if contract.right is Right.CALL else -1
    for name, each in contract.deliverable.shares:
        row = state.rows.get(name)
        if row is None or not row.qty_held or row.qty * way > 0:
            continue
        free = abs(row.qty) - row.qty_held
        if min(each * qty, abs(row.qty)) > free:
            raise _offered(state, contract.symbol, name, qty, free // each)


def _offered(state: State, symbol: str, what: str, wanted: Decimal, free: Decimal) -> CannotExercise:
    holders = [
        order.client_order_id for order in store.open_orders(state.account.pk) if what in order.position_holds
    ]
    most = f", or exercise {free.normalize():f}" if free >= 1 else ""
    remedy = f"Cancel the open order {' and '.join(holders)} first{most}."
    rule = f"what open orders close, here of {what}, is theirs"
    return CannotExercise(
        f"{symbol} cannot be exercised: {rule}. {remedy}", field="qty", rule=rule, value=f"{wanted.normalize():f}",
        remedy=remedy, held_by=", ".join(holders),
    )  # fmt: skip


def _require_cover(
    state: State, postings: tuple[Posting, ...], symbol: str, prices: Mapping[str, int], quote_of: QuoteOf, now_ns: int
) -> None:  # fmt: skip
    """An exercise must not strip a short option of what covers it."""
    before = {name: row.qty for name, row in state.rows.items()}
    after = dict(before)
    for posting in postings:
        after[posting.symbol] = after.get(posting.symbol, ZERO) + posting.qty
    cash = state.account.cash_balance + sum((posting.cash for posting in postings), ZERO)
    try:
        standing = buying_power.standing(
            state.view(after, prices=prices, quote_of=quote_of, at_ns=now_ns, cash=cash)
        )
    except margin.UncoveredShort:
        raise _uncovered(symbol) from None
    is_cash = state.account.account_type == Account.Type.CASH
    needs = required_level(standing.requirement.groups, puts_are_cash_secured=is_cash)
    if not needs.naked_shorts or state.account.naked_shorts:
        return
    now = buying_power.standing(state.view(before, prices=prices, quote_of=quote_of, at_ns=now_ns))
    if not required_level(now.requirement.groups, puts_are_cash_secured=is_cash).naked_shorts:
        raise _uncovered(symbol)


def _uncovered(symbol: str) -> CannotExercise:
    rule = "a long option that covers a short one is not exercised alone"
    remedy = "Close both as one order, or buy the short one back first."
    return CannotExercise(
        f"{symbol} cannot be exercised: {rule}. {remedy}",
        field="symbol",
        rule=rule,
        value=symbol,
        remedy=remedy,
    )


# -- at expiration -------------------------------------------------------------------------------------


def instruct(
    *, account: AccountRef, symbol: str, kind: Kind, qty: Decimal | None, now_ns: int, actor: str
) -> ExerciseInstruction:  # fmt: skip
    """Say what should become of a long contract at its expiration; `qty` None: of all of it, however many there are.

    Given again it stands as it was; another one for the same contract takes its place. Raises NotFound,
    CannotExercise or CannotInstruct.
    """
    at = from_ns(now_ns)

    def act() -> ExerciseInstruction:
        with transaction.atomic():
            state = State.locked(account.id)
            row, contract = _long_option(state, symbol)
            if kind == Kind.EXERCISE and not contract.is_physical:
                raise _refused(
                    kind,
                    symbol,
                    "an index option pays by itself what it is in the money",
                    "There is nothing to do.",
                )
            if qty is not None and (qty <= 0 or qty % 1 or qty > row.qty):
                raise _refused(
                    kind,
                    symbol,
                    "a whole number of the contracts held",
                    f"Ask for 1 to {row.qty.normalize():f}.",
                    qty,
                )
            _require_time(contract, kind, now_ns)
            before = _in_force(account.id, symbol)
            if before is not None:
                if (before.kind, before.qty) == (kind, qty):
                    return before
                _withdraw(before, at, actor)
            given = ExerciseInstruction.objects.create(
                account_id=account.id, symbol=symbol, kind=kind, qty=qty, given_at=at,
                cutoff_at=from_ns(contract.last_trade_ns),
            )  # fmt: skip
            audit.record(
                vocabulary.INSTRUCTION_GIVEN, actor=actor, object_type="mbt.exercise_instruction", object_id=given.pk,
                at=at, changes={"symbol": symbol, "kind": kind, "qty": qty, "account": account.id},
            )  # fmt: skip
            return given

    return _attempt(act, account=account, symbol=symbol, asked=kind, qty=qty, now_ns=now_ns, actor=actor)


@transaction.atomic
def withdraw(*, account: AccountRef, symbol: str, kind: Kind, now_ns: int, actor: str) -> ExerciseInstruction:
    """Take an instruction back, until the contract trades for the last time. Taking it back again changes nothing.

    Raises NotFound where there never was one, CannotInstruct when it is too late.
    """
    State.locked(account.id)
    found = _in_force(account.id, symbol)
    if found is None or found.kind != kind:
        rows = ExerciseInstruction.objects.filter(account_id=account.id, symbol=symbol, kind=kind)
        before = rows.order_by("-given_at", "-id").first()
        if before is None:
            raise NotFound(
                f"There is no instruction for {symbol}.", field="symbol", value=symbol,
                remedy="List your instructions.",
            )  # fmt: skip
        return before
    if now_ns >= to_ns(found.cutoff_at):
        raise _too_late(found.kind, symbol, to_ns(found.cutoff_at))
    _withdraw(found, from_ns(now_ns), actor)
    return found


def _withdraw(row: ExerciseInstruction, at: datetime, actor: str) -> None:
    row.withdrawn_at = at
    row.save(update_fields=["withdrawn_at"])
    audit.record(
        vocabulary.INSTRUCTION_WITHDRAWN, actor=actor, object_type="mbt.exercise_instruction", object_id=row.pk,
        at=at, changes={"symbol": row.symbol, "kind": row.kind},
    )  # fmt: skip


def _in_force(account_id: UUID, symbol: str) -> ExerciseInstruction | None:
    rows = ExerciseInstruction.objects.filter(account_id=account_id, symbol=symbol, withdrawn_at__isnull=True)
    return rows.first()


# -- the parts -----------------------------------------------------------------------------------------


def _long_option(state: State, symbol: str) -> tuple[Position, OptionTerms]:
    """The position and its terms. Raises AccountNotActive, NotFound, CannotExercise."""
    if state.account.status != Account.Status.ACTIVE:
        raise AccountNotActive("This account does not trade. Open a new one.", remedy="Open a new account.")
    row = state.rows.get(symbol)
    if row is None:
        raise NotFound(
            f"There is no open position in {symbol}.",
            field="symbol",
            value=symbol,
            remedy="List your positions.",
        )
    contract = state.terms(calendar.of_feed(state.account.feed)).get(symbol)
    if contract is None or row.qty < 0:
        rule = "only the holder of an option exercises it or leaves it"
        remedy = (
            "Name an option that the account holds long."
            if contract is None
            else "A short one is assigned; buy it back to be rid of it."
        )
        raise CannotExercise(
            f"{symbol} cannot be exercised: {rule}. {remedy}", field="symbol", rule=rule,
            value=f"{row.qty.normalize():f} {symbol}", remedy=remedy,
        )  # fmt: skip
    return row, contract


def _require_time(contract: OptionTerms, kind: str, now_ns: int) -> None:
    if now_ns >= contract.last_trade_ns:
        raise _too_late(kind, contract.symbol, contract.last_trade_ns)


def _too_late(kind: str, symbol: str, cutoff_ns: int) -> CannotInstruct:
    rule = f"an instruction is given or taken back before {show_exchange_moment(cutoff_ns)}"
    return _refused(kind, symbol, rule, "It is decided as it stands.")


def _refused(kind: str, symbol: str, rule: str, remedy: str, value: object = None) -> CannotInstruct:
    return CannotInstruct(
        f"{symbol}: {rule}. {remedy}", field="symbol" if value is None else "qty", rule=rule,
        value=symbol if value is None else value, remedy=remedy, instruction=kind,
    )  # fmt: skip


_T = TypeVar("_T")


def _attempt(
    act: Callable[[], _T], *, account: AccountRef, symbol: str, asked: str, qty: Decimal | None, now_ns: int, actor: str
) -> _T:  # fmt: skip
    """Do it, and record what is denied: nothing else of it is stored."""
    try:
        return act()
    except (CannotExercise, CannotInstruct, NoSettlementPrice, NoMark, switches.SwitchedOff) as denial:
        changes = {"symbol": symbol, "asked": asked, "qty": qty}
        with transaction.atomic():
            audit.record(
                vocabulary.INSTRUCTION_DENIED, actor=actor, object_type="mbt.account", object_id=account.id,
                at=from_ns(now_ns), reason=denial.code, changes={k: v for k, v in changes.items() if v is not None},
            )  # fmt: skip
        raise
