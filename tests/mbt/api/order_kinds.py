"""What tests of order kinds share: a market with a chain of options, tickets of every kind, and what holds for each.

SPY stands at 99.98 / 100.02. The options of 18 December 2026 have strikes around it; those of 15 January cost one
dollar more. Calls and puts mirror each other, so that prices are easy to reckon with.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from mbt.models import Account, Order, Position
from raxx.kernel.ids import new_id
from raxx.kernel.models import OutboxEvent
from tests.mbt.paper_tools import Market, Trader, fill_in

NEAR, FAR, TODAY = "261218", "270115", "261120"
STRIKES = (90, 95, 100, 105, 110)
# Out of the money by so many dollars (in the money: negative): bid, ask.
PRICES = {
    10: ("0.40", "0.50"), 5: ("1.20", "1.30"), 0: ("3.00", "3.20"), -5: ("6.10", "6.30"), -10: ("10.40", "10.60"),
}  # fmt: skip


def option(text: str) -> str:
    """`100C` expires in December, `100C+` in January, `100C!` today."""
    expiry = {"+": FAR, "!": TODAY}.get(text[-1], NEAR)
    plain = text.rstrip("+!")
    return f"SPY{expiry}{plain[-1]}{int(plain[:-1]) * 1000:08d}"


CHAIN = [f"{strike}{right}{when}" for strike in STRIKES for right in "CP" for when in ("", "+")]
SYMBOLS = ("SPY", "AAPL", *map(option, CHAIN), option("100C!"), option("100P!"), "ABCD261218C00050000")


def usual(text: str) -> tuple[Decimal, Decimal]:
    """The bid and ask that an option of the chain has."""
    plain = text.rstrip("+!")
    away = int(plain[:-1]) - 100
    bid, ask = PRICES[away if plain[-1] == "C" else -away]
    more = 1 if text.endswith("+") else 0
    return Decimal(bid) + more, Decimal(ask) + more


def open_chain(market: Market) -> None:
    """Quote everything, at one instant."""
    market.quote("SPY", "99.98", "100.02")
    for text in (*CHAIN, "100C!", "100P!"):
        bid, ask = usual(text)
        market.quote(option(text), str(bid), str(ask), after_s=0, sizes=(50, 50))


def opened(name: str, now_ns: int) -> Iterator[Market]:
    market = Market(name, now_ns=now_ns, symbols=SYMBOLS)
    open_chain(market)
    yield market
    market.close()


def margin_trader(market: Market, cash: str = "1000000.00", **settings: object) -> Trader:
    """May do everything: options of level 3 and naked shorts."""
    trader = Trader.opened(feed=market.feed, cash=cash, account_type="margin")
    Account.objects.filter(pk=trader.account.id).update(
        **{"options_level": 3, "naked_shorts": True, "fee_schedule": "none", **settings}
    )
    return trader


def with_positions(trader: Trader, market: Market) -> None:
    """Two shares and two calls; what an OCO closes."""
    row = Account.objects.get(pk=trader.account.id)
    for symbol, qty, multiplier, cost in (
        ("SPY", 2, 1, "200.04"),
        (option("100C"), 2, 100, f"{2 * 100 * usual('100C')[1]:.2f}"),
    ):
        row.positions.create(
            symbol=symbol, asset_class="equity" if multiplier == 1 else "option", multiplier=multiplier, qty=qty,
            cost=Decimal(cost), opened_at=row.created_at,
        )  # fmt: skip
        row.activities.create(
            activity_type="adjustment", symbol=symbol, side="buy", qty=qty, amount=0, cost=Decimal(cost),
            realized=Decimal(cost), ref_id=new_id(), occurred_at=row.created_at,
        )  # fmt: skip


# -- tickets -------------------------------------------------------------------------------------------


def legs_of(text: str) -> list[dict[str, Any]]:
    """`+1 100C -2 105C`."""
    words = text.split()
    return [
        {"symbol": option(name), "side": "buy" if int(count) > 0 else "sell", "ratio": abs(int(count))}
        for count, name in zip(words[::2], words[1::2], strict=True)
    ]


def package(legs: str, **terms: object) -> dict[str, Any]:
    """A market order of one package unless `terms` say otherwise."""
    plain = {"order_class": "mleg", "qty": "1", "order_type": "market", "time_in_force": "day"}
    return {"legs": legs_of(legs), **plain, **terms}


def natural(legs: str, *, turned: bool = False) -> Decimal:
    """What a package costs at the touch of each leg (`turned`: what its opposite costs)."""
    words, total = legs.split(), Decimal(0)
    for count, name in zip(words[::2], words[1::2], strict=True):
        bid, ask = usual(name)
        signed = -int(count) if turned else int(count)
        total += signed * (ask if signed > 0 else bid)
    return total


# -- sending -------------------------------------------------------------------------------------------

SHOWN = ("qty", "notional", "limit_price", "stop_price", "trail_price", "trail_percent")
SAME = (
    "symbol", "side", "order_type", "time_in_force", "order_class", "extended_hours", "fill_preference", "client_order_id",
)  # fmt: skip


def send(trader: Trader, ticket: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Send an order that is taken. What its preview said is what it holds, and it is shown with all its terms."""
    before = everything(trader)
    preview = trader.send("POST", "/orders/preview", ticket)
    assert preview.status_code == 200, preview.content
    promised = preview.json()["data"]
    assert everything(trader) == before
    response = trader.send("POST", "/orders", ticket)
    assert response.status_code == 201, response.content
    order = response.json()["data"]
    assert promised["accepted"], promised
    assert promised["denial"] is None
    for name in ("cash_hold", "position_holds", "structure"):
        assert promised[name] == order[name], (name, promised[name], order[name])
    assert trader.read(f"/orders/{order['id']}") == order
    shows(order, ticket)
    return order


