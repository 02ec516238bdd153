"""A denial names the nearest order that would be accepted: in truth it is, and one unit more is not."""

import os
from collections.abc import Mapping
from datetime import date
from decimal import Decimal as D

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt.engine import intake
from mbt.engine.buying_power import AccountType, AccountView, Holding
from mbt.engine.cost import Trade
from mbt.engine.daytrades import Model as Regime
from mbt.engine.margin import MarginRules, Model
from mbt.engine.orders import OrderClass, OrderType, Side, TimeInForce
from mbt.engine.restrictions import DayTrading, SettledOnly
from mbt.engine.settlement import Breach
from mbt.engine.tickets import LegTicket, Ticket
from raxx.kernel.errors import InvalidInput, RaxxError
from raxx.market import calendar
from raxx.market.contracts import parse_symbol
from raxx.market.quotes import Quote
from tests.mbt.conftest import MORNING

STRIKES = (90, 95, 100, 105, 110)
OPTIONS = tuple(f"SPY261218{right}{strike * 1000:08d}" for right in "CP" for strike in STRIKES)
TODAY = date(2026, 11, 20)
NOW_NS = MORNING
FRACTION = D("0.000001")


def _quotes(price: int) -> dict[str, Quote]:
    """SPY around `price` dollars, and its options at what they are worth exercised plus two dollars."""
    found = {"SPY": Quote("SPY", NOW_NS, price * 10_000 - 200, 300, price * 10_000 + 200, 200)}
    for symbol in OPTIONS:
        option = parse_symbol(symbol)
        inside = price * 10_000 - option.strike
        worth = max(0, inside if option.right == "C" else -inside) + 20_000
        found[symbol] = Quote(symbol, NOW_NS, worth - 500, 10, worth + 500, 10)
    return found


