"""The matcher against the brute-force oracle, on small made-up tapes where everything happens at once."""

from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt.engine.fills import Market
from mbt.engine.matching import Closed, Decision, Filled, Matcher, Refused, Rested
from mbt.engine.orders import NEVER_NS, Order, OrderStatus, OrderType, Side, TimeInForce
from raxx.kernel.money import from_ticks
from raxx.market.contracts import AssetClass
from raxx.market.quotes import Quote
from raxx.market.sessions import Session, Sessions
from tests.oracle import brute_force as oracle

SECOND = 1_000_000_000
# Two short sessions with a pause between them, then one far away.
HOURS = [(100, 400), (600, 900), (10_000, 10_100)]
SESSIONS = Sessions(
    "TEST", [Session(date(2026, 1, 1 + n), a * SECOND, b * SECOND) for n, (a, b) in enumerate(HOURS)]
)
END_NS = 950 * SECOND

# Instants that matter: edges of the sessions, their neighbours, and anything between, with many ties.
instants = st.one_of(
    st.sampled_from([99, 100, 101, 399, 400, 401, 599, 600, 899, 900]), st.integers(50, 949)
).map(lambda s: s * SECOND)
ticks = st.integers(9_990, 10_010).map(lambda cents: cents * 100)
sides = st.one_of(ticks, ticks, ticks, st.just(0))


@st.composite
def tapes(draw: st.DrawFn) -> list[Quote]:
    rows = [
        Quote(draw(st.sampled_from(["AA", "BB"])), draw(instants), bid, 1 if bid else 0, ask, 1 if ask else 0)
        for bid, ask in draw(st.lists(st.tuples(sides, sides), min_size=1, max_size=60))
    ]
    return sorted(rows, key=lambda q: q.ts)


@st.composite
def orders(draw: st.DrawFn) -> list[Order]:
    made = []
    for number in range(1, draw(st.integers(1, 12)) + 1):
        kind, tif, at_ns = (
            draw(st.sampled_from([OrderType.MARKET, OrderType.LIMIT])),
            draw(st.sampled_from([TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK])),
            draw(instants),
        )
        made.append(Order(
            id=UUID(int=number), number=number, account_id=UUID(int=0), symbol=draw(st.sampled_from(["AA", "BB"])),
            asset_class=AssetClass.EQUITY, multiplier=1, side=draw(st.sampled_from(Side)), type=kind, tif=tif,
            qty=Decimal(draw(st.integers(1, 5))), limit=draw(ticks) if kind is OrderType.LIMIT else None, accepted_ns=at_ns,
            expires_ns=SESSIONS.current_or_next(at_ns).close_ns if tif is TimeInForce.DAY else NEVER_NS,
        ))  # fmt: skip
    return made


def expected(order: Order, tape: list[Quote]) -> oracle.Outcome:
    rows = [
        oracle.Row(q.ts, from_ticks(q.bid) if q.bid else None, from_ticks(q.ask) if q.ask else None)
        for q in tape
        if q.symbol == order.symbol
    ]
    asked = oracle.Order(
        number=order.number, symbol=order.symbol, submit_ns=order.accepted_ns, side=order.side.value,
        type=order.type.value, tif=order.tif.value, qty=order.qty,
        limit_price=from_ticks(order.limit) if order.limit else None,
    )  # fmt: skip
    return oracle.decide(asked, rows, [oracle.Session(a * SECOND, b * SECOND) for a, b in HOURS], END_NS)


def batches(tape: list[Quote], cuts: list[int]) -> list[tuple[list[Quote], int]]:
    """The tape in batches that never split equal stamps, each with the instant it reaches."""
    edges = sorted({cut * SECOND for cut in cuts} | {END_NS})
    done, made = -1, []
    for edge in edges:
        made.append(([q for q in tape if done < q.ts <= edge], edge))
        done = edge
    return made


def outcome(decisions: list[Decision]) -> oracle.Outcome:
    """What the matcher said of one order, in the oracle's words."""
    ends = [d for d in decisions if isinstance(d, Filled | Closed)]
    assert len(ends) <= 1, "an order ends once"
    match ends:
        case []:
            return oracle.Outcome(kind="working")
        case [Filled(at_ns=at_ns, fill=fill)]:
            return oracle.Outcome(
                kind="filled",
                at_ns=at_ns,
                price=from_ticks(fill.price),
                rule=fill.rule.value,
                quote=row(fill.quote),
            )
        case [Closed(at_ns=at_ns, status=OrderStatus.EXPIRED)]:
            return oracle.Outcome(kind="expired", at_ns=at_ns)
        case [Closed(at_ns=at_ns, why=why, quote=quote)]:
            assert why is not None
            return oracle.Outcome(
                kind="canceled", at_ns=at_ns, reason=why.value, quote=row(quote) if quote else None
            )
    raise AssertionError(ends)


def row(quote: Market) -> oracle.Row:
    return oracle.Row(
        quote.ts, from_ticks(quote.bid) if quote.bid else None, from_ticks(quote.ask) if quote.ask else None
    )


