"""What the market of an account says now."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from django.conf import settings

from mbt.models import AdjustedClass, EngineState, Order, Position
from mbt.selectors.account_refs import AccountRef
from raxx.kernel import clock, valkey
from raxx.kernel.clock import from_ns
from raxx.market import listing
from raxx.market.board import Board, BoardView, MarketDataUnavailable
from raxx.market.contracts import parse_symbol
from raxx.market.quotes import Quote

# A feed whose engine has not spoken for so long stands still: nothing new is accepted on it.
SILENCE_MAX_S = 15


def market(feed: str, symbols: list[str]) -> BoardView:
    """The instant and the NBBO of `symbols` on a feed that is alive. Raises MarketDataUnavailable."""
    view = Board(valkey.shared(), feed).read(symbols)
    if view.age_s(clock.now_ns()) > SILENCE_MAX_S:
        raise MarketDataUnavailable(
            f"The market data of {feed} stands still; new orders wait until it moves again. Cancels work.",
            rule=f"a feed speaks at least every {SILENCE_MAX_S} s",
            remedy="Try again shortly.",
        )
    return view


def order_market(account: AccountRef, symbols: Sequence[str]) -> BoardView:
    """The market that an order of these symbols is judged by: in a margin account that of everything it holds or may
    sell too. Raises MarketDataUnavailable."""
    wanted = set(symbols)
    if account.is_margin:
        wanted |= _symbols_of(account.id)
        wanted |= tickers(wanted, adjusted_classes(account.feed, wanted))
    return market(account.feed, sorted(wanted))


def marks(quotes: Mapping[str, Quote]) -> dict[str, int]:
    """What each symbol is worth, in 1/10,000 dollar: the middle, or the one side there is."""
    return {
        symbol: (quote.bid + quote.ask) // 2 if quote.bid and quote.ask else quote.bid or quote.ask
        for symbol, quote in quotes.items()
        if quote.bid or quote.ask
    }


def adjusted_classes(feed: str, among: Iterable[str] | None = None) -> dict[str, listing.OptionClass]:
    """The option classes that corporate actions changed on a feed.

    With `among`, empty at no cost where none of these is an adjusted contract, which nearly always is so.
    """
    if among is not None and not any(_is_adjusted(symbol) for symbol in among):
        return {}
    rows = AdjustedClass.objects.filter(feed=feed).values_list("root", "terms")
    return {root: msgspec.convert(terms, listing.OptionClass) for root, terms in rows.order_by("root")}


def _is_adjusted(symbol: str) -> bool:
    """An option's symbol has fifteen characters after its root."""
    return len(symbol) > 15 and listing.is_adjusted(symbol[:-15])


def tickers(symbols: Iterable[str], adjusted: Mapping[str, listing.OptionClass]) -> set[str]:
    """The stocks, funds and indexes that these follow, or deliver."""
    found = set()
    for symbol in symbols:
        instrument = parse_symbol(symbol)
        listed = adjusted.get(instrument.underlying) if instrument.expiry is not None else None
        found |= {name for name, _ in listed.deliverable.shares} if listed else {ticker(symbol)}
    return found


def _symbols_of(account_id: UUID) -> set[str]:
    """Everything that an account holds or has open orders in."""
    held = Position.objects.filter(account_id=account_id, closed_at__isnull=True).values_list(
        "symbol", flat=True
    )
    rows = Order.objects.filter(account_id=account_id, closed_at__isnull=True).values_list("symbol", "legs")
    ordered = {name for symbol, legs in rows for name in ([leg["symbol"] for leg in legs] or [symbol])}
    return set(held) | ordered


def ticker(symbol: str) -> str:
    """The stock, fund or index that an instrument follows."""
    instrument = parse_symbol(symbol)
    return symbol if instrument.expiry is None else listing.stock_of(instrument.underlying)


def engine_answers() -> bool:
    """Whether this installation's feed moves: orders are taken only then."""
    try:
        market(settings.RAXX_FEED, [])
    except MarketDataUnavailable:
        return False
    return True


def feed_instant(feed: str) -> datetime | None:
    """The instant of a feed as far as anything here knows it; None when nothing does. Never raises on
    account of Valkey: canceling depends on it."""
    try:
        return from_ns(Board(valkey.shared(), feed).read([]).now_ns)
    except MarketDataUnavailable:
        state = EngineState.objects.filter(pk=feed).first()
        return from_ns(state.position_ns) if state else None


def view_of(feed: str, symbols: list[str]) -> BoardView | None:
    try:
        return Board(valkey.shared(), feed).read(symbols)
    except MarketDataUnavailable:
        return None


# The quote in force of a symbol on the feed that an event belongs to.
QuoteOf = Callable[[str], Quote | None]


def symbols_of(order: Order) -> set[str]:
    return {leg["symbol"] for leg in order.legs} or {order.symbol}


def symbols_around(account: AccountRef) -> set[str]:
    """Everything that an account holds or has open orders in, and what that follows."""
    return with_tickers(_symbols_of(account.id), adjusted_classes(account.feed))


def with_tickers(
    symbols: Iterable[str], adjusted: Mapping[str, listing.OptionClass] = listing.STANDARD_ONLY
) -> set[str]:
    """`symbols`, and the stock, fund or index that each option among them follows, or delivers."""
    wanted = set(symbols)
    return wanted | tickers(wanted, adjusted)


def quotes_of(symbols: Iterable[str], quote_of: QuoteOf) -> dict[str, Quote]:
    """The quotes in force of those of `symbols` that have one."""
    found = {symbol: quote_of(symbol) for symbol in sorted(symbols)}
    return {symbol: quote for symbol, quote in found.items() if quote is not None}


def middle(quote: Quote | None) -> int:
    """Halfway between bid and ask, in 1/10,000 dollar; 0 when there are not two sides, or they are crossed."""
    if quote is None or not quote.bid or not quote.ask or quote.bid > quote.ask:
        return 0
    return (quote.bid + quote.ask) // 2
