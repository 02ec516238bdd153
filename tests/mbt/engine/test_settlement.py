"""Settlement dates from published schedules; violations from a broker's and a regulator's own examples."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal as D
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt.engine.settlement import (
    FIVE_STRIKES,
    THREE_STRIKES,
    Breach,
    Deposit,
    Move,
    Trade,
    Violation,
    cycle,
    free_settled_cash,
    payment_deadline,
    restriction,
    settled_cash,
    settlement_date,
    trade_cash,
    unsettled,
    violations,
)  # fmt: skip
from raxx.market.calendar import always, xnys
from raxx.market.contracts import AssetClass
from raxx.market.sessions import Session, Sessions

STOCK, OPTION = AssetClass.EQUITY, AssetClass.OPTION
LATER = date(2026, 12, 31)
MONDAY, TUESDAY, WEDNESDAY, FRIDAY = date(2026, 6, 8), date(2026, 6, 9), date(2026, 6, 10), date(2026, 6, 12)


def weekdays(first: date, last: date) -> Sessions:
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return Sessions(
        "WEEKDAYS", [Session(d, d.toordinal() * 2, d.toordinal() * 2 + 1) for d in days if d.weekday() < 5]
    )


@pytest.mark.parametrize(
    ("traded", "settles", "paid_by"),
    [
        # NASD Notice to Members 95-77, Columbus Day 1995: trade date, settlement date, Reg. T date.
        (date(1995, 10, 2), date(1995, 10, 5), date(1995, 10, 9)),
        (date(1995, 10, 3), date(1995, 10, 6), date(1995, 10, 10)),
        (date(1995, 10, 4), date(1995, 10, 10), date(1995, 10, 11)),
        (date(1995, 10, 5), date(1995, 10, 11), date(1995, 10, 12)),
        (date(1995, 10, 6), date(1995, 10, 12), date(1995, 10, 13)),
        (date(1995, 10, 9), date(1995, 10, 12), date(1995, 10, 16)),
        (date(1995, 10, 10), date(1995, 10, 13), date(1995, 10, 17)),
        # NASD Notice to Members 99-83, Columbus Day 1999.
        (date(1999, 10, 5), date(1999, 10, 8), date(1999, 10, 12)),
        (date(1999, 10, 6), date(1999, 10, 12), date(1999, 10, 13)),
        (date(1999, 10, 7), date(1999, 10, 13), date(1999, 10, 14)),
        (date(1999, 10, 8), date(1999, 10, 14), date(1999, 10, 15)),
        (date(1999, 10, 11), date(1999, 10, 14), date(1999, 10, 18)),
        (date(1999, 10, 12), date(1999, 10, 15), date(1999, 10, 19)),
    ],
)
def test_the_published_schedules(traded: date, settles: date, paid_by: date) -> None:
    sessions = weekdays(date(traded.year, 10, 1), date(traded.year, 10, 31))
    assert settlement_date(traded, STOCK, sessions) == settles
    assert payment_deadline(traded, STOCK, sessions) == paid_by


@pytest.mark.parametrize(
    ("traded", "asset_class", "settles"),
    [
        pytest.param(date(2017, 9, 1), STOCK, date(2017, 9, 7), id="the last T+3: Labor Day between"),
        pytest.param(date(2017, 9, 5), STOCK, date(2017, 9, 7), id="the first T+2 settles on the same day"),
        pytest.param(date(2024, 5, 24), STOCK, date(2024, 5, 29), id="the last T+2: Memorial Day between"),
        pytest.param(date(2024, 5, 28), STOCK, date(2024, 5, 29), id="the first T+1 settles on the same day"),
        pytest.param(
            date(2013, 10, 7), OPTION, date(2013, 10, 8), id="options settled the next day all along"
        ),
        pytest.param(FRIDAY, STOCK, date(2026, 6, 15), id="over a weekend"),
        pytest.param(date(2026, 6, 18), STOCK, date(2026, 6, 22), id="over Juneteenth and a weekend"),
        pytest.param(date(2026, 4, 2), STOCK, date(2026, 4, 6), id="over Good Friday"),
        pytest.param(date(2026, 11, 25), STOCK, date(2026, 11, 27), id="a half day settles"),
        pytest.param(date(2025, 10, 10), STOCK, date(2025, 10, 14), id="not on Columbus Day"),
        pytest.param(date(2025, 10, 13), STOCK, date(2025, 10, 14), id="Columbus Day trades"),
        pytest.param(date(2025, 11, 10), STOCK, date(2025, 11, 12), id="not on Veterans Day"),
        pytest.param(date(2018, 11, 9), OPTION, date(2018, 11, 13), id="nor on the Monday after a Sunday's"),
    ],
)
def test_settlement_on_the_exchange_calendar(traded: date, asset_class: AssetClass, settles: date) -> None:
    assert settlement_date(traded, asset_class, xnys()) == settles


def test_days_without_an_answer_are_errors() -> None:
    with pytest.raises(LookupError, match="1995-06-07"):
        cycle(date(1995, 6, 6), STOCK)
    short = weekdays(date(2026, 6, 8), date(2026, 6, 12))
    with pytest.raises(LookupError, match="no session after"):
        settlement_date(FRIDAY, STOCK, short)


@given(
    st.dates(date(2006, 1, 3), date(2027, 6, 1)),
    st.sampled_from(AssetClass),
    st.sampled_from([xnys(), always()]),
)
def test_settlement_comes_after_the_trade_and_never_goes_back(
    day: date, asset_class: AssetClass, sessions: Sessions
) -> None:
    settles = settlement_date(day, asset_class, sessions)
    assert settles > day
    assert sessions.on(settles)
    assert settles <= settlement_date(day + timedelta(days=1), asset_class, sessions)
    assert settles <= payment_deadline(day, asset_class, sessions)


def test_trade_date_cash_and_settled_cash() -> None:
    # 1,000.00 at first; on Monday 500.00 are sold and 300.00 bought, both settling on Tuesday.
    moves = [Move(D(1000), MONDAY, MONDAY), Move(D(500), MONDAY, TUESDAY), Move(D(-300), MONDAY, TUESDAY)]
    assert (trade_cash(moves, MONDAY), settled_cash(moves, MONDAY)) == (D(1200), D(1000))
    assert (trade_cash(moves, TUESDAY), settled_cash(moves, TUESDAY)) == (D(1200), D(1200))
    assert unsettled(moves, MONDAY) == {TUESDAY: D(500)}
    assert unsettled(moves, TUESDAY) == {}
    # What may be spent without waiting: 1,000.00 less the 300.00 that go tomorrow.
    assert (free_settled_cash(moves, MONDAY), free_settled_cash(moves, TUESDAY)) == (D(700), D(1200))


days = st.dates(date(2026, 1, 5), date(2026, 3, 31))
moves = st.lists(
    st.tuples(st.decimals("-5000", "5000", places=2), days, st.integers(0, 5)).map(
        lambda t: Move(t[0], t[1], t[1] + timedelta(days=t[2]))
    ),
    max_size=20,
)


@given(moves, days, st.randoms())
def test_settled_cash_converges_to_cash(made: list[Move], on: date, random: Random) -> None:
    end = date(2026, 4, 10)
    assert settled_cash(made, end) == trade_cash(made, end) == sum((m.amount for m in made), D(0))
    assert unsettled(made, end) == {}
    shuffled = made.copy()
    random.shuffle(shuffled)
    assert settled_cash(shuffled, on) == settled_cash(made, on)
    assert unsettled(shuffled, on) == unsettled(made, on)
    # What is agreed and has not settled is the whole difference.
    due = sum(unsettled(made, on).values(), D(0))
    to_pay = sum((m.amount for m in made if m.day <= on < m.settles and m.amount < 0), D(0))
    assert trade_cash(made, on) - settled_cash(made, on) == due + to_pay
    assert free_settled_cash(made, on) == max(D(0), settled_cash(made, on) + to_pay)


class History:
    """Writes down trades; an order is named by its number, its fills likewise."""

    def __init__(self, cash: str = "0", day: date = MONDAY) -> None:
        self.events: list[Trade | Deposit] = [Deposit(D(cash), day)] if D(cash) else []
        self.count = 0

    def trade(
        self,
        symbol: str,
        qty: str,
        cash: str,
        day: date,
        *,
        order_id: str = "",
        asset_class: AssetClass = STOCK,
    ) -> "History":
        self.count += 1
        number = str(self.count)
        self.events.append(
            Trade(
                fill_id=number, order_id=order_id or number, symbol=symbol, qty=D(qty), cash=D(cash), day=day,
                asset_class=asset_class,
            )
        )  # fmt: skip
        return self

    def deposit(self, amount: str, day: date) -> "History":
        self.events.append(Deposit(D(amount), day))
        return self

    def found(self, as_of: date = LATER, held: dict[str, D] | None = None) -> tuple[Violation, ...]:
        return violations(self.events, xnys(), as_of=as_of, held=held)


def test_sold_before_the_proceeds_that_paid_for_it_had_settled() -> None:
    # Monday: XYZ is sold for 10,000, ABC bought with it, and sold again: XYZ settles on Tuesday only.
    history = History().trade("XYZ", "-100", "10000", MONDAY)
    history.trade("ABC", "50", "-10000", MONDAY).trade("ABC", "-50", "10100", MONDAY)
    (violation,) = history.found(held={"XYZ": D(100)})
    assert violation.breach is Breach.GOOD_FAITH
    assert (violation.day, violation.fine_from) == (MONDAY, TUESDAY)
    assert (violation.purchase.fill_id, violation.sale.fill_id) == ("2", "3")
    assert [t.fill_id for t in violation.paid_with] == ["1"]
    assert violation.message == (
        "ABC was bought on 2026-06-08 with the proceeds of XYZ, which settle on 2026-06-09, and sold on 2026-06-08, "
        "before they had."
    )
    assert violation.remedy == "Hold ABC until 2026-06-09, or buy with settled cash."


def test_sold_on_the_day_on_which_the_proceeds_settle() -> None:
    history = History().trade("XYZ", "-100", "10000", MONDAY)
    history.trade("ABC", "50", "-10000", MONDAY).trade("ABC", "-50", "10100", TUESDAY)
    assert history.found(held={"XYZ": D(100)}) == ()


def test_settled_cash_may_be_turned_over_once() -> None:
    # 10,000 settled: A bought and sold is in order. B, bought with A's proceeds and sold the same day, is not.
    # The Board's staff on 7 January 2000 about exactly these four trades.
    history = History("10000").trade("A", "100", "-10000", MONDAY).trade("A", "-100", "10500", MONDAY)
    assert history.found() == ()
    history.trade("B", "100", "-10500", MONDAY).trade("B", "-100", "10600", MONDAY)
    (violation,) = history.found()
    assert (violation.purchase.symbol, violation.breach) == ("B", Breach.GOOD_FAITH)


def test_settled_money_is_spent_first() -> None:
    # 5,000 settled and 5,000 to come; B costs 5,000 and is paid with settled money, C with the rest.
    history = History("5000").trade("XYZ", "-50", "5000", MONDAY)
    history.trade("B", "50", "-5000", MONDAY).trade("B", "-50", "5000", MONDAY)
    assert history.found(held={"XYZ": D(50)}) == ()
    history.trade("C", "50", "-5000", MONDAY).trade("C", "-50", "5000", MONDAY)
    assert [v.purchase.symbol for v in history.found(held={"XYZ": D(50)})] == ["C"]


def test_a_purchase_is_one_violation_however_it_is_sold() -> None:
    history = History().trade("XYZ", "-100", "10000", MONDAY).trade("ABC", "50", "-10000", MONDAY)
    for _ in range(5):
        history.trade("ABC", "-10", "2000", MONDAY)
    assert len(history.found(held={"XYZ": D(100)})) == 1


def test_shares_are_sold_first_in_first_out() -> None:
    # The first 50 B were paid with settled cash, the second 50 with what XYZ brings tomorrow.
    history = History("5000").trade("XYZ", "-50", "5000", MONDAY)
    history.trade("B", "50", "-5000", MONDAY).trade("B", "50", "-5000", MONDAY).trade(
        "B", "-50", "5000", MONDAY
    )
    assert history.found(held={"XYZ": D(50)}) == ()
    history.trade("B", "-1", "100", MONDAY)
    assert [v.purchase.fill_id for v in history.found(held={"XYZ": D(50)})] == ["3"]


def test_the_fills_of_an_order_are_one_purchase() -> None:
    # The same hundred as one order: none of it is paid before all of it is.
    history = History("5000").trade("XYZ", "-50", "5000", MONDAY)
    history.trade("B", "50", "-5000", MONDAY, order_id="b").trade("B", "50", "-5000", MONDAY, order_id="b")
    history.trade("B", "-50", "5000", MONDAY)
    assert [v.purchase.order_id for v in history.found(held={"XYZ": D(50)})] == ["b"]


def test_what_was_held_before_is_sold_first() -> None:
    history = History().trade("XYZ", "-100", "10000", MONDAY).trade("ABC", "50", "-10000", MONDAY)
    history.trade("ABC", "-50", "10000", MONDAY)
    assert history.found(held={"XYZ": D(100), "ABC": D(50)}) == ()


def test_options_settle_the_next_day_under_t_plus_3_too() -> None:
    monday, tuesday, thursday = date(2014, 6, 2), date(2014, 6, 3), date(2014, 6, 5)
    for asset_class, fine_from in ((OPTION, tuesday), (STOCK, thursday)):
        history = History().trade("OLD", "-1", "1000", monday, asset_class=asset_class)
        history.trade("NEW", "10", "-1000", monday).trade("NEW", "-10", "1000", monday)
        (violation,) = history.found(held={"OLD": D(1)})
        assert violation.fine_from == fine_from


def test_writing_a_covered_call_brings_money_that_settles_the_next_day() -> None:
    call = "ABC261218C00050000"
    history = History().trade(call, "-1", "200", MONDAY, asset_class=OPTION)
    history.trade("XYZ", "2", "-200", MONDAY).trade("XYZ", "-2", "210", MONDAY)
    assert [v.purchase.symbol for v in history.found()] == ["XYZ"]
    # Buying it back closes it, here with the unsettled premium: nothing is held that could be sold too early.
    closed = History().trade(call, "-1", "200", MONDAY, asset_class=OPTION)
    closed.trade(call, "1", "-150", MONDAY, asset_class=OPTION).trade(
        call, "-1", "200", MONDAY, asset_class=OPTION
    )
    assert closed.found() == ()


def test_a_free_ride() -> None:
    # Nothing in the account: ABC bought for 10,000 and sold for 10,500, so that its own sale pays for it.
    # Payment is due three business days after the trade: Thursday.
    history = History().trade("ABC", "100", "-10000", MONDAY).trade("ABC", "-100", "10500", TUESDAY)
    thursday = date(2026, 6, 11)
    assert history.found(as_of=thursday) == ()
    (violation,) = history.found(as_of=FRIDAY)
    assert violation.breach is Breach.FREE_RIDING
    assert (violation.day, violation.fine_from) == (TUESDAY, thursday)
    assert "10,000.00 were missing" in violation.message


@pytest.mark.parametrize(
    ("amount", "day", "free_ride"),
    [
        pytest.param("10000", date(2026, 6, 11), False, id="paid on the last day"),
        pytest.param("10000", date(2026, 6, 12), True, id="a day late"),
        pytest.param("9999.99", date(2026, 6, 11), True, id="a cent short"),
    ],
)
def test_a_deposit_in_time_cures_it(amount: str, day: date, free_ride: bool) -> None:
    history = History().trade("ABC", "100", "-10000", MONDAY).trade("ABC", "-100", "10500", TUESDAY)
    history.deposit(amount, day)
    assert bool(history.found()) is free_ride


def test_a_free_ride_that_is_cured_leaves_nothing_behind() -> None:
    # The first half sold pays for a purchase that the second half then sells: still one event, and cured.
    history = History().trade("ABC", "100", "-10000", MONDAY)
    history.trade("ABC", "-50", "10000", MONDAY).trade("ABC", "-50", "10000", MONDAY).deposit(
        "10000", WEDNESDAY
    )
    assert history.found() == ()


def test_a_deposit_before_the_sale_pays_for_the_purchase() -> None:
    history = History().trade("ABC", "100", "-10000", MONDAY).deposit("10000", TUESDAY)
    assert history.trade("ABC", "-100", "10500", TUESDAY).found() == ()


def early_sales(*days: date) -> tuple[Violation, ...]:
    found: list[Violation] = []
    for day in days:
        history = (
            History()
            .trade("XYZ", "-1", "100", day)
            .trade("ABC", "1", "-100", day)
            .trade("ABC", "-1", "100", day)
        )
        found += history.found(held={"XYZ": D(1)})
    return tuple(found)


def test_the_third_good_faith_violation_in_a_year_restricts_for_ninety_days() -> None:
    dates = (date(2025, 9, 2), date(2026, 1, 5), date(2026, 6, 8))
    found = early_sales(*dates)
    assert restriction(found[:2], on=dates[1]) is None
    assert restriction(found, on=date(2026, 6, 7)) is None
    limit = restriction(found, on=dates[2])
    assert limit is not None
    # 8 June and ninety days: 22 left in June, 31 in July, 31 in August, and six of September.
    assert (limit.breach, limit.since, limit.until) == (Breach.GOOD_FAITH, dates[2], date(2026, 9, 6))
    assert limit.because == found
    assert restriction(found, on=date(2026, 9, 5)) == limit
    assert restriction(found, on=date(2026, 9, 6)) is None
    assert restriction(found, on=dates[2], policy=FIVE_STRIKES) is None


def test_violations_further_apart_than_a_year_do_not_add_up() -> None:
    found = early_sales(date(2025, 6, 9), date(2026, 1, 5), date(2026, 6, 9))
    assert restriction(found, on=date(2026, 6, 9), policy=THREE_STRIKES) is None


def test_one_free_ride_restricts_for_ninety_days() -> None:
    found = History().trade("ABC", "1", "-100", MONDAY).trade("ABC", "-1", "105", TUESDAY).found()
    limit = restriction(found, on=WEDNESDAY)
    assert limit is not None
    assert (limit.breach, limit.until - limit.since) == (Breach.FREE_RIDING, timedelta(days=90))


SESSION_DAYS = [s.date for s in xnys() if date(2026, 6, 1) <= s.date <= date(2026, 6, 30)]
steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["A", "B"]), st.integers(1, 10), st.integers(1, 50)),
    max_size=14,
)


def cash_history(made: Sequence[tuple[int, str, int, int]], cash: int) -> list[Trade | Deposit]:
    """Random buys that the trade-date cash pays for, and sales of what is held; days go forward."""
    events: list[Trade | Deposit] = [Deposit(D(cash), SESSION_DAYS[0])]
    held = {"A": 0, "B": 0}
    day = 0
    for number, (wait, symbol, qty, price) in enumerate(made):
        day = min(day + wait // 3, len(SESSION_DAYS) - 1)
        amount = qty * price
        if number % 2 == 0 and amount <= cash:
            sign = 1
        elif held[symbol] >= qty:
            sign = -1
        else:
            continue
        held[symbol] += sign * qty
        cash -= sign * amount
        events.append(
            Trade(
                fill_id=str(number), order_id=str(number), symbol=symbol, qty=D(sign * qty), cash=D(-sign * amount),
                day=SESSION_DAYS[day],
            )
        )  # fmt: skip
    return events


def halves(trade: Trade) -> list[Trade]:
    if trade.qty % 2 or trade.cash % 2:
        return [trade]
    return [
        Trade(
            fill_id=f"{trade.fill_id}{part}", order_id=trade.order_id, symbol=trade.symbol, qty=trade.qty / 2,
            cash=trade.cash / 2, day=trade.day,
        )
        for part in "ab"
    ]  # fmt: skip


@given(steps, st.integers(0, 500))
def test_how_fills_are_split_does_not_matter(made: list[tuple[int, str, int, int]], cash: int) -> None:
    events = cash_history(made, cash)
    split = [part for e in events for part in (halves(e) if isinstance(e, Trade) else [e])]

    def seen(found: tuple[Violation, ...]) -> list[tuple[Breach, date, str, str]]:
        return sorted((v.breach, v.day, v.purchase.order_id, v.sale.order_id) for v in found)

    assert seen(violations(split, xnys(), as_of=LATER)) == seen(violations(events, xnys(), as_of=LATER))


@given(steps, st.integers(0, 500))
def test_who_pays_with_cash_that_is_there_rides_no_one(
    made: list[tuple[int, str, int, int]], cash: int
) -> None:
    events = cash_history(made, cash)
    # Buying within trade-date cash never is a free ride, at worst too early a sale.
    assert {v.breach for v in violations(events, xnys(), as_of=LATER)} <= {Breach.GOOD_FAITH}
    # With all of it settled in advance there is nothing to object to.
    spent = sum(-e.cash for e in events if isinstance(e, Trade) and e.cash < 0)
    rich = [Deposit(D(spent), SESSION_DAYS[0]), *events]
    assert violations(rich, xnys(), as_of=LATER) == ()


@given(steps, st.integers(0, 500))
def test_every_violation_is_a_sale_within_the_settlement_of_another(
    made: list[tuple[int, str, int, int]], cash: int
) -> None:
    for violation in violations(cash_history(made, cash), xnys(), as_of=LATER):
        assert violation.purchase.day <= violation.sale.day == violation.day < violation.fine_from
        assert violation.purchase.symbol == violation.sale.symbol
        assert violation.paid_with
        last = max(settlement_date(t.day, STOCK, xnys()) for t in violation.paid_with)
        assert last == violation.fine_from
