"""What a day brings by itself, and when: corporate actions and dividends, prices at open and close, the risk close,
expirations, early assignment, fees, interest. `next_moment` says when something is due, `carry_out` does it; the engine calls both, on the clock
of its feed, live, in replays and in simulations.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from functools import partial
from typing import NamedTuple

from mbt.engine import risk_close
from mbt.engine.corporate import CashDividend, Event
from mbt.engine.orders import NEVER_NS
from mbt.models import EngineState
from mbt.selectors.markets import QuoteOf
from mbt.services import fills
from mbt.services.events import corporate_actions, interest
from mbt.services.events.applying import Effects
from mbt.services.events.expirations import early_assignments, expire_options
from mbt.services.events.payments import charge_fees, credit_dividends
from mbt.services.events.prices import record_middles
from mbt.services.events.risk_closes import close_risks
from mbt.services.restrictions import day_trading, settling
from raxx.kernel.clock import SECOND_NS, from_ns
from raxx.market.quotes import Quote
from raxx.market.sessions import Hours, Session, Sessions

# From the first risk close of a session on it is looked again so often.
RISK_EVERY_NS = 5 * 60 * SECOND_NS


class Step(IntEnum):
    """In the order in which they go at one instant of one session."""

    MORNING = 0  # before anything trades: corporate actions, then the dividends that are paid
    OPEN = 1  # what is settled on opening prices
    RISK = 2
    CLOSE = 3  # what is settled on closing prices and trades no longer
    LATE_CLOSE = 4  # what traded a quarter of an hour longer; then the evening's assignments
    EVENING = 5  # after the last fill of the trade date: fees, interest


class Due(NamedTuple):
    step: Step
    session: Session


class Moment(NamedTuple):
    """An instant at which something is due."""

    at_ns: int
    steps: tuple[Due, ...] = ()


NEVER = Moment(NEVER_NS)
UNKNOWN = Moment(-1)  # before a feed has said what time it is


@dataclass(frozen=True, slots=True)
class Calendar:
    """What a feed knows of the world beside quotes. `rate`: the yearly interest by which holders of puts decide."""

    actions: Sequence[Event] = field(default=())
    rate: Decimal = Decimal(0)
    seed: int = 0

    @property
    def dividends(self) -> list[CashDividend]:
        """The actions that pay."""
        return [action for action in self.actions if isinstance(action, CashDividend)]


NOTHING_KNOWN = Calendar()
QuotesOf = Callable[[], Mapping[str, Quote]]


def next_moment(sessions: Sessions, after_ns: int) -> Moment:
    """The first instant after `after_ns` at which something is due; NEVER beyond the calendar."""
    times = [
        (at_ns, due)
        for session in _around(sessions, after_ns)
        for at_ns, due in _of(session)
        if at_ns > after_ns
    ]
    if not times:
        return NEVER
    at_ns = min(at_ns for at_ns, _ in times)
    steps = (due for instant, due in times if instant == at_ns)
    return Moment(at_ns, tuple(sorted(steps, key=lambda due: (due.session.open_ns, due.step))))


def last_moment_ns(session: Session) -> int:
    """When everything that belongs to a session has been due."""
    return max(at_ns for at_ns, _ in _of(session))


def _around(sessions: Sessions, at_ns: int) -> Iterator[Session]:
    """The session before or at an instant, and the two that follow."""
    last = sessions.last_opened(at_ns)
    if last is not None:
        yield last
    after_ns = last.close_ns if last else at_ns
    for _ in range(2):
        try:
            session = sessions.current_or_next(after_ns)
        except LookupError:
            return
        yield session
        after_ns = session.close_ns


def _of(session: Session) -> Iterator[tuple[int, Due]]:
    late_ns = session.closes_ns(Hours.LATE)
    yield session.opens_ns(Hours.EXTENDED), Due(Step.MORNING, session)
    yield session.open_ns, Due(Step.OPEN, session)
    first_ns = session.close_ns - max(risk_close.risk_rules(session.date).close_s) * SECOND_NS
    for at_ns in range(max(first_ns, session.open_ns), late_ns, RISK_EVERY_NS):
        yield at_ns, Due(Step.RISK, session)
    yield session.close_ns, Due(Step.CLOSE, session)
    yield late_ns, Due(Step.LATE_CLOSE, session)
    yield session.closes_ns(Hours.EXTENDED), Due(Step.EVENING, session)


def carry_out(
    moment: Moment, *, feed: str, sessions: Sessions, quote_of: QuoteOf, known: Calendar = NOTHING_KNOWN,
    quotes_of: QuotesOf = dict,
) -> Effects:  # fmt: skip
    """Everything that is due at `moment`. All quotes up to it are matched and settled, none after it.

    `quotes_of`: gives all quotes in force, for what changes instruments as a whole.
    """
    effects = Effects()
    for step, session in moment.steps:
        effects.add(_carry_out(step, session, moment.at_ns, feed, sessions, quote_of, known, quotes_of))
    return effects


def begin(feed: str, events_ns: int, position_ns: int, now: datetime) -> None:
    """An engine begins: what was due up to `events_ns` is done, or was before its time."""
    state, created = EngineState.objects.get_or_create(
        feed=feed, defaults={"position_ns": position_ns, "events_ns": events_ns, "updated_at": now}
    )
    if not created and not state.events_ns:
        EngineState.objects.filter(pk=feed).update(events_ns=events_ns)


def note(feed: str, moment: Moment) -> None:
    """Everything up to `moment` is done."""
    EngineState.objects.filter(pk=feed).update(events_ns=moment.at_ns)


def _carry_out(
    step: Step,
    session: Session,
    at_ns: int,
    feed: str,
    sessions: Sessions,
    quote_of: QuoteOf,
    known: Calendar,
    quotes_of: QuotesOf,
) -> Effects:
    match step:
        case Step.MORNING:
            before = sessions.last_opened(session.open_ns - 1)
            after = before.date if before else session.date
            effects = corporate_actions.apply_actions(
                feed=feed,
                after=after,
                day=session.date,
                at_ns=at_ns,
                actions=known.actions,
                quotes_of=quotes_of,
            )
            effects.add(credit_dividends(
                feed=feed, after=after, day=session.date, at_ns=at_ns, dividends=known.dividends
            ))  # fmt: skip
            return effects
        case Step.RISK:
            return close_risks(feed=feed, sessions=sessions, at_ns=at_ns, quote_of=quote_of)
        case Step.OPEN | Step.CLOSE:
            at_close = step is Step.CLOSE
            record_middles(feed=feed, sessions=sessions, at_ns=at_ns, at_close=at_close, quote_of=quote_of)
            if at_close:
                day_trading.close_day(
                    feed=feed, day=session.date, at_ns=at_ns, quote_of=quote_of,
                    within=partial(fills.isolated, at=from_ns(at_ns), event=f"close of {session.date}"),
                )  # fmt: skip
            return expire_options(feed=feed, sessions=sessions, at_ns=at_ns, quote_of=quote_of)
        case Step.LATE_CLOSE:
            effects = expire_options(feed=feed, sessions=sessions, at_ns=at_ns, quote_of=quote_of)
            effects.add(early_assignments(
                feed=feed, sessions=sessions, session=session, at_ns=at_ns, quote_of=quote_of,
                dividends=known.dividends, rate=known.rate, seed=known.seed,
            ))  # fmt: skip
            return effects
        case Step.EVENING:
            within = partial(fills.isolated, at=from_ns(at_ns), event=f"settlement review of {session.date}")
            settling.review(feed=feed, day=session.date, at_ns=at_ns, within=within)
            effects = charge_fees(feed=feed, day=session.date, at_ns=at_ns)
            interest.accrue(feed=feed, sessions=sessions, session=session, at_ns=at_ns, quote_of=quote_of)
            effects.add(interest.post_months(feed=feed, sessions=sessions, session=session, at_ns=at_ns))
            return effects