@settings(max_examples=400, deadline=None)
@given(tape=tapes(), asked=orders(), cuts=st.lists(st.integers(50, 949), max_size=6))
def test_every_order_ends_as_brute_force_says_however_the_stream_is_cut(
    tape: list[Quote], asked: list[Order], cuts: list[int]
) -> None:
    matcher = Matcher(SESSIONS, now_ns=0)
    for order in asked:
        matcher.accept(order)
    decisions = []
    for quotes, now_ns in batches(tape, cuts):
        matcher.advance(quotes, now_ns)
        decisions += matcher.take()

    for order in asked:
        assert outcome([d for d in decisions if d.order.id == order.id]) == expected(order, tape), order


@settings(max_examples=300, deadline=None)
@given(tape=tapes(), asked=orders(), cuts=st.lists(st.integers(50, 949), min_size=1, max_size=4))
def test_a_restart_at_any_settled_instant_changes_nothing(
    tape: list[Quote], asked: list[Order], cuts: list[int]
) -> None:
    matcher = Matcher(SESSIONS, now_ns=0)
    for order in asked:
        matcher.accept(order)
    decisions: list[Decision] = []
    in_force: dict[str, Quote] = {}
    for quotes, now_ns in batches(tape, cuts):
        matcher.advance(quotes, now_ns)
        decisions += matcher.take()
        in_force |= {q.symbol: q for q in quotes}
        # All that survives a crash: the instant, the quotes in force, open orders and which of them rest.
        over = {d.order.id for d in decisions if isinstance(d, Filled | Closed)}
        resting = {d.order.id for d in decisions if isinstance(d, Rested)}
        matcher = Matcher(SESSIONS, now_ns=now_ns, in_force=in_force)
        for order in asked:
            if order.id not in over:
                matcher.accept(order, resting=order.id in resting)

    for order in asked:
        told = [d for d in decisions if d.order.id == order.id]
        assert outcome(told) == expected(order, tape), order


@settings(max_examples=150, deadline=None)
@given(tape=tapes(), asked=orders(), at=st.integers(50, 949))
def test_a_removed_order_is_never_heard_of_again(tape: list[Quote], asked: list[Order], at: int) -> None:
    matcher = Matcher(SESSIONS, now_ns=0)
    for order in asked:
        matcher.accept(order)
    (first, now_ns), (rest, end_ns) = (
        batches(tape, [at])[0],
        ([q for q in tape if q.ts > at * SECOND], END_NS),
    )
    matcher.advance(first, now_ns)
    matcher.take()
    for order in asked:
        matcher.remove(order.id)
    matcher.advance(rest, end_ns)
    assert matcher.take() == []
    assert len(matcher) == 0


def test_decisions_of_one_quote_fall_in_order_of_acceptance() -> None:
    matcher = Matcher(SESSIONS, now_ns=100 * SECOND)
    for number, limit in ((3, 1_000_000), (1, 999_900), (2, 1_000_000)):
        matcher.accept(order_at(number, limit))
    matcher.advance([quote(150, 1_000_100, 1_000_200)], 150 * SECOND)
    assert [d.order.number for d in matcher.take() if isinstance(d, Rested)] == [1, 2, 3]
    matcher.advance([quote(160, 999_700, 999_800)], 160 * SECOND)
    fills = matcher.take()
    assert [d.order.number for d in fills] == [1, 2, 3]
    assert [d.fill.price for d in fills if isinstance(d, Filled)] == [999_900, 1_000_000, 1_000_000]


@pytest.mark.parametrize(
    ("bid", "ask", "why"),
    [
        pytest.param(1_000_100, 999_900, "CROSSED_QUOTE", id="crossed"),
        pytest.param(0, 999_900, "ONE_SIDED_QUOTE", id="no bid"),
    ],
)
def test_a_quote_that_cannot_be_used_is_told_once(bid: int, ask: int, why: str) -> None:
    matcher = Matcher(SESSIONS, now_ns=100 * SECOND)
    matcher.accept(order_at(1, 1_000_000))
    matcher.advance([quote(150, 1_000_100, 1_000_200)], 150 * SECOND)
    matcher.take()
    matcher.advance(
        [quote(151, bid, ask), quote(152, bid, ask), quote(153, 1_000_100, 1_000_200)], 153 * SECOND
    )
    told = matcher.take()
    assert [(d.why, d.at_ns) for d in told if isinstance(d, Refused)] == [(why, 151 * SECOND)]
    assert len(told) == 1
    assert len(matcher) == 1


def order_at(number: int, limit: int, *, at: int = 120, tif: TimeInForce = TimeInForce.GTC) -> Order:
    return Order(
        id=UUID(int=number), number=number, account_id=UUID(int=0), symbol="AA", asset_class=AssetClass.EQUITY,
        multiplier=1, side=Side.BUY, type=OrderType.LIMIT, tif=tif, qty=Decimal(1), limit=limit,
        accepted_ns=at * SECOND, expires_ns=NEVER_NS,
    )  # fmt: skip


def quote(at: int, bid: int, ask: int) -> Quote:
    return Quote("AA", at * SECOND, bid, 1 if bid else 0, ask, 1 if ask else 0)
