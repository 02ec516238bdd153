"""How to close what is held, or to roll it: each structure as one order, so that no leg stands alone on the way. Pure.

A structure has an id that says what it is: its legs in lowest terms, `+1 SPY261218P00635000 -1 SPY261218P00640000`.
It means the same whatever prices do to the grouping of the account, and whatever else is held beside it.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from decimal import ROUND_CEILING, Decimal
from math import gcd

import msgspec

from mbt.engine.buying_power import NOTHING, Holding
from mbt.engine.fills import PACKAGE_STEP
from mbt.engine.margin import Group, Part
from mbt.engine.orders import FillPreference, OrderClass, OrderType, Side, TimeInForce
from mbt.engine.strategies import Leg, Structure, recognise
from mbt.engine.tickets import LEGS_MAX, LegTicket, Ticket
from raxx.kernel.errors import InvalidInput, RaxxError
from raxx.kernel.money import from_ticks, to_ticks
from raxx.market.contracts import AssetClass, Instrument, osi, parse_symbol, price_step
from raxx.market.listing import is_adjusted
from raxx.market.quotes import Quote

ZERO = Decimal(0)


class NotOneOrder(RaxxError):
    """No single order does it: the remedy names the ones that do, in their order."""

    code = "NOT_ONE_ORDER"
    http_status = 422


class NothingToClose(RaxxError):
    """What the order would close is not held, or not on that side."""

    code = "NOTHING_TO_CLOSE"
    http_status = 409


class Closing(msgspec.Struct, frozen=True):
    """An order that closes something: what (a symbol, or the name of a structure), and the ticket without a name."""

    what: str
    ticket: Ticket


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How an order that closes or rolls is sent. `limit_price` is its net price: a debit positive, a credit negative;
    that of a sale of a single symbol is negative too."""

    order_type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None = None
    fill_preference: FillPreference | None = None
    client_order_id: str = ""


MARKET = Terms(order_type=OrderType.MARKET, time_in_force=TimeInForce.DAY)


class Asked(msgspec.Struct, frozen=True):
    """An order, and the symbols that it is there to close: it must never open a position in them."""

    ticket: Ticket
    closes: tuple[str, ...]


class Cost(msgspec.Struct, frozen=True):
    """What closing a structure pays now, in dollars for all of it (negative: it brings that much): at the touch of
    every leg, and at their midpoints. `natural_price` and `mid_price`: the net price of one unit, as a limit names it;
    None where no single order closes it."""

    natural: Decimal
    mid: Decimal
    natural_price: Decimal | None
    mid_price: Decimal | None


# -- everything, or one position -----------------------------------------------------------------------


def close_single(symbol: str, held: Decimal, qty: Decimal | None = None) -> Ticket:
    """A market order that closes `qty` of a position, or all of it. `held` is negative when short."""
    return _ticket([(symbol, Decimal(1).copy_sign(-held))], abs(held) if qty is None else qty, MARKET)


def close_all(groups: Iterable[Group]) -> list[Closing]:
    """Market orders that close everything in these groups, in an order that can be sent one after the other.

    The options of a group go first, as one package where they are two to four legs; of a larger group the short
    ones before the long ones. Stock follows, since it may cover them.
    """
    options: list[Closing] = []
    stock: dict[str, Decimal] = {}
    for group in groups:
        legs = [part for part in group.legs if part.instrument.asset_class is AssetClass.OPTION]
        for part in group.legs:
            if part.instrument.asset_class is AssetClass.EQUITY:
                stock[part.instrument.symbol] = stock.get(part.instrument.symbol, ZERO) + part.qty
        if 1 < len(legs) <= LEGS_MAX:
            options.append(Closing(group.label, _package(legs)))
        else:
            ordered = sorted(legs, key=lambda part: (part.qty > 0, part.instrument.symbol))
            options += [
                Closing(p.instrument.symbol, close_single(p.instrument.symbol, p.qty)) for p in ordered
            ]
    return options + [
        Closing(symbol, close_single(symbol, qty)) for symbol, qty in sorted(stock.items()) if qty
    ]