def shows(order: dict[str, Any], ticket: dict[str, Any]) -> None:
    """Every term of the ticket is in the order as shown, and nothing that was not asked for."""
    limit = ticket.get("take_profit", {}).get("limit_price") if ticket.get("order_class") == "oco" else None
    for name in SHOWN:
        wanted = limit if limit and name == "limit_price" else ticket.get(name)
        if name == "qty" and wanted is None:
            continue  # of an amount of money: what it buys now
        found = order[name]
        assert (found is None) == (wanted is None), (name, found, wanted)
        assert wanted is None or Decimal(found) == Decimal(str(wanted)), name
    for name in SAME:
        if name in ticket:
            assert order[name] == ticket[name], name
    sent = [(leg["symbol"], leg["side"], leg.get("ratio", 1)) for leg in ticket.get("legs", ())]
    assert [(leg["symbol"], leg["side"], leg["ratio"]) for leg in order["legs"]] == sent


def refused(trader: Trader, ticket: dict[str, Any], status: int, code: str) -> dict[str, str]:
    """An order that is not taken: the answer helps, and nothing is stored."""
    before = everything(trader)
    response = trader.send("POST", "/orders", ticket)
    shown = response.json()
    assert (response.status_code, shown.get("error", {}).get("code")) == (status, code), (ticket, shown)
    details: dict[str, str] = shown["error"]["details"]
    for name in ("field", "rule", "value", "remedy"):
        assert details.get(name), (name, ticket, shown)
    assert shown["error"]["message"]
    assert everything(trader) == before
    return details


def everything(trader: Trader) -> list[Any]:
    """All that an order may change."""
    account = trader.account.id
    return [
        list(Account.objects.filter(pk=account).values()),
        list(Order.objects.filter(account_id=account).order_by("number").values()),
        list(Position.objects.filter(account_id=account).order_by("symbol").values()),
        OutboxEvent.objects.count(),
    ]


def equity(**terms: object) -> dict[str, Any]:
    return fill_in(terms)


# -- reading -------------------------------------------------------------------------------------------

CODES = re.compile(r"[A-Z]{2,}_[A-Z_]+|Side\.|Why\.|Rule\.|<|None|Decimal|e[+-]?[0-9]{2}|\$-|--")


def told(trader: Trader, order_id: str) -> tuple[str, str, dict[str, Any]]:
    """Headline, the sentences as one text, facts: once what holds for every explanation is checked."""
    found = trader.why(order_id)
    shown = trader.read(f"/orders/{order_id}")
    headline, sentences, facts = found["headline"], found["sentences"], found["facts"]
    for sentence in (headline, *sentences):
        assert not CODES.search(sentence), sentence
        assert sentence.endswith((".", ")")), sentence
        assert sentence[0].isupper(), sentence
    for name in (
        "status",
        "reason",
        "side",
        "order_type",
        "time_in_force",
        "limit_price",
        "stop_price",
        "structure",
    ):
        assert facts.get(name) == shown[name], (name, facts.get(name), shown[name])
    assert len(set(sentences)) == len(sentences), sentences
    return headline, " ".join(sentences), facts


def state(trader: Trader, order_id: str) -> tuple[str, str, str | None, str | None]:
    """Status, quantity filled, at what, and why it ended."""
    order = trader.read(f"/orders/{order_id}")
    told(trader, order_id)
    return order["status"], order["filled_qty"], order["filled_avg_price"], order["reason"]


def members(trader: Trader, order_id: str) -> dict[str, Any]:
    """The orders of a group by role; `order_id` is that of its entry, or its take-profit."""
    rows = [
        o for o in trader.read("/orders?limit=200") if order_id in (o["id"], o["entry_id"], o["group_id"])
    ]
    found = {order["role"]: order for order in rows}
    assert len(found) == len(rows)
    return found


def held(trader: Trader) -> dict[str, str]:
    """Positions by symbol."""
    return {position["symbol"]: position["qty"] for position in trader.read("/positions")}
