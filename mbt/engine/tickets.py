"""What a trader asks for, and whether it is a possible order at all. When it may act: `mbt.engine.timing`."""

from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from hashlib import sha256
from math import gcd

import msgspec

from mbt.engine.fills import PACKAGE_STEP
from mbt.engine.orders import FillPreference, OrderClass, OrderType, Side, TimeInForce
from raxx.kernel.errors import InvalidInput
from raxx.kernel.money import from_ticks, show_price, to_ticks
from raxx.market import listing
from raxx.market.contracts import AssetClass, Instrument, price_step
from raxx.market.listing import STANDARD_ONLY, OptionClass

LEGS_MIN, LEGS_MAX = 2, 4
CONTRACTS_MAX = 1_000_000  # of one leg of a package
VALUE_MAX = Decimal(10) ** 11  # dollars: a hundredth of what a column of money holds


class LegTicket(msgspec.Struct, frozen=True):
    """One option of a package: `ratio` contracts of it in each package."""

    symbol: str
    side: Side
    ratio: int


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """An order as asked for. Prices in dollars; `client_order_id` is the owner's name for it.

    Either `qty` or `notional` (dollars) says how much. A package has `legs`, no symbol, and is bought; its
    prices are signed: a debit is positive, a credit negative. `take_profit` is the limit price, `stop_loss`
    the stop price (and `stop_loss_limit` its limit) of the exits that a bracket, OTO or OCO has; those of a
    package are net prices of the package that closes it. `fill_preference` None: as the account has it.
    """

    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    client_order_id: str
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    order_class: OrderClass = OrderClass.SIMPLE
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    stop_loss_limit: Decimal | None = None
    legs: tuple[LegTicket, ...] = ()
    extended_hours: bool = False
    fill_preference: FillPreference | None = None

    @property
    def symbols(self) -> list[str]:
        """Everything whose quotes it depends on."""
        return [leg.symbol for leg in self.legs] if self.legs else [self.symbol]

    @property
    def has_exits(self) -> bool:
        return self.take_profit is not None or self.stop_loss is not None


def fingerprint(ticket: Ticket) -> str:
    """A digest of everything asked for but its name: the same ticket again has the same."""
    asked = msgspec.to_builtins(msgspec.structs.replace(ticket, client_order_id=""), builtin_types=(Decimal,))
    plain = {key: _plain(value) if isinstance(value, Decimal) else value for key, value in asked.items()}
    return sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()


def check_terms(
    ticket: Ticket, instruments: Sequence[Instrument], adjusted: Mapping[str, OptionClass] = STANDARD_ONLY
) -> None:
    """Whether the terms go together. `instruments` are those of `ticket.symbols`, in that order.

    `adjusted`: the option classes that corporate actions changed. Raises InvalidInput. Source: docs/rules/numbers.md, docs/rules/fills.md, Rule 612.
    """
    _check_prices(ticket)
    _check_quantity(ticket, instruments)
    _check_class(ticket)
    _check_time_in_force(ticket, instruments)
    if ticket.legs:
        _check_legs(ticket, instruments, adjusted)
    _check_value(ticket, instruments)
    for field, price in _prices(ticket):
        _check_step(field, price, None if ticket.legs else instruments[0])


def _check_prices(ticket: Ticket) -> None:
    kind = ticket.order_type
    oco = ticket.order_class is OrderClass.OCO
    _require(
        "limit_price", ticket.limit_price, kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) and not oco, kind
    )
    _require("stop_price", ticket.stop_price, kind in (OrderType.STOP, OrderType.STOP_LIMIT), kind)
    trailing = kind is OrderType.TRAILING_STOP
    if trailing and (ticket.trail_price is None) is (ticket.trail_percent is None):
        raise _wrong(
            "trail_price", "a trailing stop has either a trail_price or a trail_percent",
            "neither" if ticket.trail_price is None else "both", "Send exactly one of them.",
        )  # fmt: skip
    for field, value in (("trail_price", ticket.trail_price), ("trail_percent", ticket.trail_percent)):
        if not trailing and value is not None:
            raise _unwanted(field, value, kind)
    if ticket.trail_percent is not None and ticket.trail_percent >= 100:
        raise _wrong(
            "trail_percent", "must be below 100", _plain(ticket.trail_percent), "Send a percentage such as 5."
        )
    if not ticket.legs:
        for field, price in _prices(ticket):
            if price <= 0:
                raise _wrong(field, "must be greater than 0", _plain(price), "Send a positive price.")


