"""What a feed is: a source of quotes that owns the clock of everything above it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from raxx.market.contracts import Instrument
from raxx.market.quotes import Quote
from raxx.market.sessions import Sessions
from raxx.market.status import TradingStatus


class Batch(NamedTuple):
    """Quotes in tape order and the time they bring.

    Every quote of the feed with ts <= now_ns has been delivered, none with ts > now_ns. Quotes
    with equal ts are never split over two batches, and now_ns never goes back. `statuses`: who was halted in that
    time, and who trades again, in the order of their instants; each goes before the quotes of its instant.
    """

    quotes: list[Quote]
    now_ns: int
    statuses: Sequence[TradingStatus] = ()


class Feed(Protocol):
    """A running source of quotes.

    Accounts, the quote board and the engine's state are keyed by `name` ("simulated",
    "replay:IBM-20131007"). `sessions` are the hours that hold on this feed.
    """

    name: str
    sessions: Sessions

    def instruments(self) -> Iterable[Instrument]:
        """Everything that this feed can quote, as of its clock."""
        ...

    def start(self, after_ns: int | None) -> dict[str, Quote]:
        """Begin, or begin again, with the first quote after `after_ns` (None: at the beginning).

        Returns the quotes in force at `after_ns` by symbol: of each the last with ts <= after_ns. What was halted
        before is not told again: the engine remembers.
        """
        ...

    def poll(self, wait_s: float) -> Batch | None:
        """What is due now; waits up to `wait_s` seconds for something to be.

        Nothing became due: an empty batch with the time. None: the feed is over.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files. The feed is not used afterwards."""
        ...


class SteppedFeed(Feed, Protocol):
    """A feed whose clock the caller may set forward, to play it in lockstep with something else."""

    def advance_to(self, at_ns: int) -> Batch:
        """Everything up to `at_ns` that was not delivered yet, as one batch with that time.

        Raises ValueError when `at_ns` lies before the feed's clock.
        """
        ...
