"""TWX, 5 June 2014: structures opened from real quotes in the morning, marked at the close, and carried to the third
Friday, 20 June, though their symbols say Saturday the 21st. Every value by hand.

Quotes at 10:00, bid / ask: TWX 70.54 / 70.55; June calls 67.50 3.10 / 3.35, 70 1.32 / 1.39, 72.50 0.35 / 0.42,
75 0.05 / 0.13; June puts 67.50 0.16 / 0.25, 70 0.78 / 0.83; July call 70 2.05 / 2.09.
At 16:00: TWX 70.89 / 70.90; calls 67.50 3.55 / 3.80, 70 1.56 / 1.60, 72.50 0.42 / 0.45, 75 0.09 / 0.13; puts 67.50
0.15 / 0.20, 70 0.65 / 0.68; July call 70 2.25 / 2.40.

The tape ends that day. The price of 20 June is an assumption of this test: 71.20.
"""

from decimal import Decimal as D
from pathlib import Path

import pytest

from mbt import books
from mbt.models import Order, Position, SettlementPrice
from mbt.services.events.prices import record_price
from mbt.services.events.risk_closes import RISK_ORDER
from raxx.market.feeds.replay import ReplayFeed
from tests.mbt.services.desk import SHOP, Desk, at, cash, held, realized

pytestmark = [pytest.mark.tapes, pytest.mark.usefixtures("fresh_db")]

EXPIRY = at("2014-06-20 20:00")
C675, C70, C725, C75 = (f"TWX140621C000{strike}" for strike in ("67500", "70000", "72500", "75000"))
P675, P70 = "TWX140621P00067500", "TWX140621P00070000"
JULY = "TWX140719C00070000"

Book = dict[str, tuple[D, D]]
# Orders at 10:00; worth at the middle of the quotes of 16:00; cash, positions and realized profit after 20 June; what
# was gained at 71.20. 200,000.00 at first.
STRUCTURES: dict[str, tuple[list[list[str]], str, str, Book, dict[str, str], str]] = {
    # Pays 1.39 - 0.35 = 1.04. At 16:00 1.58 - 0.435 = 1.145. The 70 is exercised: 7,000 and the 139 it cost.
    "call debit spread": (
        [[f"+1 {C70}", f"-1 {C725}"]],
        "200010.50",
        "192896.00",  # 200,000 - 104 - 7,000
        {"TWX": (D(100), D("7139.00"))},
        {C70: "0", C725: "35.00"},
        "16.00",  # 120 - 104
    ),
    # Brings 0.78 - 0.25 = 0.53. At 16:00 0.665 - 0.175 = 0.49. It keeps it.
    "put credit spread": (
        [[f"-1 {P70}", f"+1 {P675}"]],
        "200004.00",
        "200053.00",
        {},
        {P70: "78.00", P675: "-25.00"},
        "53.00",
    ),
    # Brings 0.78 - 0.25 + 0.35 - 0.13 = 0.75. At 16:00 0.665 - 0.175 + 0.435 - 0.11 = 0.815. It keeps it.
    "iron condor": (
        [[f"+1 {P675}", f"-1 {P70}", f"-1 {C725}", f"+1 {C75}"]],
        "199993.50",
        "200075.00",
        {},
        {P675: "-25.00", P70: "78.00", C725: "35.00", C75: "-13.00"},
        "75.00",
    ),
    # Brings 0.16 + 0.05 = 0.21. At 16:00 0.175 + 0.11 = 0.285.
    "short strangle": (
        [[f"-1 {P675}", f"-1 {C75}"]],
        "199992.50",
        "200021.00",
        {},
        {P675: "16.00", C75: "5.00"},
        "21.00",
    ),
    # Pays 3.35 - 2 x 1.32 + 0.42 = 1.13. At 16:00 3.675 - 2 x 1.58 + 0.435 = 0.95. 100 shares come in for 6,750 + 335,
    # 200 go out for 14,000 + 264: half of it closes the 100 for 47, and 100 are short for 7,132.
    "call butterfly": (
        [[f"+1 {C675}", f"-2 {C70}", f"+1 {C725}"]],
        "199982.00",
        "207137.00",  # 200,000 - 113 - 6,750 + 14,000
        {"TWX": (D(-100), D("-7132.00"))},
        {"TWX": "47.00", C725: "-42.00"},
        "17.00",  # 370 - 2 x 120 - 113
    ),
    # 100 shares at 70.55 and a call sold at 0.35. At 16:00 70.895 - 0.435. It expires, the shares stay.
    "covered call, out of the money": (
        [["+100 TWX"], [f"-1 {C725}"]],
        "200026.00",
        "192980.00",  # 200,000 - 7,055 + 35
        {"TWX": (D(100), D("7055.00"))},
        {C725: "35.00"},
        "100.00",  # 65 and 35
    ),
    # The 70 call brings 132. At 16:00 70.895 - 1.58. The shares are called away for 7,000.
    "covered call, in the money": (
        [["+100 TWX"], [f"-1 {C70}"]],
        "200008.50",
        "200077.00",  # 200,000 - 7,055 + 132 + 7,000
        {},
        {"TWX": "77.00", C70: "0"},
        "77.00",
    ),
    # Pays 2.09 - 1.32 = 0.77. At 16:00 2.325 - 1.58 = 0.745. The June call is assigned: 100 short for 7,000 + 132, and
    # the July call stays; the gain is without what it is worth.
    "calendar": (
        [[f"-1 {C70}", f"+1 {JULY}"]],
        "199997.50",
        "206923.00",  # 200,000 - 77 + 7,000
        {"TWX": (D(-100), D("-7132.00")), JULY: (D(1), D("209.00"))},
        {C70: "0"},
        "-197.00",  # -77 - 120
    ),
}  # fmt: skip


def test_structures_of_a_morning_are_marked_at_the_close_and_settled_a_fortnight_later(tapes: Path) -> None:
    desk = Desk(ReplayFeed(
        [tapes / "quotes_1min_AAPL_TWX_20140605.csv.gz", tapes / "quotes_1min_options_TWX_20140605.csv.gz"], name="replay:twx",
    ))  # fmt: skip
    desk.advance("2014-06-05 14:00")
    accounts = {}
    for name, (packages, *_) in STRUCTURES.items():
        accounts[name] = desk.open()
        for legs in packages:
            desk.trade(accounts[name], *legs)
    desk.advance("2014-06-05 20:00")
    assert {name: desk.worth(accounts[name]) for name in STRUCTURES} == {
        name: D(worth) for name, (_, worth, *_) in STRUCTURES.items()
    }

    record_price(
        feed=desk.feed.name, symbol="TWX", at_ns=EXPIRY, price=D("71.20"), source=SettlementPrice.Source.OFFICIAL, actor=SHOP
    )  # fmt: skip
    desk.advance("2014-06-20 19:59")
    june = Position.objects.filter(closed_at__isnull=True, symbol__startswith="TWX140621")
    assert june.count() == 16
    desk.advance("2014-06-20 20:00")
    assert not june.exists()
    for name, (_, _, money, book, earned, gain) in STRUCTURES.items():
        account = accounts[name]
        assert cash(account) == D(money), name
        assert held(account) == book, name
        assert {s: v for s, v in realized(account).items() if s in earned} == {
            s: D(v) for s, v in earned.items()
        }, name
        shares = book.get("TWX", (D(0), D(0)))[0]
        assert cash(account) + shares * D("71.20") - D("200000.00") == D(gain), name
    assert not Order.objects.filter(client_order_id__startswith=RISK_ORDER).exists()
    assert books.verify()[1] == []