def _check_quantity(ticket: Ticket, instruments: Sequence[Instrument]) -> None:
    if (ticket.qty is None) is (ticket.notional is None):
        what = "neither" if ticket.qty is None else "both"
        raise _wrong("qty", "an order has either a qty or a notional", what, "Send exactly one of them.")
    plain = (
        ticket.order_type is OrderType.MARKET and ticket.time_in_force is TimeInForce.DAY
        and ticket.order_class is OrderClass.SIMPLE and not ticket.extended_hours
    )  # fmt: skip
    equity = instruments[0].asset_class is AssetClass.EQUITY
    if ticket.notional is not None and not (plain and equity):
        raise _wrong(
            "notional", "amounts of money trade only as market day orders of equities", _plain(ticket.notional),
            "Send qty, or a market day order.",
        )  # fmt: skip
    if ticket.qty is not None and ticket.qty % 1:
        if not equity:
            raise _wrong(
                "qty", "option contracts are whole", _plain(ticket.qty), "Send a whole number of contracts."
            )
        if not plain:
            raise _wrong(
                "qty", "fractions of a share trade only as market orders with time_in_force day", _plain(ticket.qty),
                "Send a whole number of shares, or a market day order.",
            )  # fmt: skip


def _check_value(ticket: Ticket, instruments: Sequence[Instrument]) -> None:
    """No order is for more dollars, at any price that it names, than accounts are kept in."""
    size = (ticket.qty or Decimal(0)) * max(instrument.multiplier for instrument in instruments)
    for field, price in _prices(ticket):
        if size * abs(price) > VALUE_MAX:
            raise _wrong(
                field, f"quantity times price is at most ${VALUE_MAX:,f}", _plain(price),
                "Send a smaller quantity, or a price nearer to the market.",
            )  # fmt: skip


def _check_class(ticket: Ticket) -> None:
    cls, kind, tif = ticket.order_class, ticket.order_type, ticket.time_in_force
    both = ticket.take_profit is not None and ticket.stop_loss is not None
    if cls is OrderClass.SIMPLE and ticket.has_exits:
        raise _wrong(
            "order_class", "a simple order has no take_profit and no stop_loss", cls,
            "Send order_class bracket, oto or oco, or leave them out.",
        )  # fmt: skip
    if cls in (OrderClass.BRACKET, OrderClass.OCO) and not both:
        missing = "take_profit" if ticket.take_profit is None else "stop_loss"
        raise _wrong(missing, f"{cls} needs both take_profit and stop_loss", "nothing", f"Send {missing}.")
    if cls is OrderClass.OTO and both is ticket.has_exits:
        raise _wrong(
            "take_profit", "oto has exactly one of take_profit and stop_loss", "both" if both else "neither",
            "Send one of them, or order_class bracket for both.",
        )  # fmt: skip
    if ticket.stop_loss_limit is not None and ticket.stop_loss is None:
        raise _wrong(
            "stop_loss",
            "a stop-loss with a limit needs its stop price",
            "nothing",
            "Send stop_loss.stop_price.",
        )
    if cls is OrderClass.OCO and kind is not OrderType.LIMIT:
        raise _wrong(
            "order_type", "an oco is a take-profit limit with a stop-loss", kind, "Send order_type limit."
        )
    if cls is OrderClass.OCO and ticket.limit_price is not None:
        raise _unwanted("limit_price", ticket.limit_price, OrderClass.OCO)
    if bool(ticket.legs) is not (cls is OrderClass.MLEG):
        raise _wrong(
            "legs",
            "legs go with order_class mleg, and only with it",
            f"order_class {cls}",
            "Send both or neither.",
        )
    if not ticket.has_exits:
        return
    if kind not in (OrderType.MARKET, OrderType.LIMIT):
        raise _wrong(
            "order_type", "an entry with exits is a market or a limit order", kind, "Send market or limit."
        )
    if tif not in (TimeInForce.DAY, TimeInForce.GTC):
        raise _wrong("time_in_force", "orders that belong together are day or gtc", tif, "Send day or gtc.")
    _check_exit_prices(ticket)


