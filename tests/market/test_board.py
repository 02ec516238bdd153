import socket
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from raxx.kernel import valkey
from raxx.market.board import Board, MarketDataUnavailable
from raxx.market.quotes import Quote

NOW_NS, WALL_NS = 1_381_154_400_000_000_000, 1_795_000_000_000_000_000


def quote(symbol: str, bid: int) -> Quote:
    return Quote(symbol, NOW_NS, bid, 100, bid + 100, 200)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    client = valkey.client(valkey_url)
    yield client
    client.close()


@pytest.fixture
def board(client: redis.Redis) -> Board:
    return Board(client, f"replay:TEST-{uuid4()}")


def test_of_each_symbol_the_last_quote_is_read(board: Board) -> None:
    board.publish([quote("AAPL", 1), quote("IBM", 2), quote("AAPL", 3)], now_ns=NOW_NS, wall_ns=WALL_NS)
    board.publish([quote("GOOG151224C00750000", 4)], now_ns=NOW_NS + 1, wall_ns=WALL_NS + 1)
    view = board.read(["AAPL", "GOOG151224C00750000", "MSFT"])
    assert view.quotes == {
        "AAPL": quote("AAPL", 3),
        "GOOG151224C00750000": quote("GOOG151224C00750000", 4),
    }
    assert (view.now_ns, view.wall_ns) == (NOW_NS + 1, WALL_NS + 1)


def test_a_publication_without_quotes_sets_the_clock(board: Board) -> None:
    board.publish([], now_ns=NOW_NS, wall_ns=WALL_NS)
    assert board.read([]).now_ns == NOW_NS


def test_age_is_how_long_the_publisher_is_silent(board: Board) -> None:
    board.publish([], now_ns=NOW_NS, wall_ns=WALL_NS)
    assert board.read([]).age_s(WALL_NS + 2_500_000_000) == 2.5


def test_replacing_forgets_what_was_there(board: Board) -> None:
    board.publish([quote("AAPL", 1)], now_ns=NOW_NS, wall_ns=WALL_NS)
    board.replace([quote("IBM", 2)], now_ns=5, wall_ns=WALL_NS)
    view = board.read(["AAPL", "IBM"])
    assert (view.now_ns, list(view.quotes)) == (5, ["IBM"])


def test_feeds_have_boards_of_their_own(client: redis.Redis, board: Board) -> None:
    board.publish([quote("AAPL", 1)], now_ns=NOW_NS, wall_ns=WALL_NS)
    with pytest.raises(MarketDataUnavailable):
        Board(client, "another").read(["AAPL"])


def test_a_chain_of_ten_thousand_fits(board: Board) -> None:
    quotes = [quote(f"SPY261218C{n:08d}", n) for n in range(1, 10_001)]
    board.publish(quotes, now_ns=NOW_NS, wall_ns=WALL_NS)
    assert list(board.read([q.symbol for q in quotes]).quotes.values()) == quotes


def test_nothing_published_is_an_answer_to_try_again(board: Board) -> None:
    with pytest.raises(MarketDataUnavailable) as refusal:
        board.read(["AAPL"])
    assert (refusal.value.code, refusal.value.http_status, refusal.value.retry_after_s) == (
        "MARKET_DATA_UNAVAILABLE",
        503,
        5,
    )


def test_a_dropped_connection_goes_unnoticed(client: redis.Redis, board: Board, valkey_url: str) -> None:
    board.publish([quote("AAPL", 1)], now_ns=NOW_NS, wall_ns=WALL_NS)
    with valkey.client(valkey_url) as other:
        assert other.client_kill_filter(_id=str(client.client_id())) == 1
    assert board.read(["AAPL"]).quotes


def test_what_cannot_be_decoded_is_unavailable(client: redis.Redis, board: Board) -> None:
    board.publish([quote("AAPL", 1)], now_ns=NOW_NS, wall_ns=WALL_NS)
    (key,) = client.scan_iter("raxx:board:*")
    client.hset(key, "AAPL", b"\xc1")
    with pytest.raises(MarketDataUnavailable):
        board.read(["AAPL"])


def every_use(board: Board) -> Iterator[None]:
    with pytest.raises(MarketDataUnavailable):
        board.read(["AAPL"])
    yield
    with pytest.raises(MarketDataUnavailable):
        board.publish([], now_ns=NOW_NS, wall_ns=WALL_NS)
    yield
    with pytest.raises(MarketDataUnavailable):
        board.replace([], now_ns=NOW_NS, wall_ns=WALL_NS)
    yield


def test_no_server(tmp_path: Path) -> None:
    for _ in every_use(Board(valkey.client(f"unix://{tmp_path}/none"), "test")):
        pass


def test_a_server_that_does_not_answer_costs_half_a_second(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/s")
        silent.listen()
        begun = time.monotonic()
        for n, _ in enumerate(every_use(Board(valkey.client(f"unix://{tmp_path}/s"), "test")), 1):
            assert time.monotonic() - begun < n * 0.9
