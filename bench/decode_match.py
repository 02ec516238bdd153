"""Decode and match: what the engine costs on top of reading the bytes.

Frames of 100 quotes of 500 symbols are decoded and shown to the real `Matcher`, beside the bare decoding of the
same bytes. Quiet: no order is ever reached, which is the life of most ticks. Active: about one tick in 60
fills an order, and a new one takes its place. A naive scan of all orders must find the same fills.
"""

import statistics
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from bench import market
from bench.common import Contestant, Options, Report, interleave, main, ratio
from mbt.engine.matching import Filled, Matcher
from mbt.engine.orders import Order, Side
from raxx.market.quotes import Quote

TITLE = "Decode and match"
FAR, NEAR = 0.2, 0.0053  # how far off the market orders rest: out of reach, and such that 1.6 % of ticks fill

_decode: Callable[[bytes], list[Quote]] = msgspec.json.Decoder(list[Quote]).decode


@dataclass
class NaiveScan:
    """Looks at every order of the symbol at every quote: obviously right, and what most systems do."""

    orders: dict[str, list[Order]] = field(default_factory=dict)
    fills: list[tuple[int, int]] = field(default_factory=list)  # order number, instant
    filled: list[tuple[Order, Quote]] = field(default_factory=list)

    def accept(self, order: Order) -> None:
        self.orders.setdefault(order.symbol, []).append(order)

    def see(self, quotes: Sequence[Quote]) -> None:
        for quote in quotes:
            resting = self.orders.get(quote.symbol, [])
            hit = [
                order
                for order in resting
                if order.limit is not None
                and (quote.ask <= order.limit if order.side is Side.BUY else quote.bid >= order.limit)
            ]
            if hit:
                hit.sort(key=lambda order: order.number)
                self.orders[quote.symbol] = [order for order in resting if order not in hit]
                self.fills += [(order.number, quote.ts) for order in hit]
                self.filled += [(order, quote) for order in hit]


@dataclass(frozen=True)
class Scene:
    """A book, the frames it is shown, and after each frame the orders that take the place of the filled ones."""

    orders: list[Order]
    frames: list[bytes]
    successors: list[list[Order]]
    fills: list[tuple[int, int]]
    quotes: int

    @property
    def fill_share(self) -> float:
        return len(self.fills) / self.quotes


def play(count: int, quotes: Sequence[Quote], frames: list[bytes], distance: float) -> Scene:
    """What happens in a book of `count` orders, found out once by the engine."""
    maker = market.OrderMaker(distance)
    orders = maker.book(count)
    matcher = book_of(orders)
    successors: list[list[Order]] = []
    fills: list[tuple[int, int]] = []
    for batch in market.batches(quotes):
        matcher.advance(batch, batch[-1].ts)
        filled = [decision for decision in matcher.take() if isinstance(decision, Filled)]
        fills += [(decision.order.number, decision.at_ns) for decision in filled]
        successors.append(
            [
                maker.successor(decision.order, quote)
                for decision in filled
                if isinstance(quote := decision.fill.quote, Quote)
            ]
        )
        for order in successors[-1]:
            matcher.accept(order, resting=True)
    return Scene(orders, frames, successors, fills, len(quotes))


def check(scene: Scene, quotes: Sequence[Quote]) -> None:
    """The naive scan finds the same fills in the same order."""
    naive = NaiveScan()
    for order in scene.orders:
        naive.accept(order)
    for batch, successors in zip(market.batches(quotes), scene.successors, strict=True):
        naive.see(batch)
        for order in successors:
            naive.accept(order)
    if naive.fills != scene.fills:
        raise AssertionError(
            f"the engine fills {len(scene.fills)} orders, a naive scan {len(naive.fills)}, or others"
        )


def book_of(orders: Sequence[Order]) -> Matcher:
    matcher = Matcher(market.OPEN_ALL_DAY, now_ns=market.OPEN_NS - 1, keeps_nearest=True)
    for order in orders:
        matcher.accept(order, resting=True)
    return matcher


def bare(frames: Sequence[bytes], quotes: int) -> Contestant:
    def run() -> int:
        for frame in frames:
            _decode(frame)
        return quotes

    return lambda: run


def engine(scene: Scene) -> Contestant:
    def prepare() -> Callable[[], int]:
        matcher = book_of(scene.orders)
        advance, accept, take = matcher.advance, matcher.accept, matcher.take

        def run() -> int:
            for frame, successors in zip(scene.frames, scene.successors, strict=True):
                batch = _decode(frame)
                advance(batch, batch[-1].ts)
                take()
                for order in successors:
                    accept(order, resting=True)
            return scene.quotes

        return run

    return prepare