def _check_exit_prices(ticket: Ticket) -> None:
    """Take-profit beyond the stop-loss, and a known entry price between them."""
    profit, loss = ticket.take_profit, ticket.stop_loss
    # A package's exits buy the closing package: the profit is the cheaper purchase. An OCO's own side is the exit's.
    exits_sell = not ticket.legs and (ticket.side is Side.SELL) is (ticket.order_class is OrderClass.OCO)
    better = 1 if exits_sell else -1
    if profit is not None and loss is not None and (profit - loss) * better <= 0:
        raise _wrong(
            "stop_loss.stop_price", f"must lie {'below' if exits_sell else 'above'} the take-profit of {_plain(profit)}",
            _plain(loss), "Exchange the two, or check the side.",
        )  # fmt: skip
    entry = ticket.limit_price
    if entry is None or ticket.legs or ticket.order_class is OrderClass.OCO:
        return
    for field, price, sign in (
        ("take_profit.limit_price", profit, better),
        ("stop_loss.stop_price", loss, -better),
    ):
        if price is not None and (price - entry) * sign <= 0:
            side = "above" if sign > 0 else "below"
            raise _wrong(
                field,
                f"must lie {side} the entry's limit of {_plain(entry)}",
                _plain(price),
                f"Send a price {side} it.",
            )


def _check_time_in_force(ticket: Ticket, instruments: Sequence[Instrument]) -> None:
    tif, equity = ticket.time_in_force, instruments[0].asset_class is AssetClass.EQUITY
    if tif in (TimeInForce.OPG, TimeInForce.CLS):
        fits = (
            ticket.order_type in (OrderType.MARKET, OrderType.LIMIT)
            and ticket.order_class is OrderClass.SIMPLE
        )
        if not equity or not fits:
            raise _wrong(
                "time_in_force",
                f"{tif} goes with simple market and limit orders of equities",
                tif,
                "Send day or gtc.",
            )
    if ticket.order_type in _STOPS and tif not in (TimeInForce.DAY, TimeInForce.GTC):
        raise _wrong(
            "time_in_force",
            f"a {ticket.order_type} order waits, so it is day or gtc",
            tif,
            "Send day or gtc.",
        )
    if ticket.extended_hours and not (
        equity and ticket.order_type is OrderType.LIMIT and tif in (TimeInForce.DAY, TimeInForce.GTC)
        and ticket.order_class is OrderClass.SIMPLE
    ):  # fmt: skip
        raise _wrong(
            "extended_hours", "only simple limit orders of equities, day or gtc, trade in extended hours", "true",
            "Send a limit order, or leave extended_hours out.",
        )  # fmt: skip
    if ticket.fill_preference is not None and equity:
        raise _wrong(
            "fill_preference",
            "equities always trade at the touch",
            ticket.fill_preference,
            "Leave fill_preference out.",
        )