def _package(legs: Sequence[Part]) -> Ticket:
    return _ticket([(part.instrument.symbol, -part.qty) for part in legs], Decimal(1), MARKET)


# -- structures ----------------------------------------------------------------------------------------


def structures(groups: Iterable[Group]) -> list[Structure]:
    """What an account holds, structure by structure, from the groups of its requirement: they are the way in which its
    positions need least. Two that are alike are one."""
    found: dict[str, Structure] = {}
    for group in groups:
        parts = [(part.instrument, part.qty) for part in group.legs]
        structure = recognise(parts, underlying=group.underlying, lots=group.lots)
        same = found.get(id_of(structure.legs))
        if same is not None:
            parts += [(leg.instrument, leg.ratio * same.quantity) for leg in same.legs]
            structure = recognise(parts, underlying=group.underlying, lots=group.lots)
        found[id_of(structure.legs)] = structure
    return list(found.values())


def id_of(legs: Iterable[Leg]) -> str:
    return " ".join(f"{leg.ratio.normalize():+f} {leg.instrument.symbol}" for leg in legs)


_ID = re.compile(
    r"[+-][1-9][0-9]{0,6} [A-Z0-9.]{1,21}(?: [+-][1-9][0-9]{0,6} [A-Z0-9.]{1,21}){0,11}", re.ASCII
)


def legs_of(text: str) -> tuple[Leg, ...]:
    """The legs that an id names, as they are held. Raises InvalidInput, UnknownSymbolForm."""
    words = text.split(" ") if _ID.fullmatch(text) else []
    pairs = zip(words[::2], words[1::2], strict=True)
    legs = tuple(Leg(parse_symbol(symbol), Decimal(ratio)) for ratio, symbol in pairs)
    if not legs or len({leg.instrument for leg in legs}) < len(legs):
        raise InvalidInput(
            field="structure", rule="must be the id of a structure: a signed count and a symbol for each leg", value=text,
            remedy="Send for example '+1 SPY261218P00635000 -1 SPY261218P00640000'; GET structures lists yours.",
        )  # fmt: skip
    return legs


def close(legs: Sequence[Leg], qty: Decimal, terms: Terms) -> Asked:
    """The order that closes `qty` of a structure. Raises NotOneOrder, InvalidInput."""
    if not is_one_order(legs):
        raise _in_parts("This takes more than one order", legs, "Close")
    trades = [(leg.instrument.symbol, -leg.ratio) for leg in legs]
    return Asked(_ticket(trades, qty, terms), tuple(symbol for symbol, _ in trades))


def is_one_order(legs: Sequence[Leg]) -> bool:
    """Whether a single order trades all of these: one symbol, or the options of a package."""
    return len(legs) == 1 or (len(legs) <= LEGS_MAX and all(_is_option(leg.instrument) for leg in legs))


def cost(
    legs: Sequence[Leg], qty: Decimal, quotes: Mapping[str, Quote], *, multipliers: Mapping[str, int]
) -> Cost | None:
    """What closing `qty` of a structure pays. None where a leg has no two-sided quote."""
    natural = mid = ZERO
    for leg in legs:
        quote = quotes.get(leg.instrument.symbol)
        if quote is None or not quote.bid or not quote.ask or quote.bid > quote.ask:
            return None
        each = -leg.ratio * multipliers.get(leg.instrument.symbol, leg.instrument.multiplier)
        natural += each * from_ticks(quote.ask if each > 0 else quote.bid)
        mid += each * from_ticks(quote.bid + quote.ask) / 2
    if not is_one_order(legs):
        return Cost(natural * qty, mid * qty, None, None)
    first = legs[0]
    unit = multipliers.get(first.instrument.symbol, first.instrument.multiplier)
    if len(legs) == 1:
        unit *= int(abs(first.ratio))
    return Cost(natural * qty, mid * qty, natural / unit, _on_step(legs, mid / unit))


def _on_step(legs: Sequence[Leg], net: Decimal) -> Decimal:
    """A net price on the legal step, rounded against the trader as fills at the midpoint are."""
    exact = net * 10_000
    step = PACKAGE_STEP if len(legs) > 1 else price_step(legs[0].instrument, abs(int(exact)))
    return from_ticks(int((exact / step).to_integral_value(ROUND_CEILING)) * step)


