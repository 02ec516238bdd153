"""The latest quote of every symbol of a feed, in Valkey, for whoever does not hear the feed itself."""

import contextlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import cast

import msgspec
import redis
from redis.typing import EncodableT, FieldT

from raxx.kernel.clock import SECOND_NS
from raxx.kernel.errors import RaxxError
from raxx.market.quotes import Quote
from raxx.market.status import TradingStatus

_CLOCK, _HALTS = b":clock", b":halts"  # the fields beside the quotes; no symbol has a colon


class MarketDataUnavailable(RaxxError):
    """No current quotes can be had: the board cannot be reached, or nobody has published on it."""

    code = "MARKET_DATA_UNAVAILABLE"
    http_status = 503
    retry_after_s = 5


@dataclass(frozen=True, slots=True)
class BoardView:
    """Quotes by symbol as of `now_ns` on the feed's clock; symbols without a quote are missing.

    `wall_ns` is the wall clock of the publisher when it wrote that. `halts`: all that were in force then.
    """

    now_ns: int
    wall_ns: int
    quotes: dict[str, Quote]
    halts: tuple[TradingStatus, ...] = ()

    def age_s(self, wall_ns: int) -> float:
        """Seconds from the last publication to the given wall time: how long the publisher is silent."""
        return (wall_ns - self.wall_ns) / SECOND_NS


class _Clock(msgspec.Struct, frozen=True, array_like=True):
    now_ns: int
    wall_ns: int


_encode = msgspec.msgpack.Encoder().encode
_decode_quote = msgspec.msgpack.Decoder(Quote).decode
_decode_clock = msgspec.msgpack.Decoder(_Clock).decode
_decode_halts = msgspec.msgpack.Decoder(tuple[TradingStatus, ...]).decode


class Board:
    """One hash per feed: the feed's clock and the latest quotes, each written and read in one round trip.

    One command writes both, so a reader never sees a quote from after the clock beside it.
    """

    def __init__(self, client: redis.Redis, feed_name: str) -> None:
        self._client, self._feed = client, feed_name
        self._key = f"raxx:board:{feed_name}"

    def publish(
        self, quotes: Iterable[Quote], *, now_ns: int, wall_ns: int, halts: Iterable[TradingStatus] = ()
    ) -> None:
        """Set the clock, the halts and the quotes, of each symbol the last one. Raises MarketDataUnavailable."""
        try:
            self._client.hset(
                self._key, mapping=_fields(quotes, now_ns, wall_ns) | {_HALTS: _encode(tuple(halts))}
            )
        except redis.RedisError as error:
            raise self._unavailable(error) from error

    def replace(self, quotes: Iterable[Quote], *, now_ns: int, wall_ns: int) -> None:
        """Like `publish`, and forget all other quotes: for a feed that starts. Raises MarketDataUnavailable."""
        try:
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.delete(self._key)
                pipeline.hset(self._key, mapping=_fields(quotes, now_ns, wall_ns))
                pipeline.execute()
        except redis.RedisError as error:
            raise self._unavailable(error) from error

    def read(self, symbols: Collection[str]) -> BoardView:
        """The clock and the latest quotes of these symbols. Raises MarketDataUnavailable."""
        try:
            answer = self._client.hmget(self._key, [_CLOCK, _HALTS, *symbols])
        except redis.RedisError as error:
            raise self._unavailable(error) from error
        clock, halted, *found = cast(list[bytes | None], answer)
        if clock is None:
            raise MarketDataUnavailable(
                f"Nothing has been published by the feed {self._feed}.",
                rule="a feed publishes before it can be read",
                value=self._feed,
                remedy="Start the engine of this feed.",
            )
        try:
            at = _decode_clock(clock)
            halts = _decode_halts(halted) if halted else ()
            quotes = {
                s: _decode_quote(data) for s, data in zip(symbols, found, strict=True) if data is not None
            }
        except msgspec.MsgspecError as error:
            raise self._unavailable(error) from error
        return BoardView(at.now_ns, at.wall_ns, quotes, halts)

    def clear(self) -> None:
        """Forget the feed: it will not publish again. Without Valkey there is nothing to forget."""
        with contextlib.suppress(redis.RedisError):
            self._client.delete(self._key)

    def _unavailable(self, error: Exception) -> MarketDataUnavailable:
        return MarketDataUnavailable(
            f"Quotes of the feed {self._feed} cannot be read or written right now.",
            rule="the quote board answers",
            value=type(error).__name__,
            remedy="Try again in a few seconds.",
        )


def _fields(quotes: Iterable[Quote], now_ns: int, wall_ns: int) -> dict[FieldT, EncodableT]:
    latest = {quote.symbol: quote for quote in quotes}
    fields: dict[FieldT, EncodableT] = {symbol: _encode(quote) for symbol, quote in latest.items()}
    fields[_CLOCK] = _encode(_Clock(now_ns, wall_ns))
    return fields
