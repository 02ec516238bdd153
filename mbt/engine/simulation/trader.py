"""A trader who does everything at random: mostly what makes sense, now and then what does not."""

from collections.abc import Iterator, Sequence, Set
from datetime import date
from decimal import Decimal
from random import Random
from typing import TypedDict

import msgspec

from mbt.engine import risk_close
from mbt.engine.buying_power import AccountType
from mbt.engine.corporate import (
    CashDividend,
    CashMerger,
    Event,
    SpinOff,
    Split,
    StockMerger,
    SymbolChange,
)
from mbt.engine.fees import NOTHING, PASSED_ON, PER_UNIT, Schedule
from mbt.engine.fills import PACKAGE_STEP
from mbt.engine.intake import Role
from mbt.engine.life import Life, Profile
from mbt.engine.orders import FillPreference, Leg, OrderClass, OrderType, Side, TimeInForce
from mbt.engine.packages import PackageQuote, package_quote
from mbt.engine.record import Working
from mbt.engine.simulation.market import INDEX, MINUTE_NS, Market, Stock, Week
from mbt.engine.simulation.operations import (
    Cancel,
    CancelAll,
    Corporate,
    Evening,
    Exercise,
    Expire,
    Halt,
    Open,
    Operation,
    Quotes,
    Replace,
    Restart,
    RiskClose,
    Send,
)
from mbt.engine.simulation.world import World
from mbt.engine.tickets import LegTicket, Ticket
from raxx.kernel.clock import MILLISECOND_NS, SECOND_NS
from raxx.kernel.money import TICKS_PER_DOLLAR, from_ticks
from raxx.market.contracts import AssetClass, Instrument, Right, parse_symbol, price_step
from raxx.market.listing import is_adjusted
from raxx.market.quotes import QuoteCondition, condition
from raxx.market.sessions import Session

_CASH = (2_500, 20_000, 100_000, 1_000_000)
_TIFS = (
    *[TimeInForce.DAY] * 10, *[TimeInForce.GTC] * 6, *[TimeInForce.IOC] * 2, *[TimeInForce.FOK] * 2, TimeInForce.OPG,
    TimeInForce.CLS,
)  # fmt: skip
_SCHEDULES = (NOTHING, PASSED_ON, Schedule(name="all", fees=PASSED_ON.fees, commission=PER_UNIT))


class _Prices(TypedDict, total=False):
    """Those terms of a ticket that its type asks for."""

    limit_price: Decimal
    stop_price: Decimal
    trail_price: Decimal
    trail_percent: Decimal


# Legs as (right, which strike, which expiration, signed ratio).
_Shape = tuple[tuple[Right, int, int, int], ...]
_C, _P = Right.CALL, Right.PUT
STRUCTURES: dict[str, _Shape] = {
    "call spread": ((_C, 1, 0, 1), (_C, 2, 0, -1)),
    "put spread": ((_P, 2, 0, 1), (_P, 1, 0, -1)),
    "straddle": ((_C, 2, 0, 1), (_P, 2, 0, 1)),
    "strangle": ((_C, 3, 0, 1), (_P, 1, 0, 1)),
    "calendar": ((_C, 2, 0, -1), (_C, 2, 1, 1)),
    "put calendar": ((_P, 2, 0, -1), (_P, 2, 1, 1)),
    "diagonal": ((_C, 3, 0, -1), (_C, 1, 1, 1)),
    "butterfly": ((_C, 1, 0, 1), (_C, 2, 0, -2), (_C, 3, 0, 1)),
    "broken wing": ((_P, 4, 0, 1), (_P, 2, 0, -2), (_P, 1, 0, 1)),
    "condor": ((_C, 0, 0, 1), (_C, 1, 0, -1), (_C, 2, 0, -1), (_C, 3, 0, 1)),
    "iron condor": ((_P, 0, 0, 1), (_P, 1, 0, -1), (_C, 3, 0, -1), (_C, 4, 0, 1)),
    "iron butterfly": ((_P, 1, 0, 1), (_P, 2, 0, -1), (_C, 2, 0, -1), (_C, 3, 0, 1)),
    "box": ((_C, 1, 0, 1), (_C, 3, 0, -1), (_P, 3, 0, 1), (_P, 1, 0, -1)),
    "ratio": ((_C, 1, 0, 1), (_C, 2, 0, -2)),
    "backspread": ((_P, 2, 0, -1), (_P, 1, 0, 2)),
    "risk reversal": ((_C, 3, 0, 1), (_P, 1, 0, -1)),
    "jade lizard": ((_P, 1, 0, -1), (_C, 2, 0, -1), (_C, 3, 0, 1)),
    "three by two": ((_C, 1, 0, 2), (_C, 3, 0, -3)),
}


