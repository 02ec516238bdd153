"""Interest carried out: what accrues evening by evening, and what a month posts.

The account buys or sells on Wednesday, 27 May 2026; stocks settle on Thursday. May then has four more days, Thursday
to Sunday; June has 30.
"""

from collections.abc import Callable
from datetime import date
from decimal import Decimal as D

from mbt import books, selectors
from mbt.models import Activity, EngineState, InterestAccrual
from mbt.selectors import AccountRef
from tests.mbt.services.desk import Desk, Rows, at, cash

Market = Callable[..., Desk]
WEDNESDAY = "2026-05-27 15:00"
ROWS: Rows = [
    (WEDNESDAY, "XYZ", "20.00", "20.00"),
    ("2026-05-28 15:00", "XYZ", "20.00", "20.00"),
    ("2026-06-01 15:00", "XYZ", "22.00", "22.00"),
    ("2026-07-02 15:00", "XYZ", "22.00", "22.00"),
]


def posted(account: AccountRef) -> list[tuple[str, str, D]]:
    rows = Activity.objects.filter(account_id=account.id, activity_type__in=["interest", "fee"])
    found = rows.order_by("occurred_at", "line").values_list("activity_type", "occurred_at", "amount")
    return [(kind, f"{at:%m-%d}", amount) for kind, at, amount in found]


def test_a_debit_accrues_daily_from_settlement_on_and_is_posted_monthly(desk: Market) -> None:
    """1,100 shares at 20.00 with 12,000: 10,000 owed. 10,000 x 0.0625 / 360 = 1.7361 a day: 4 days are 6.94.
    In June 10,006.94 x 0.0625 x 30 / 360 = 52.1195. The postings come with the last evening of the month (UTC: past
    midnight)."""
    market = desk(ROWS)
    market.advance(WEDNESDAY)
    account, free = market.open("12000.00", interest="standard"), market.open("12000.00")
    for each in (account, free):
        market.trade(each, "+1100 XYZ")
    market.advance("2026-05-28 14:00")
    assert not InterestAccrual.objects.exists()  # on Wednesday the cash was still there
    market.advance("2026-05-30 00:00")
    assert posted(account) == [("interest", "05-30", D("-6.94"))]
    days = InterestAccrual.objects.filter(account_id=account.id).order_by("day")
    assert [row.day.day for row in days] == [28, 29, 30, 31]
    assert {row.amount.quantize(D("0.000001")) for row in days} == {D("1.736111")}
    market.advance("2026-07-02 15:00")
    assert posted(account)[1:] == [("interest", "07-01", D("-52.12"))]
    assert cash(account) == D("-10000.00") - D("6.94") - D("52.12")
    assert cash(free) == D("-10000.00")
    assert InterestAccrual.objects.filter(day=date(2026, 6, 30)).count() == 1
    note = selectors.ledger(account.id).events[0].note
    assert note.startswith("You bought with money of the broker")
    assert "May 2026: 10,000.00" in note
    assert books.verify()[1] == []


def test_borrowed_shares_cost_by_lots_and_the_mark_of_the_day(desk: Market) -> None:
    """250 short count as 300. Thursday to Sunday at 20.00: 300 x 20 x 0.03 / 360 = 0.50 a day, 2.00. June at 22.00:
    0.55 x 30 = 16.50. What the sale brought is not idle cash: of 105,000, 100,000 (in June 99,500 - 2) earn 1 %."""
    market = desk(ROWS)
    market.advance(WEDNESDAY)
    account, saver = (
        market.open("100000.00", interest="standard"),
        market.open("36000.00", interest="idle_cash"),
    )
    both = market.open("100000.00", interest="idle_cash")
    market.trade(account, "-250 XYZ")
    market.trade(both, "-250 XYZ")
    market.advance("2026-07-02 15:00")
    assert posted(account) == [("fee", "05-30", D("-2.00")), ("fee", "07-01", D("-16.50"))]
    # From Wednesday on: 5 days, 5.00. June: 36,005 x 0.01 x 30 / 360 = 30.00.
    assert posted(saver) == [("interest", "05-30", D("5.00")), ("interest", "07-01", D("30.00"))]
    # 100,000 x 0.01 / 360 x 5 = 13.89; (105,000 + 13.89 - 2.00 - 5,500) x 0.01 x 30 / 360 = 82.93
    assert posted(both) == [
        ("fee", "05-30", D("-2.00")), ("interest", "05-30", D("13.89")),
        ("fee", "07-01", D("-16.50")), ("interest", "07-01", D("82.93")),
    ]  # fmt: skip
    assert "250 counted as 300" in selectors.ledger(account.id).events[0].note
    assert books.verify()[1] == []


def test_an_evening_done_again_accrues_and_posts_nothing_more(desk: Market) -> None:
    market = desk(ROWS)
    market.advance(WEDNESDAY)
    account = market.open("12000.00", interest="standard")
    market.trade(account, "+1100 XYZ")
    market.advance("2026-06-02 15:00")
    before = posted(account), InterestAccrual.objects.count()
    for text in ("2026-05-28 23:00", "2026-05-29 23:00"):
        EngineState.objects.update(events_ns=at(text))
        market.restart()
    assert (posted(account), InterestAccrual.objects.count()) == before


def test_a_short_position_without_a_quote_costs_what_it_did(desk: Market) -> None:
    """On Thursday the quote has one side: the shares are taken at what they were sold for."""
    market = desk(
        [
            (WEDNESDAY, "XYZ", "20.00", "20.00"),
            ("2026-05-28 15:00", "XYZ", "", ""),
            ("2026-06-01 15:00", "ABC", "1.00", "1.00"),
        ]
    )
    market.advance(WEDNESDAY)
    account = market.open("100000.00", interest="standard")
    market.trade(account, "-300 XYZ")
    market.advance("2026-06-01 15:00")
    assert posted(account) == [("fee", "05-30", D("-2.00"))]