def check_closes(ticket: Ticket, symbols: Collection[str], holdings: Mapping[str, Holding]) -> None:
    """Raises NothingToClose unless the order is against what is held of each of these symbols."""
    sides = {leg.symbol: leg.side for leg in ticket.legs} or {ticket.symbol: ticket.side}
    for symbol in symbols:
        held = holdings.get(symbol, NOTHING).qty
        if held * (1 if sides[symbol] is Side.SELL else -1) <= 0:
            side = "long" if sides[symbol] is Side.SELL else "short"
            raise NothingToClose(
                f"The account is not {side} {symbol}, so this would not close it. List your structures.",
                field="structure", rule="what is closed or rolled is held", value=symbol,
                remedy="List your structures.", held=f"{held.normalize():f}",
            )  # fmt: skip


# -- rolls ---------------------------------------------------------------------------------------------


def targets(
    legs: Sequence[Leg], *, expiration: date | None = None, strike_shift: Decimal | None = None, to: Sequence[str] = ()
) -> tuple[Instrument, ...]:  # fmt: skip
    """What each leg becomes: the contract with that expiration and a strike moved by so many dollars, or the one that
    `to` names for each option in its turn. Stock stays what it is. Raises InvalidInput."""
    options = [leg.instrument for leg in legs if _is_option(leg.instrument)]
    if not options:
        raise _wrong("structure", "options are rolled", id_of(legs), "Close the stock, and buy another.")
    if to and (expiration is not None or strike_shift is not None):
        raise _wrong(
            "to", "says it alone", "with expiration or strike_shift", "Leave those out, or leave out to."
        )
    if to and len(to) != len(options):
        raise _wrong("to", "names a contract for each option of the structure", f"{len(to)} for {len(options)}", f"Send {len(options)}, in the order of its legs.")  # fmt: skip
    if expiration is not None and len({option.expiry for option in options}) > 1:
        raise _wrong(
            "expiration",
            "goes with structures of one expiration",
            "legs of several",
            "Name each contract in to.",
        )
    moved = [parse_symbol(symbol) for symbol in to] or [_moved(o, expiration, strike_shift) for o in options]
    for old, new in zip(options, moved, strict=True):
        # An adjusted contract may go over into a standard one: the order itself is judged for that.
        same = old.underlying == new.underlying or is_adjusted(old.underlying)
        if not same or old.right is not new.right:
            raise _wrong(
                "to", "a contract is rolled to one of the same root and right", f"{old.symbol} to {new.symbol}",
                f"Name a {old.underlying} {'call' if old.right == 'C' else 'put'}.",
            )  # fmt: skip
    if moved == options:
        raise _wrong(
            "to", "must change something", "the same contracts", "Send expiration, strike_shift or to."
        )
    coming = iter(moved)
    return tuple(next(coming) if _is_option(leg.instrument) else leg.instrument for leg in legs)


def _moved(option: Instrument, expiration: date | None, shift: Decimal | None) -> Instrument:
    strike = option.strike + (to_ticks(shift) if shift is not None else 0)
    if strike <= 0 or option.expiry is None or option.right is None:
        raise _wrong("strike_shift", "strikes stay above 0", f"{shift}", "Send a smaller shift.")
    return parse_symbol(osi(option.underlying, expiration or option.expiry, option.right, strike))