def operations(rng: Random, week: Week, world: World) -> Iterator[Operation]:
    """The operations of a week. Each is chosen when the ones before have been carried out in `world`."""
    market = Market(rng, week.expiries)
    trader = _Trader(rng, market, world)
    first = week.days[0]
    before_ns = first.open_ns - 300 * MINUTE_NS
    yield Open(before_ns, trader.profile(), Decimal(rng.choice(_CASH)))
    dividends = trader.dividends(week)
    upheaval = rng.choice(week.days[1:])  # one stock is split, renamed, merged or divided
    for session in week.days:
        events: list[Event] = [event for event in dividends if event.ex_date == session.date]
        if session is upheaval and rng.random() < 0.7:
            events += trader.upheaval(session.date, {event.symbol for event in dividends})
        yield from _day(rng, session, trader, events, dividends, is_last=session is week.days[-1])
    yield CancelAll(week.days[-1].extended_close_ns + 60 * MINUTE_NS)


def _day(
    rng: Random, session: Session, trader: "_Trader", events: Sequence[Event], dividends: Sequence[CashDividend], *,
    is_last: bool,
) -> Iterator[Operation]:  # fmt: skip
    market, day = trader.market, session.date
    open_ns, close_ns = session.open_ns, session.close_ns
    for event in events:
        yield Corporate(open_ns - 240 * MINUTE_NS, event)
        market.follow(event)
    # Before the open orders gather; somebody quotes early.
    for minute in sorted(rng.sample(range(-200, -3), rng.randint(2, 5))):
        trader.at(open_ns + minute * MINUTE_NS, session)
        yield trader.order() if rng.random() < 0.7 else Quotes(trader.now_ns, market.move(trader.now_ns, day))
    yield Quotes(open_ns + rng.choice((0, 1, 250 * MILLISECOND_NS)), market.all_quotes(open_ns, day))
    moments = sorted(rng.sample(range(1, (close_ns - open_ns) // SECOND_NS), rng.randint(50, 110)))
    moments_ns = [open_ns + second * SECOND_NS for second in moments]
    risk_ns = [close_ns - 29 * MINUTE_NS, close_ns - 14 * MINUTE_NS] if day in market.expiries else []
    for at_ns in sorted([*moments_ns, *risk_ns]):
        trader.at(at_ns, session)
        yield RiskClose(at_ns) if at_ns in risk_ns else trader.choice()
    official = market.prices()
    yield Quotes(close_ns - 1, market.all_quotes(close_ns - 1, day))
    yield Quotes(close_ns)
    yield Expire(close_ns, official)
    yield Quotes(close_ns + 5 * MINUTE_NS, market.move(close_ns + 5 * MINUTE_NS, day))
    yield Expire(close_ns + 15 * MINUTE_NS, official)
    for minute in sorted(rng.sample(range(16, 55), rng.randint(0, 3))):
        trader.at(close_ns + minute * MINUTE_NS, session)
        yield trader.choice()
    yield Evening(
        session.extended_close_ns - MINUTE_NS,
        tuple(dividends),
        official,
        trader.fees,
        rng.randrange(2**32),
        is_last,
    )


class _Trader:
    def __init__(self, rng: Random, market: Market, world: World) -> None:
        self.rng, self.market, self.world = rng, market, world
        self.now_ns = 0
        self.session: Session
        self.fees = rng.choice(_SCHEDULES)
        self._sent = 0
        self._kinds = (
            (self._stock_order, 20), (self._option_order, 16), (self._package, 24), (self._stock_group, 8),
            (self._exits, 5), (self._option_group, 4), (self._package_group, 5), (self._close_position, 9),
            (self._close_structure, 6), (self._roll, 4), (self._nonsense, 2),
        )  # fmt: skip
        self._for_options = (self._option_order, self._package, self._option_group, self._package_group)

    @property
    def life(self) -> Life:
        return self.world.account

    def at(self, now_ns: int, session: Session) -> None:
        self.now_ns, self.session = now_ns, session

    def profile(self) -> Profile:
        rng = self.rng
        return Profile(
            type=rng.choice((AccountType.CASH, AccountType.MARGIN, AccountType.MARGIN)),
            options_level=rng.choice((0, 1, 2, *[3] * 9)), naked_shorts=rng.random() < 0.7,
            size_cap=rng.random() < 0.4, latency_ns=rng.choice((0, 0, 50 * MILLISECOND_NS, 3 * SECOND_NS)),
            fill_preference=rng.choice(tuple(FillPreference)),
        )  # fmt: skip

    def dividends(self, week: Week) -> list[CashDividend]:
        rng = self.rng
        return [
            CashDividend(
                symbol=stock.symbol, ex_date=rng.choice(week.days[1:]).date, pay_date=rng.choice(week.days).date,
                amount=Decimal(rng.choice((7, 25, 50, 120))) / 100, special=rng.random() < 0.25,
            )
            for stock in self._stocks()
            if rng.random() < 0.6
        ]  # fmt: skip

    def upheaval(self, day: date, spared: Set[str]) -> list[Event]:
        """Something that changes a stock itself: of those that are not `spared`."""
        rng, stocks = self.rng, [stock for stock in self._stocks() if stock.symbol not in spared]
        if not stocks:
            return []
        stock = rng.choice(stocks)
        symbol, price = stock.symbol, stock.price
        others = [other for other in self._stocks() if other is not stock]
        into = rng.choice(others)
        some = Decimal(rng.randint(0, 500)) / 100
        new, old = rng.choice(((1, 2), (2, 3), (3, 1)))
        splits = ((2, 1), (3, 1), (3, 2), (5, 4), (1, 4), (1, 10))
        kind = rng.randrange(8)
        if kind < 4:
            into_new, from_old = rng.choice(splits)
            return [Split(symbol=symbol, ex_date=day, new=into_new, old=from_old, close=price)]
        if kind == 4:
            return [SymbolChange(symbol=symbol, new_symbol=f"{symbol}X", effective=day)]
        if kind == 5:
            return [SpinOff(
                symbol=symbol, new_symbol=f"{symbol}S", ex_date=day, new=new, old=old,
                price=max(price * 3 // 4, 1), new_price=max(price // 4 * old // new, 1),
            )]  # fmt: skip
        if kind == 6:
            return [CashMerger(symbol=symbol, effective=day, cash=from_ticks(price // 100 * 100))]
        return [StockMerger(
            symbol=symbol, new_symbol=into.symbol, effective=day, new=new, old=old, price=into.price, cash=some
        )]  # fmt: skip

    # -- one operation -----------------------------------------------------------------------------

    def choice(self) -> Operation:
        rng, chance = self.rng, self.rng.random()
        if chance < 0.46:
            return Quotes(self.now_ns, self.market.move(self.now_ns, self.session.date))
        if chance < 0.80:
            return self.order()
        if chance < 0.88:
            return self._cancel()
        if chance < 0.94:
            return self._replace()
        if chance < 0.965:
            return Quotes(self.now_ns)
        if chance < 0.98:
            until_ns = self.now_ns + rng.randint(1, 40) * MINUTE_NS
            return Halt(self.now_ns, rng.choice(self.market.stocks).symbol, until_ns)
        if chance < 0.988:
            return self._exercise()
        if chance < 0.9985:
            return Restart(self.now_ns)
        return Open(self.now_ns, self.profile(), Decimal(rng.choice(_CASH)))

    def order(self) -> Operation:
        makers, weights = zip(*self._kinds, strict=True)
        ticket = None
        while ticket is None:
            maker = self.rng.choices(makers, weights)[0]
            if self.life.profile.options_level < 2 and maker in self._for_options and self.rng.random() < 0.8:
                continue
            ticket = maker()
        self._sent += 1
        return Send(self.now_ns, msgspec.structs.replace(ticket, client_order_id=f"o{self._sent}"))

    def _cancel(self) -> Operation:
        working = self._some_order()
        return Cancel(self.now_ns, working.name if working else "o1")

    def _replace(self) -> Operation:
        rng, working = self.rng, self._some_order()
        if working is None:
            return Cancel(self.now_ns, "o1")
        order, changes = working.order, dict[str, Decimal]()
        if order.limit is not None:
            step = PACKAGE_STEP if order.legs else price_step(parse_symbol(order.symbol), order.limit)
            moved = order.limit + rng.randint(-8, 8) * step
            changes["limit_price"] = from_ticks(moved if order.legs else max(step, moved))
        if order.stop is not None and rng.random() < 0.5:
            step = PACKAGE_STEP if order.legs else price_step(parse_symbol(order.symbol), order.stop)
            changes["stop_price"] = from_ticks(max(step, order.stop + rng.randint(-8, 8) * step))
        if (
            (not changes or rng.random() < 0.3)
            and working.role in (Role.NONE, Role.ENTRY)
            and order.notional is None
        ):
            changes["qty"] = max(Decimal(1), order.qty + rng.randint(-3, 3))
        self._sent += 1
        return Replace(self.now_ns, working.name, changes, f"o{self._sent}")

    def _exercise(self) -> Operation:
        held = [s for s, p in self.life.account.positions.items() if p.qty > 0 and self._is_option(s)]
        if not held:
            return Quotes(self.now_ns)
        symbol = self.rng.choice(held)
        most = int(self.life.account.positions[symbol].qty)
        return Exercise(self.now_ns, symbol, Decimal(self.rng.randint(1, most)))

    def _some_order(self) -> Working | None:
        found = list(self.life.account.open.values())
        return self.rng.choice(found) if found else None

    # -- tickets -----------------------------------------------------------------------------------

    def _stock_order(self) -> Ticket | None:
        rng, stock = self.rng, self._stock()
        instrument = parse_symbol(stock.symbol)
        side, tif = self._side(stock.symbol), rng.choice(_TIFS)
        kind = rng.choice((OrderType.MARKET, OrderType.MARKET, OrderType.LIMIT, OrderType.LIMIT, *OrderType))
        if rng.random() < 0.12:
            notional = Decimal(rng.randint(100, 900_000)) / 100 if rng.random() < 0.5 else None
            qty = None if notional is not None else Decimal(rng.randint(1, 10**10)) / 10**9
            return Ticket(
                symbol=stock.symbol, side=side, order_type=OrderType.MARKET, time_in_force=TimeInForce.DAY,
                client_order_id="", qty=qty, notional=notional,
            )  # fmt: skip
        if kind not in (OrderType.MARKET, OrderType.LIMIT):
            tif = rng.choice((TimeInForce.DAY, TimeInForce.GTC))
        terms = self._terms(instrument, kind, side, stock.price)
        extended = (
            kind is OrderType.LIMIT and tif in (TimeInForce.DAY, TimeInForce.GTC) and rng.random() < 0.2
        )
        return Ticket(
            symbol=stock.symbol, side=side, order_type=kind, time_in_force=tif,
            qty=self._no_more(stock.symbol, side, self._shares(stock)), client_order_id="", extended_hours=extended,
            **terms,
        )  # fmt: skip

    def _option_order(self) -> Ticket | None:
        rng = self.rng
        option = self._option()
        mark = self.life.marks.get(option.symbol, 0)
        kind = rng.choice((OrderType.MARKET, OrderType.LIMIT, OrderType.LIMIT, OrderType.LIMIT, *OrderType))
        tif = rng.choice(
            (TimeInForce.DAY, TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)
        )
        if kind not in (OrderType.MARKET, OrderType.LIMIT):
            tif = rng.choice((TimeInForce.DAY, TimeInForce.GTC))
        side = self._side(option.symbol)
        return Ticket(
            symbol=option.symbol, side=side, order_type=kind, time_in_force=tif,
            qty=self._no_more(option.symbol, side, Decimal(rng.randint(1, 6))), client_order_id="",
            fill_preference=self._preference(),
            **self._terms(option, kind, side, max(mark, 500)),
        )  # fmt: skip

    def _package(self) -> Ticket | None:
        rng = self.rng
        legs = self._structure()
        if legs is None:
            return None
        tif = rng.choice(
            (TimeInForce.DAY, TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)
        )
        return self._of_legs(legs, Decimal(rng.randint(1, 5)), tif)

    def _stock_group(self) -> Ticket | None:
        """A bracket, or an order that triggers one exit."""
        rng, stock = self.rng, self._stock()
        instrument, side = parse_symbol(stock.symbol), self._side(stock.symbol, opens=True)
        kind = rng.choice((OrderType.MARKET, OrderType.LIMIT))
        entry = self._near(instrument, stock.price, 40)
        up, down = (
            self._beyond(instrument, max(entry, stock.price), 1),
            self._beyond(instrument, min(entry, stock.price), -1),
        )
        profit, loss = (up, down) if side is Side.BUY else (down, up)
        cls = rng.choice((OrderClass.BRACKET, OrderClass.BRACKET, OrderClass.OTO))
        with_profit = cls is OrderClass.BRACKET or rng.random() < 0.5
        with_loss = cls is OrderClass.BRACKET or not with_profit
        limited = loss - price_step(instrument, loss) * (1 if side is Side.BUY else -1)
        return Ticket(
            symbol=stock.symbol, side=side, order_type=kind, qty=self._shares(stock), order_class=cls,
            time_in_force=rng.choice((TimeInForce.DAY, TimeInForce.GTC)), client_order_id="",
            limit_price=from_ticks(entry) if kind is OrderType.LIMIT else None,
            take_profit=from_ticks(profit) if with_profit else None, stop_loss=from_ticks(loss) if with_loss else None,
            stop_loss_limit=from_ticks(limited) if with_loss and limited > 0 and rng.random() < 0.3 else None,
        )  # fmt: skip

    def _exits(self) -> Ticket | None:
        """An OCO for a position that is there, as a rule."""
        rng = self.rng
        account = self.life.account
        held = [s for s in account.positions if s not in account.offered or rng.random() < 0.1]
        if not held:
            return None
        symbol = rng.choice(held)
        instrument, qty = parse_symbol(symbol), account.positions[symbol].qty
        mark = self.life.marks.get(symbol)
        if not mark or abs(qty) < 1:
            return None
        side = Side.SELL if qty > 0 else Side.BUY
        up, down = self._beyond(instrument, mark, 1), self._beyond(instrument, mark, -1)
        profit, loss = (up, down) if side is Side.SELL else (down, up)
        return Ticket(
            symbol=symbol, side=side, order_type=OrderType.LIMIT, order_class=OrderClass.OCO,
            qty=Decimal(rng.randint(1, int(abs(qty)))), time_in_force=rng.choice((TimeInForce.DAY, TimeInForce.GTC)),
            take_profit=from_ticks(profit), stop_loss=from_ticks(loss), client_order_id="",
        )  # fmt: skip

    def _option_group(self) -> Ticket | None:
        rng, option = self.rng, self._option()
        mark, side = self.life.marks.get(option.symbol), self._side(option.symbol, opens=True)
        if not mark or mark < 3_000:
            return None
        up, down = self._beyond(option, mark, 1), self._beyond(option, mark, -1)
        profit, loss = (up, down) if side is Side.BUY else (down, up)
        return Ticket(
            symbol=option.symbol, side=side, order_type=OrderType.MARKET, qty=Decimal(rng.randint(1, 4)),
            time_in_force=rng.choice((TimeInForce.DAY, TimeInForce.GTC)), order_class=OrderClass.BRACKET,
            take_profit=from_ticks(profit), stop_loss=from_ticks(loss), client_order_id="",
        )  # fmt: skip

    def _package_group(self) -> Ticket | None:
        """A package with exits: the package that closes it, at a better and at a worse price."""
        rng, legs = self.rng, self._structure()
        market = self._market_of(legs) if legs else None
        if legs is None or market is None:
            return None
        reach = max(market.ask - market.bid, 500)
        profit = (-market.ask - rng.randint(1, 4) * reach) // PACKAGE_STEP * PACKAGE_STEP
        loss = (-market.bid + rng.randint(1, 4) * reach) // PACKAGE_STEP * PACKAGE_STEP
        ticket = self._of_legs(
            legs, Decimal(rng.randint(1, 3)), rng.choice((TimeInForce.DAY, TimeInForce.GTC))
        )
        return msgspec.structs.replace(ticket, take_profit=from_ticks(profit), stop_loss=from_ticks(loss))

    def _close_position(self) -> Ticket | None:
        rng = self.rng
        positions = self.life.account.positions
        if not positions:
            return None
        offered = self.life.account.offered if rng.random() < 0.9 else {}
        symbol = rng.choice([s for s in positions if s not in offered] or list(positions))
        qty = positions[symbol].qty
        part = abs(qty) if rng.random() < 0.7 or abs(qty) < 1 else Decimal(rng.randint(1, int(abs(qty))))
        return Ticket(
            symbol=symbol, side=Side.SELL if qty > 0 else Side.BUY, order_type=OrderType.MARKET,
            time_in_force=TimeInForce.DAY, qty=part, client_order_id="",
        )  # fmt: skip

    def _close_structure(self) -> Ticket | None:
        terms = self.world.terms_held()
        found = [
            s for s in risk_close.structures(self.life.account.positions, terms=terms) if len(s.legs) > 1
        ]
        if not found:
            return None
        structure = self.rng.choice(found)
        qty = min(abs(held) for _, held in structure.legs)
        return self._of_legs(
            [LegTicket(symbol, Side.SELL if held > 0 else Side.BUY, 1) for symbol, held in structure.legs], qty,
            TimeInForce.DAY,
        )  # fmt: skip

    def _roll(self) -> Ticket | None:
        """Out of a contract and into the same one of the other expiration, or of an adjusted one into a standard one."""
        rng = self.rng
        held = [s for s in self.life.account.positions if self._is_option(s)]
        if not held:
            return None
        symbol = rng.choice(held)
        old = parse_symbol(symbol)
        into_standard = is_adjusted(old.underlying) and rng.random() < 0.5
        follows = self.world.terms(symbol).underlying
        new = next(
            (o for o in self.market.options if o.right is old.right and o.expiry != old.expiry
             and (o.underlying == follows if into_standard else (o.underlying, o.strike) == (old.underlying, old.strike))),
            None,
        )  # fmt: skip
        if new is None:
            return None
        qty = self.life.account.positions[symbol].qty
        out, into = (Side.SELL, Side.BUY) if qty > 0 else (Side.BUY, Side.SELL)
        return self._of_legs(
            [LegTicket(symbol, out, 1), LegTicket(new.symbol, into, 1)], abs(qty), TimeInForce.DAY
        )

    def _nonsense(self) -> Ticket | None:
        """Terms that do not go together."""
        rng, stock = self.rng, self._stock()
        price = from_ticks(stock.price // 100 * 100)
        return Ticket(
            symbol=stock.symbol, side=rng.choice(tuple(Side)), order_type=rng.choice(tuple(OrderType)),
            time_in_force=rng.choice(tuple(TimeInForce)), qty=rng.choice((None, Decimal(1), Decimal("0.5"))),
            notional=rng.choice((None, None, Decimal(100))), limit_price=rng.choice((None, price)),
            stop_price=rng.choice((None, price)), trail_percent=rng.choice((None, None, Decimal(3))),
            order_class=rng.choice(tuple(OrderClass)), take_profit=rng.choice((None, price)),
            stop_loss=rng.choice((None, price)), extended_hours=rng.random() < 0.2, client_order_id="",
        )  # fmt: skip

    # -- the parts ---------------------------------------------------------------------------------

    def _side(self, symbol: str, *, opens: bool = False) -> Side:
        """A side that can be taken, as a rule. `opens`: one that does not close what is held."""
        rng, held = self.rng, self.life.account.positions.get(symbol)
        if rng.random() < 0.08:
            return rng.choice(tuple(Side))
        if held is not None and opens:
            return Side.BUY if held.qty > 0 else Side.SELL
        is_cash = self.life.profile.type is AccountType.CASH
        if held is None and is_cash and not self._is_option(symbol):
            return Side.BUY
        return rng.choice((Side.BUY, Side.BUY, Side.SELL) if is_cash else tuple(Side))

    def _no_more(self, symbol: str, side: Side, qty: Decimal) -> Decimal:
        """No more than there is to be closed, where it closes, as a rule."""
        account = self.life.account
        held = account.positions.get(symbol)
        if held is None or (held.qty > 0) is (side is Side.BUY) or self.rng.random() < 0.08:
            return qty
        free = abs(held.qty) - account.offered.get(symbol, Decimal(0))
        return min(qty, free // 1) if free >= 1 else qty

    def _stock(self) -> Stock:
        return self.rng.choice(self._stocks())

    def _stocks(self) -> list[Stock]:
        return [stock for stock in self.market.stocks if stock.symbol != INDEX]

    def _option(self) -> Instrument:
        """Listed still, as a rule."""
        stock = self._optioned()
        alive = [o for o in self._series(stock) if o.expiry is None or o.expiry >= self.session.date]
        return self.rng.choice(alive if alive and self.rng.random() < 0.98 else stock.options)

    def _optioned(self) -> Stock:
        """One with adjusted contracts rather often, if there is one."""
        changed = [stock for stock in self.market.stocks if len(stock.classes) > 1]
        return self.rng.choice(changed if changed and self.rng.random() < 0.4 else self.market.stocks)

    def _series(self, stock: Stock) -> list[Instrument]:
        """The contracts of one root: the standard ones, or often those of one that was adjusted, if there are any."""
        standard, *adjusted = stock.classes
        return self.rng.choice(adjusted) if adjusted and self.rng.random() < 0.6 else standard

    def _shares(self, stock: Stock) -> Decimal:
        worth = int(self.life.account.cash) * self.rng.randint(1, 60) // 100
        shares = max(1, worth * TICKS_PER_DOLLAR // stock.price)
        if shares > 100 and self.rng.random() < 0.5:
            shares = shares // 100 * 100
        return Decimal(min(shares, 3_000))

    def _preference(self) -> FillPreference | None:
        choices: list[FillPreference | None] = [None, None, *FillPreference]
        return self.rng.choice(choices)

    def _near(self, instrument: Instrument, price: int, reach: int) -> int:
        """A legal price within `reach` parts of 10,000."""
        near = max(price * (10_000 + self.rng.randint(-reach, reach)) // 10_000, 1)
        return max(
            near // price_step(instrument, near) * price_step(instrument, near), price_step(instrument, near)
        )

    def _beyond(self, instrument: Instrument, price: int, way: int) -> int:
        reach = (20, 600) if instrument.asset_class is AssetClass.EQUITY else (300, 6_000)
        far = max(price * (10_000 + way * self.rng.randint(*reach)) // 10_000, 1)
        step = price_step(instrument, far)
        return max(far // step * step + (step if way > 0 else 0), step)

    def _terms(self, instrument: Instrument, kind: OrderType, side: Side, price: int) -> _Prices:
        rng, terms = self.rng, _Prices()
        reach = 80 if instrument.asset_class is AssetClass.EQUITY else 1_500
        if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT):
            terms["limit_price"] = from_ticks(self._near(instrument, price, reach))
        if kind in (OrderType.STOP, OrderType.STOP_LIMIT):
            terms["stop_price"] = from_ticks(self._near(instrument, price, reach))
        if kind is OrderType.TRAILING_STOP:
            if rng.random() < 0.5:
                terms["trail_percent"] = Decimal(rng.randint(1, 50)) / 10
            else:
                trail = max(price * rng.randint(5, 200) // 10_000, 1)
                step = price_step(instrument, trail)
                terms["trail_price"] = from_ticks(max(trail // step * step, step))
        return terms

    def _structure(self) -> list[LegTicket] | None:
        rng, stock = self.rng, self._optioned()
        shape, sign = rng.choice(tuple(STRUCTURES.values())), rng.choice((1, -1))
        if self.life.profile.type is AccountType.CASH and rng.random() < 0.7:
            shape, sign = rng.choice((STRUCTURES["straddle"], STRUCTURES["strangle"])), 1
        series = self._series(stock)
        expiries = sorted({o.expiry for o in series if o.expiry is not None})
        strikes = sorted({o.strike for o in series})
        over = expiries[0] < self.session.date
        later = rng.random() < (0.98 if over else 0.4)
        by_terms = {(o.right, o.strike, o.expiry): o for o in series}
        legs = []
        for right, strike, term, ratio in shape:
            if strike >= len(strikes):
                return None
            expiry_of = expiries[min(max(term, int(later)), len(expiries) - 1)]
            option = by_terms.get((right, strikes[strike], expiry_of))
            if option is None:
                return None
            legs.append(LegTicket(option.symbol, Side.BUY if ratio * sign > 0 else Side.SELL, abs(ratio)))
        if len({leg.symbol for leg in legs}) < len(legs):
            return None
        rng.shuffle(legs)
        return legs

    def _market_of(self, legs: Sequence[LegTicket]) -> PackageQuote | None:
        quotes = [self.life.quotes.get(leg.symbol) for leg in legs]
        sound = [q for q in quotes if q and condition(q) in (QuoteCondition.NORMAL, QuoteCondition.LOCKED)]
        if len(sound) < len(legs):
            return None
        return package_quote([Leg(leg.symbol, leg.side, leg.ratio) for leg in legs], sound)

    def _of_legs(self, legs: Sequence[LegTicket], qty: Decimal, tif: TimeInForce) -> Ticket:
        rng, market = self.rng, self._market_of(legs)
        limit = None
        if rng.random() < 0.7:
            low, high = (market.bid, market.ask) if market else (-5_000, 5_000)
            reach = max(high - low, PACKAGE_STEP)
            limit = (low + rng.randint(-reach // 2, reach * 3 // 2)) // PACKAGE_STEP * PACKAGE_STEP
        return Ticket(
            symbol="", side=Side.BUY, order_type=OrderType.MARKET if limit is None else OrderType.LIMIT,
            time_in_force=tif, qty=qty, legs=tuple(legs), order_class=OrderClass.MLEG, client_order_id="",
            limit_price=None if limit is None else from_ticks(limit), fill_preference=self._preference(),
        )  # fmt: skip

    def _is_option(self, symbol: str) -> bool:
        return self.life.instrument(symbol).asset_class is AssetClass.OPTION