def match_only(orders: Sequence[Order], batches: Sequence[Sequence[Quote]]) -> Contestant:
    def prepare() -> Callable[[], int]:
        matcher = book_of(orders)

        def run() -> int:
            for batch in batches:
                matcher.advance(batch, batch[-1].ts)
            return sum(map(len, batches))

        return run

    return prepare


def scan_only(orders: Sequence[Order], quotes: Sequence[Quote]) -> Contestant:
    def prepare() -> Callable[[], int]:
        naive = NaiveScan()
        for order in orders:
            naive.accept(order)

        def run() -> int:
            naive.see(quotes)
            return len(quotes)

        return run

    return prepare


def bytes_per_order(count: int) -> tuple[float, float]:
    """What `count` orders take as the engine keeps them: the values alone, and with the index."""
    book_of(market.OrderMaker(FAR).book(10))  # what is made once for all
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        orders = market.OrderMaker(FAR).book(count)
        values = tracemalloc.get_traced_memory()[0]
        matcher = book_of(orders)
        del orders
        both = tracemalloc.get_traced_memory()[0]
        assert len(matcher) == count
    finally:
        tracemalloc.stop()
    return (values - before) / count, (both - before) / count


def run(options: Options, report: Report) -> None:
    book = options.size(10_000, 1_000)
    found = market.quotes(options.size(200_000, 20_000))
    wire, lean = market.wire_frames(found), market.lean_frames(found)
    quiet, active = play(book, found, wire, FAR), play(book, found, wire, NEAR)
    check(active, found)
    assert not quiet.fills
    report.say(
        f"{len(found):,} quotes; active: {active.fill_share:.1%} of ticks fill, the same fills as by a naive scan"
    )

    bare_name, quiet_name, active_name = "bare decode", "decode + match, quiet", "decode + match, active"
    lean_quiet = play(book, found, lean, FAR)
    rates = interleave(
        {
            bare_name: bare(wire, len(found)),
            quiet_name: engine(quiet),
            active_name: engine(active),
            "bare decode, six fields": bare(lean, len(found)),
            "decode + match, quiet, six fields": engine(lean_quiet),
        },
        rounds=options.rounds,
    )
    report.rates(
        f"Frames of {market.BATCH} quotes, {book:,} resting orders", rates, base=bare_name, unit="quotes/s"
    )
    lean_ratio = ratio(rates, "decode + match, quiet, six fields", "bare decode, six fields")
    report.say(
        f"with only the six fields that a Quote has in the frame, quiet is {lean_ratio:.2f} of their bare decode"
    )
    report.goal(
        "1 decode + match + last quote, quiet, of bare decode",
        ratio(rates, quiet_name, bare_name),
        least=0.60,
    )
    report.goal("1 the same where orders fill", ratio(rates, active_name, bare_name), least=0.45)

    sizes = [100, 1_000, book, options.size(100_000, 5_000)]
    by_size = interleave({f"{n:,}": engine(play(n, found, wire, FAR)) for n in sizes}, rounds=options.rounds)
    report.rates("By resting orders, quiet, decode included", by_size, base="1,000", unit="quotes/s")
    report.goal(
        "2 speed at 100,000 orders of that at 1,000", ratio(by_size, f"{sizes[-1]:,}", "1,000"), least=0.8
    )
    twice = interleave(
        {"n": engine(quiet), "2n": engine(play(book, found * 2, wire * 2, FAR))}, rounds=options.rounds
    )
    report.goal("2 time of twice the ticks", 2 / ratio(twice, "2n", "n"), most=2.1)

    cost(options, report, found)
    values, both = bytes_per_order(10_000)
    report.say(
        f"a working order takes {values:.0f} B as values (ids, decimals, text), {both - values:.0f} B in the index"
    )
    report.goal("4 memory of a working order", both, most=600, unit="B")


def cost(options: Options, report: Report, found: Sequence[Quote]) -> None:
    """Without the decoding, so that the engine's own cost is seen."""
    batches = list(market.batches(found))
    few = found[: options.size(20_000, 2_000)]
    contestants: dict[str, Contestant] = {}
    for count in (0, 100, 1_000, 10_000, options.size(100_000, 10_001)):
        contestants[f"engine, {count:,} orders"] = match_only(market.OrderMaker(FAR).book(count), batches)
    for count in (1_000, options.size(10_000, 2_000)):
        contestants[f"naive scan, {count:,} orders"] = scan_only(market.OrderMaker(FAR).book(count), few)
    rates = interleave(contestants, rounds=options.rounds)
    rows = [[name, 1e9 / statistics.median(rate)] for name, rate in rates.items()]
    report.table("Cost of a quote that reaches nothing", ["", "ns"], rows)


if __name__ == "__main__":
    main(run, TITLE)