def roll(legs: Sequence[Leg], into: Sequence[Instrument], qty: Decimal, terms: Terms) -> Asked:
    """The order that closes `qty` of a structure and opens the same in other contracts. A leg that stays what it is is
    not traded. Raises NotOneOrder, InvalidInput."""
    net: dict[str, Decimal] = {}
    for leg in legs:
        net[leg.instrument.symbol] = net.get(leg.instrument.symbol, ZERO) - leg.ratio
    for leg, new in zip(legs, into, strict=True):
        net[new.symbol] = net.get(new.symbol, ZERO) + leg.ratio
    trades = [(symbol, count) for symbol, count in net.items() if count]
    if not trades:
        raise _wrong("to", "must change something", "the same contracts", "Name others.")
    had = {leg.instrument.symbol: leg.ratio for leg in legs}
    for symbol, count in trades:
        if had.get(symbol, ZERO) * (had.get(symbol, ZERO) + count) < 0:
            raise NotOneOrder(
                f"{symbol} would be closed and opened again on the other side. Close the structure, then open the new one.",
                field="structure", rule="an order closes a position or opens one, not both", value=symbol,
                remedy="Close the structure, then open the new one.",
            )  # fmt: skip
    if len(trades) > LEGS_MAX:
        options = [leg for leg in legs if _is_option(leg.instrument)]
        raise _in_parts(f"As one order this roll would have {len(trades)} legs", options, "Roll")
    closes = tuple(symbol for symbol, count in trades if had.get(symbol, ZERO) * count < 0)
    return Asked(_ticket(trades, qty, terms), closes)


# -- the parts -----------------------------------------------------------------------------------------


def _ticket(trades: Sequence[tuple[str, Decimal]], qty: Decimal, terms: Terms) -> Ticket:
    """The order for `qty` times these signed quantities: a package, or an order of one symbol."""
    if terms.order_type not in (OrderType.MARKET, OrderType.LIMIT):
        raise _wrong("order_type", "structures are closed and rolled at the market or with a limit", terms.order_type, "Send market or limit.")  # fmt: skip
    if len(trades) == 1:
        ((symbol, count),) = trades
        side = Side.BUY if count > 0 else Side.SELL
        return Ticket(
            symbol=symbol, side=side, qty=qty * abs(count), order_type=terms.order_type,
            time_in_force=terms.time_in_force, limit_price=_own_price(terms.limit_price, side),
            fill_preference=terms.fill_preference, client_order_id=terms.client_order_id,
        )  # fmt: skip
    common = gcd(*(int(abs(count)) for _, count in trades))
    return Ticket(
        symbol="", side=Side.BUY, qty=qty * common, order_type=terms.order_type, time_in_force=terms.time_in_force,
        limit_price=terms.limit_price, order_class=OrderClass.MLEG, fill_preference=terms.fill_preference,
        client_order_id=terms.client_order_id,
        legs=tuple(
            LegTicket(symbol, Side.BUY if count > 0 else Side.SELL, int(abs(count)) // common) for symbol, count in trades
        ),
    )  # fmt: skip


def _own_price(net: Decimal | None, side: Side) -> Decimal | None:
    """The limit of a single symbol's order, which has no sign."""
    if not net or (net < 0) is (side is Side.SELL):
        return None if net is None else abs(net)
    says = (
        "brings money: its net price is negative"
        if side is Side.SELL
        else "costs money: its net price is positive"
    )
    raise _wrong("limit_price", f"this {says}", f"{net:f}", f"Send {-net:f}.")


def _in_parts(what: str, legs: Sequence[Leg], verb: str) -> NotOneOrder:
    """The refusal of what takes several orders, with those that do it: options before stock, calls and puts apart."""
    options = [leg for leg in legs if _is_option(leg.instrument)]
    stock = [leg for leg in legs if not _is_option(leg.instrument)]
    pieces = (
        [options] if stock else [[leg for leg in options if leg.instrument.right == right] for right in "PC"]
    )
    named = [f"'{id_of(piece)}'" for piece in (*pieces, stock) if piece]
    remedy = (
        f"{verb} {', then '.join(named)}."
        if len(named) > 1
        else f"{verb} it leg by leg, what is short first."
    )
    return NotOneOrder(
        f"{what}; a package has at most {LEGS_MAX}, all of them options. {remedy}",
        field="structure", rule=f"a package has at most {LEGS_MAX} legs, all of them options", value=id_of(legs),
        remedy=remedy,
    )  # fmt: skip


def _is_option(instrument: Instrument) -> bool:
    return instrument.asset_class is AssetClass.OPTION


def _wrong(field: str, rule: str, value: str, remedy: str) -> InvalidInput:
    return InvalidInput(field=field, rule=rule, value=value, remedy=remedy)