def _check_legs(
    ticket: Ticket, instruments: Sequence[Instrument], adjusted: Mapping[str, OptionClass]
) -> None:
    if not LEGS_MIN <= len(ticket.legs) <= LEGS_MAX:
        raise _wrong(
            "legs",
            f"a package has {LEGS_MIN} to {LEGS_MAX} legs",
            len(ticket.legs),
            "Send fewer or more legs.",
        )
    if len(set(ticket.symbols)) < len(ticket.legs):
        raise _wrong(
            "legs", "each leg is another contract", "a symbol twice", "Merge the legs with the same symbol."
        )
    for instrument in instruments:
        if instrument.asset_class is not AssetClass.OPTION:
            raise _wrong(
                "legs",
                "the legs of a package are options",
                instrument.symbol,
                "Trade the shares on their own.",
            )
    roots = {instrument.underlying for instrument in instruments}
    if len(roots) > 1:
        _check_roots(roots, adjusted)
    common = gcd(*(leg.ratio for leg in ticket.legs))
    if common > 1:
        ratios = ":".join(str(leg.ratio // common) for leg in ticket.legs)
        raise _wrong(
            "legs", "ratios are in lowest terms", ":".join(str(leg.ratio) for leg in ticket.legs),
            f"Send {ratios} and {common} times the qty.",
        )  # fmt: skip
    most = CONTRACTS_MAX // max(leg.ratio for leg in ticket.legs)
    if (ticket.qty or 0) > most:
        raise _wrong(
            "qty", f"a leg trades at most {CONTRACTS_MAX:,} contracts", _plain(ticket.qty or Decimal(0)),
            f"Send at most {most}.",
        )  # fmt: skip
    if ticket.order_type not in (OrderType.MARKET, OrderType.LIMIT):
        raise _wrong(
            "order_type", "a package is a market or a limit order", ticket.order_type, "Send market or limit."
        )


def _check_roots(roots: Set[str], adjusted: Mapping[str, OptionClass]) -> None:
    """A contract that was adjusted may be rolled into a standard one: of the same stock, and with a price in the same
    units, or a net price would say nothing."""
    classes = [listing.class_of(root, adjusted) for root in roots]
    named = ", ".join(sorted(roots))
    if not any(root in adjusted for root in roots) or len({listed.underlying for listed in classes}) > 1:
        raise _wrong("legs", "the legs of a package have one underlying", named, "Send one order each.")
    sizes = {listed.multiplier for listed in classes}
    if len(sizes) > 1:
        shown = " and ".join(str(size) for size in sorted(sizes))
        rule = f"the prices of all legs count alike; one dollar of these is {shown} dollars a contract"
        raise _wrong("legs", rule, named, "Send one order each.")


_STOPS = (OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP)


def _prices(ticket: Ticket) -> list[tuple[str, Decimal]]:
    named = (
        ("limit_price", ticket.limit_price), ("stop_price", ticket.stop_price), ("trail_price", ticket.trail_price),
        ("take_profit.limit_price", ticket.take_profit), ("stop_loss.stop_price", ticket.stop_loss),
        ("stop_loss.limit_price", ticket.stop_loss_limit),
    )  # fmt: skip
    return [(field, price) for field, price in named if price is not None]


def _check_step(field: str, price: Decimal, instrument: Instrument | None) -> None:
    """`instrument` None: a package's net price."""
    ticks = to_ticks(price)
    step = PACKAGE_STEP if instrument is None else price_step(instrument, ticks)
    if ticks % step:
        down = ticks // step * step
        near = " or ".join(
            show_price(t).replace(",", "") if t > 0 else _plain(from_ticks(t))
            for t in (down, down + step)
            if t
        )
        raise _wrong(
            field,
            f"must be a multiple of {from_ticks(step).normalize():f} at this price",
            f"{price:f}",
            f"Send {near}.",
        )


def _require(field: str, value: Decimal | None, wanted: bool, kind: OrderType) -> None:
    if wanted and value is None:
        name = field.replace("_", " ")
        raise _wrong(
            field, f"a {kind} order needs a {name}", "nothing", f"Send {field}, or another order_type."
        )
    if not wanted and value is not None and not (field == "limit_price" and kind is OrderType.LIMIT):
        raise _unwanted(field, value, kind)


def _unwanted(field: str, value: Decimal, kind: OrderType | OrderClass) -> InvalidInput:
    name = field.replace("_", " ")
    return _wrong(
        field,
        f"a {kind} order has no {name}",
        _plain(value),
        f"Leave {field} out, or send another order_type.",
    )


def _wrong(field: str, rule: str, value: object, remedy: str) -> InvalidInput:
    return InvalidInput(field=field, rule=rule, value=str(value), remedy=remedy)


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
