"""Expirations, and the assignments that come before them."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial

from mbt import events
from mbt.engine import assignment, expiry
from mbt.engine.corporate import CashDividend
from mbt.engine.expiry import Expiration, Outcome
from mbt.engine.margin import NoMark
from mbt.engine.means import NoSettlementPrice
from mbt.selectors.markets import QuoteOf, middle
from mbt.services.events import store
from mbt.services.events.applying import Decided, Effects, Record, apply_event
from mbt.services.events.payments import log
from mbt.services.events.store import State
from raxx.kernel.money import from_ticks
from raxx.market.listing import OptionTerms
from raxx.market.sessions import Session, Sessions


def expire_options(*, feed: str, sessions: Sessions, at_ns: int, quote_of: QuoteOf) -> Effects:
    """Settle every contract held on the feed whose end has come by `at_ns`, account by account.

    What lacks its price, or a mark that its account's means depend on, is left as it is and tried again when the
    next one is due.
    """
    held = store.options_held(feed)
    terms = {
        symbol: contract
        for symbol, contract in store.held_terms(feed, held, sessions).items()
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
    wanted = {(symbol, one.price_ns) for one in contracts for symbol in store.settles_on(one)}
    found = store.settlement_prices(feed, wanted)
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


def early_assignments(
    *, feed: str, sessions: Sessions, session: Session, at_ns: int, quote_of: QuoteOf, dividends: Iterable[CashDividend],
    rate: Decimal, seed: int = 0,
) -> Effects:  # fmt: skip
    """Assign the short contracts that their holders exercise in the evening of `session`."""
    held = store.options_held(feed)
    terms = store.held_terms(feed, held, sessions)
    next_session = sessions.current_or_next(session.close_ns).date
    known = tuple(dividends)
    closes = store.settlement_prices(
        feed, {(s, session.close_ns) for one in terms.values() for s in store.settles_on(one)}
    )
    effects = Effects()

    def decide(state: State) -> Decided:
        mine = state.terms(sessions)
        marks = {s: quote for one in mine.values() for s in store.settles_on(one) if (quote := mark(s))}
        priced = {s: one for s, one in mine.items() if all(name in marks for name in store.settles_on(one))}
        early = assignment.early_assignments(
            state.book, terms=priced, marks=marks,
            mids={symbol: mid for symbol in priced if (mid := middle(quote_of(symbol)))},
            dividends=known, rate=rate, evening=session.date, next_session=next_session,
            account=str(state.account.pk), seed=seed,
        )  # fmt: skip
        return Decided(postings=early.postings, records=settled(early.outcomes, events.OPTION_ASSIGNED_EARLY))

    def mark(symbol: str) -> int:
        return closes.get((symbol, session.close_ns)) or middle(quote_of(symbol))

    for account_id in dict.fromkeys(account for accounts in held.values() for account in accounts):
        name = f"early-assignment:{session.date}"
        effects.add(apply_event(account_id, name=name, at_ns=at_ns, decide=decide))
    return effects