@st.composite
def accounts(draw: st.DrawFn) -> tuple[AccountView, dict[str, Quote]]:
    quotes = _quotes(draw(st.integers(85, 115)))
    kind = draw(st.sampled_from(AccountType))
    lowest = 0 if kind is AccountType.CASH else -3
    held = draw(
        st.dictionaries(
            st.sampled_from(OPTIONS), st.sampled_from([qty for qty in range(lowest, 4) if qty]), max_size=4
        )
    )
    stock = draw(st.sampled_from([0, 0, 50, 100, 250] + ([] if kind is AccountType.CASH else [-100])))
    holdings = {symbol: D(qty) for symbol, qty in held.items()} | ({"SPY": D(stock)} if stock else {})
    if kind is AccountType.CASH and stock >= 100 and draw(st.booleans()):
        holdings[OPTIONS[3]] = D(-(stock // 100))  # a covered call
    offered = {symbol: draw(st.integers(0, int(qty))) for symbol, qty in holdings.items() if qty > 0}
    pending = tuple(
        (Trade(parse_symbol(symbol), D(-qty)),) for symbol, qty in offered.items() if qty and symbol != OPTIONS[3]
    )  # fmt: skip
    restricted = None
    if kind is AccountType.CASH and draw(st.booleans()):
        soon = {date(2026, 11, 23): D(draw(st.integers(1, 3_000)))}
        restricted = SettledOnly(until=date(2027, 1, 4), breach=Breach.GOOD_FAITH, unsettled=soon)
    trading = None
    if kind is AccountType.MARGIN and draw(st.booleans()):
        trading = DayTrading(regime=Regime.INTRADAY_MARGIN, today=TODAY, sessions=calendar.always())
    model = draw(st.sampled_from(Model))
    busy = {trade.instrument.symbol: -trade.qty for traded in pending for trade in traded}
    account = AccountView(
        type=kind, cash=D(draw(st.sampled_from([0, 1, 90, 1_999, 2_000, 8_000, 20_000, 40_000]))), cash_held=D(0), pending=pending,
        holdings={symbol: Holding(qty, busy.get(symbol, D(0))) for symbol, qty in holdings.items()},
        marks={symbol: (quote.bid + quote.ask) // 2 for symbol, quote in quotes.items()}, rules=MarginRules(model=model),
        options_level=draw(st.sampled_from([3, 3, 3, 2, 1, 0])), naked_shorts=draw(st.sampled_from([True, True, False])), restricted=restricted, day_trading=trading,
    )  # fmt: skip
    return account, quotes


@st.composite
def tickets(draw: st.DrawFn) -> Ticket:
    terms: dict[str, object] = {
        "client_order_id": "one",
        "time_in_force": TimeInForce.DAY,
        "order_type": OrderType.MARKET,
    }
    kind = draw(st.sampled_from(["stock", "stock", "option", "option", "package", "fraction", "amount"]))
    side = draw(st.sampled_from(Side))
    if kind == "package":
        legs = draw(st.lists(st.sampled_from(OPTIONS), min_size=2, max_size=4, unique=True))
        terms |= {
            "symbol": "", "side": Side.BUY, "order_class": OrderClass.MLEG, "qty": D(draw(st.integers(1, 60))),
            "legs": tuple(LegTicket(name, draw(st.sampled_from(Side)), draw(st.integers(1, 2))) for name in legs),
        }  # fmt: skip
    elif kind == "option":
        terms |= {"symbol": draw(st.sampled_from(OPTIONS)), "side": side, "qty": D(draw(st.integers(1, 60)))}
    elif kind == "amount":
        terms |= {
            "symbol": "SPY",
            "side": side,
            "qty": None,
            "notional": D(draw(st.integers(100, 6_000_000))) / 100,
        }
    elif kind == "fraction":
        terms |= {"symbol": "SPY", "side": side, "qty": D(draw(st.integers(1, 90_000_000))) * FRACTION * 7}
    else:
        terms |= {"symbol": "SPY", "side": side, "qty": D(draw(st.integers(1, 900)))}
    if kind in ("option", "stock") and draw(st.booleans()):
        terms |= {"order_type": OrderType.LIMIT, "limit_price": D(draw(st.sampled_from([2, 5, 95, 105])))}
    return Ticket(**terms)  # type: ignore[arg-type]


def judged(ticket: Ticket, account: AccountView, quotes: Mapping[str, Quote]) -> RaxxError | None:
    """The denial, or None where the order is taken."""
    try:
        intake.accept(
            ticket, [parse_symbol(name) for name in ticket.symbols], account=account, quotes=quotes,
            sessions=calendar.always(), now_ns=NOW_NS,
        )  # fmt: skip
    except RaxxError as denial:
        return denial
    return None


def named(text: str) -> Ticket:
    """The order that `buy 2 A, sell 2 B` stands for."""
    parts = [part.split() for part in text.split(", ")]
    if len(parts) == 1:
        side, qty, symbol = parts[0]
        return Ticket(
            symbol=symbol, side=Side(side), qty=D(qty), order_type=OrderType.MARKET, time_in_force=TimeInForce.DAY,
            client_order_id="two",
        )  # fmt: skip
    count = min(int(qty) for _, qty, _ in parts)
    while any(int(qty) % count for _, qty, _ in parts):
        count -= 1
    return Ticket(
        symbol="", side=Side.BUY, qty=D(count), order_type=OrderType.MARKET, time_in_force=TimeInForce.DAY,
        order_class=OrderClass.MLEG, client_order_id="two",
        legs=tuple(LegTicket(symbol, Side(side), int(qty) // count) for side, qty, symbol in parts),
    )  # fmt: skip


@settings(max_examples=5_000 if os.environ.get("RAXX_SOAK") else 500, deadline=None)
@given(accounts(), tickets())
def test_the_order_that_a_denial_names_is_taken_and_one_unit_more_is_not(
    given_account: tuple[AccountView, dict[str, Quote]], ticket: Ticket
) -> None:
    account, quotes = given_account
    denial = judged(ticket, account, quotes)
    if denial is None or isinstance(denial, InvalidInput):
        return
    assert denial.details["remedy"] in denial.message
    assert {"field", "rule", "value", "remedy"} <= set(denial.details), denial.code
    if "instead" in denial.details:
        assert judged(named(denial.details["instead"]), account, quotes) is None
    if "qty_max" not in denial.details:
        return
    most = D(denial.details["qty_max"])
    what = "notional" if ticket.notional is not None else "qty"
    asked = ticket.notional or ticket.qty or D(0)
    assert most < asked
    unit = D("0.01") if what == "notional" else FRACTION if asked % 1 else D(1)
    if most:
        assert judged(msgspec.structs.replace(ticket, **{what: most}), account, quotes) is None
    if most + unit <= asked:
        assert judged(msgspec.structs.replace(ticket, **{what: most + unit}), account, quotes) is not None
