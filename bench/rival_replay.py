# mypy: disable-error-code="import-not-found,misc,no-any-unimported"
"""The yardstick of replay: the same quotes and orders through nautilus_trader's BacktestEngine.

It runs in an environment of its own, which has nautilus_trader and numpy and nothing of the product's. Arguments: a .npz
with the columns ts, bid, ask (1/10,000 dollar) of a tape of one symbol whose every quote has two sides, and a JSON file
of orders. For each line that it reads it runs the tape once more, and answers with one line of JSON: the CPU
seconds of `run`, those with the making of engine and data, and [stamp, price] of each order's fill.
"""

import json
import sys
import time
from decimal import Decimal
from typing import Any

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common.events import TimeEvent
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide, TimeInForce
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

INSTRUMENT = TestInstrumentProvider.equity("AIG", "XNAS")
AMPLE = 1_000_000_000  # shares on each side of every quote: like the product's default, nothing is too large
TIFS = {"day": TimeInForce.GTC, "gtc": TimeInForce.GTC, "ioc": TimeInForce.IOC, "fok": TimeInForce.FOK}


class Sends(Strategy):
    """Sends each order at its own instant, and keeps what fills."""

    def __init__(self, orders: list[dict[str, Any]]) -> None:
        super().__init__()
        self.orders = orders
        self.number: dict[Any, int] = {}
        self.fills: dict[int, tuple[int, float]] = {}

    def on_start(self) -> None:
        for number, order in enumerate(self.orders):
            self.clock.set_time_alert_ns(str(number), order["at_ns"], self.on_alert)

    def on_alert(self, event: TimeEvent) -> None:
        number = int(event.name)
        order = self.orders[number]
        side = OrderSide.BUY if order["side"] == "buy" else OrderSide.SELL
        qty, tif = Quantity.from_int(order["qty"]), TIFS[order["tif"]]
        price = None if order["price"] is None else Price(order["price"] / 10_000, 2)
        if order["type"] == "market":
            sent = self.order_factory.market(INSTRUMENT.id, side, qty, tif)
        elif order["type"] == "limit":
            sent = self.order_factory.limit(INSTRUMENT.id, side, qty, price, tif)
        else:
            sent = self.order_factory.stop_market(INSTRUMENT.id, side, qty, price)
        self.number[sent.client_order_id] = number
        self.submit_order(sent)

    def on_order_filled(self, event: OrderFilled) -> None:
        self.fills.setdefault(self.number[event.client_order_id], (event.ts_event, float(event.last_px)))


def ticks(path: str) -> list[QuoteTick]:
    columns = np.load(path)
    size = Quantity.from_int(AMPLE)
    prices = {p: Price(p / 10_000, 2) for p in {*columns["bid"].tolist(), *columns["ask"].tolist()}}
    return [
        QuoteTick(INSTRUMENT.id, prices[bid], prices[ask], size, size, ts, ts)
        for ts, bid, ask in zip(*(columns[name].tolist() for name in ("ts", "bid", "ask")), strict=True)
    ]


def play(quotes: list[QuoteTick], orders: list[dict[str, Any]]) -> dict[str, Any]:
    began = time.process_time()
    # Its risk engine would deny more than 100 orders a second.
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(bypass=True)
        )
    )
    engine.add_venue(
        Venue("XNAS"), OmsType.NETTING, AccountType.MARGIN, [Money(1e9, USD)], base_currency=USD,
        default_leverage=Decimal(1),
    )  # fmt: skip
    engine.add_instrument(INSTRUMENT)
    engine.add_data(quotes, sort=False)
    strategy = Sends(orders)
    engine.add_strategy(strategy)
    ready = time.process_time()
    engine.run()
    done = time.process_time()
    engine.dispose()
    fills = [strategy.fills.get(number) for number in range(len(orders))]
    return {"run_s": done - ready, "whole_s": done - began, "fills": fills}


def main() -> None:
    quotes = ticks(sys.argv[1])
    with open(sys.argv[2]) as file:
        orders = json.load(file)
    for _ in sys.stdin:
        print(json.dumps(play(quotes, orders)), flush=True)


if __name__ == "__main__":
    main()
