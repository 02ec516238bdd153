"""A fill that takes what another order would close: the live ledger is that of the account in memory.

Both are given the same tickets and quotes, the live one through HTTP, engine and PostgreSQL.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal as D
from random import Random
from typing import Any

import msgspec
import pytest

from mbt import books, selectors
from mbt.api import forms
from mbt.engine.buying_power import AccountType
from mbt.engine.ledger import Ledger, digest
from mbt.engine.life import Life, Profile
from mbt.models import Account, Position
from raxx.kernel.ids import new_id
from raxx.market import calendar
from raxx.market.quotes import Quote
from tests.mbt.api.order_kinds import opened, option, package
from tests.mbt.conftest import MORNING
from tests.mbt.paper_tools import Market, Trader

CASH = "100000.00"
C100, C105 = option("100C"), option("105C")


@dataclass
class Both:
    """One account twice."""

    market: Market
    kind: str = "margin"
    size_cap: bool = False
    trader: Trader = field(init=False)
    life: Life = field(init=False)
    sent: int = 0

    def __post_init__(self) -> None:
        self.trader = Trader.opened(feed=self.market.feed, cash=CASH, account_type=self.kind)
        Account.objects.filter(pk=self.trader.account.id).update(
            options_level=3, naked_shorts=True, fee_schedule="none", size_cap=self.size_cap
        )
        profile = Profile(
            type=AccountType(self.kind), options_level=3, naked_shorts=True, size_cap=self.size_cap
        )
        now_ns = self.market.now_ns
        self.life = Life(
            profile=profile, cash=D(CASH), sessions=calendar.of_feed(self.market.feed), now_ns=now_ns
        )
        found = [self.market.engine.last_quote(s) for s in ("SPY", *map(option, ("100C", "105C")))]
        quotes = [quote for quote in found if quote is not None]
        self.life.matcher.skip_to(quotes)
        self.life.note(quotes)

    def send(self, **ticket: object) -> str:
        """Its client_order_id."""
        self.sent += 1
        name = f"o{self.sent}"
        asked: dict[str, Any] = {"time_in_force": "gtc", **ticket, "client_order_id": name}
        response = self.trader.send("POST", "/orders", asked)
        assert response.status_code == 201, response.content
        for leg in asked.get("legs", ()):
            leg["ratio"] = str(leg["ratio"])  # as the parser of requests leaves numbers
        self.life.submit(forms.ticket(asked), self.market.now_ns)
        self.quote()
        return name

    def quote(self, symbol: str = "", bid: str = "", ask: str = "", size: int = 1_000) -> None:
        """The next quote; without a symbol, time passes."""
        quotes: list[Quote] = []
        if symbol:
            quotes = [self.market.quote(symbol, bid, ask, sizes=(size, size))]
        else:
            self.market.pass_time(1)
        self.life.advance(quotes, self.market.now_ns)

    def agree(self) -> Ledger:
        live, memory = selectors.ledger(self.trader.account.id), self.life.account.ledger()
        live, memory = (
            msgspec.structs.replace(
                each, events=[], activities=[a for a in each.activities if a.type != "adjustment"]
            )
            for each in (live, memory)
        )
        assert sorted(live.orders, key=str) == sorted(memory.orders, key=str)
        assert sorted(live.fills, key=str) == sorted(memory.fills, key=str)
        assert digest(live) == digest(memory)
        row = Account.objects.get(pk=self.trader.account.id)
        assert row.cash_held == self.life.account.held
        offered = Position.objects.filter(account=row, qty_held__gt=0).values_list("symbol", "qty_held")
        assert dict(offered) == self.life.account.offered
        assert books.verify(row.pk) == (1, [])
        return live

    def end_of(self, name: str) -> tuple[str, str]:
        line = next(line for line in self.agree().orders if line.client_order_id == name)
        return line.status, line.reason


@pytest.fixture
def chain(_database: None) -> Iterator[Market]:
    yield from opened(f"both-{new_id().hex}", MORNING)


def stock(side: str, qty: str, limit: str | None = None, **terms: object) -> dict[str, Any]:
    kind: dict[str, Any] = {"order_type": "market", "time_in_force": "day"}
    if limit:
        kind = {"order_type": "limit", "limit_price": limit, "time_in_force": "gtc"}
    return {"symbol": "SPY", "side": side, "qty": qty, **kind, **terms}


@pytest.mark.parametrize(
    ("opening", "gone"), [("100", True), ("40", True), ("150", True), ("30", False)],
    ids=["closed", "less", "turned round", "enough left"],
)  # fmt: skip
def test_a_sale_that_was_to_open_takes_what_another_would_close(
    chain: Market, opening: str, gone: bool
) -> None:
    both = Both(chain)
    both.send(**stock("sell", opening, "101.00"))  # sent flat: it opens a short position
    both.send(**stock("buy", "100"))
    reserves = "70" if not gone else "100"
    closing = both.send(**stock("sell", reserves, "102.00"))
    both.agree()
    both.quote("SPY", "101.00", "101.04")
    assert both.end_of(closing) == (("canceled", "POSITION_GONE") if gone else ("new", ""))
    both.quote("SPY", "102.00", "102.04")
    both.agree()
    assert both.life.account.positions.get("SPY", None) is None or gone


def test_the_newest_go_first_and_no_more_than_must(chain: Market) -> None:
    both = Both(chain)
    both.send(**stock("sell", "50", "101.00"))
    both.send(**stock("buy", "100"))
    names = [both.send(**stock("sell", qty, "103.00")) for qty in ("30", "40", "20", "10")]
    both.quote("SPY", "101.00", "101.04")
    # Fifty are left: 30 stay, 40 is too much for what is left beside them.
    assert [both.end_of(name)[0] for name in names] == ["new", "canceled", "canceled", "canceled"]


def test_exits_of_a_pair_end_together(chain: Market) -> None:
    both = Both(chain)
    both.send(**stock("sell", "100", "101.00"))
    both.send(**stock("buy", "100"))
    pair = both.send(
        symbol="SPY", side="sell", qty="100", order_type="limit", order_class="oco",
        take_profit={"limit_price": "105.00"}, stop_loss={"stop_price": "95.00"},
    )  # fmt: skip
    both.quote("SPY", "101.00", "101.04")
    assert both.end_of(pair) == ("canceled", "POSITION_GONE")
    assert all(line.closed_ns for line in both.agree().orders)
    both.quote("SPY", "94.00", "94.10")
    assert both.agree().positions[0].qty == 0


@pytest.mark.parametrize("size", [1_000, 30])
@pytest.mark.parametrize("price", ["105.00", "94.00"])
def test_an_exit_that_fills_takes_from_its_sibling_and_from_nobody_else(
    chain: Market, price: str, size: int
) -> None:
    """The take-profit reserves for both, whichever of them fills."""
    both = Both(chain, size_cap=True)
    both.quote("SPY", "99.98", "100.02", size=200)
    both.send(**stock("buy", "120"))
    pair = both.send(
        symbol="SPY", side="sell", qty="100", order_type="limit", order_class="oco",
        take_profit={"limit_price": "105.00"}, stop_loss={"stop_price": "95.00"},
    )  # fmt: skip
    other = both.send(**stock("sell", "20", "110.00"))
    for _ in range(4):
        both.quote("SPY", price, f"{float(price) + 0.04:.2f}", size=size)
        both.agree()
    ended = {line.client_order_id: (line.status, line.reason) for line in both.agree().orders}
    loses, wins = (pair, f"{pair}:sl") if price == "94.00" else (f"{pair}:sl", pair)
    assert (ended[wins], ended[loses]) == (("filled", ""), ("canceled", "OCO_SIBLING_FILLED"))
    assert ended[other] == ("new", "")


def test_a_package_that_closes_two_legs_ends_when_one_is_gone(chain: Market) -> None:
    both = Both(chain)
    both.send(symbol=C100, side="sell", qty="2", order_type="limit", limit_price="4.00")
    both.send(**package("+1 100C -1 105C", qty="2"))
    closing = both.send(**package("-1 100C +1 105C", qty="2", order_type="limit", limit_price="-4.50"))
    both.quote(C100, "4.00", "4.20")
    assert both.end_of(closing) == ("canceled", "POSITION_GONE")
    assert Position.objects.get(symbol=C105, closed_at=None).qty_held == 0
    both.quote(C100, "6.00", "6.20")
    both.agree()


def test_a_purchase_in_parts_that_gets_dearer_than_its_hold_ends(chain: Market) -> None:
    """Cash 100,000: 950 at 100.02 hold 97,869.57. Half of them fill dearer than their share of that."""
    both = Both(chain, kind="cash", size_cap=True)
    both.quote("SPY", "99.98", "100.02", size=400)
    both.send(**stock("buy", "950", None) | {"time_in_force": "day"})
    both.quote("SPY", "111.98", "112.02", size=400)
    line = both.agree().orders[0]
    assert (line.status, line.reason) == ("canceled", "CASH_GONE")
    both.quote("SPY", "99.98", "100.02", size=400)
    both.agree()


@pytest.mark.parametrize("seed", [0, 2, 3, 4])  # in each of them it happens
def test_at_random(chain: Market, seed: int) -> None:
    rng = Random(seed)
    both = Both(chain, size_cap=rng.random() < 0.5)
    for step in range(40):
        side, qty = rng.choice(("buy", "sell", "sell")), str(rng.randint(1, 12) * 10)
        if step < 4:  # sent flat and out of reach: they open, and later take what others would close
            asked = stock("sell", qty, f"{100 + rng.randint(5, 15) / 10:.2f}")
        elif step == 4:
            asked = stock("buy", "300")
        else:
            price = f"{99 + rng.randint(0, 200) / 100:.2f}"
            asked = stock(side, qty, price if rng.random() < 0.8 else None)
        try:
            before = both.sent
            both.send(**asked)
        except AssertionError:  # it is denied
            both.sent = before + 1
        mid = 10_000 if step < 12 else 9_850 + rng.randint(0, 300)
        both.quote("SPY", f"{mid / 100:.2f}", f"{mid / 100 + 0.04:.2f}", size=rng.choice((50, 1_000)))
        both.agree()
    assert any(line.reason == "POSITION_GONE" for line in both.agree().orders)
