import numpy as np
import pytest

from raxx.market.feeds.practice import exact, grid
from raxx.market.feeds.practice.grid import Increments

SPY, AAPL, BLK = (f"{root}261218C00100000" for root in ("SPY", "AAPL", "BLK"))


@pytest.mark.parametrize(
    ("symbol", "price", "down", "up"),
    [
        pytest.param(SPY, 79_171.49, 79_100, 79_200, id="always cents"),
        pytest.param(AAPL, 29_950.0, 29_900, 30_000, id="cents below 3.00"),
        pytest.param(AAPL, 30_000.0, 30_000, 30_000, id="3.00 is legal in both"),
        pytest.param(AAPL, 30_000.1, 30_000, 30_500, id="five cents from 3.00"),
        pytest.param(BLK, 29_600.0, 29_500, 30_000, id="another class, five cents"),
        pytest.param(BLK, 30_100.0, 30_000, 31_000, id="another class, ten cents"),
        pytest.param(BLK, 499.0, 0, 500, id="below the first increment"),
        pytest.param(BLK, -3.0, 0, 0, id="below nothing"),
    ],
)
def test_legal_prices_around_a_value(symbol: str, price: float, down: int, up: int) -> None:
    steps = Increments.of([symbol], grid.OPTION_THRESHOLD)
    assert steps.down(np.array([price]))[0] == down
    assert steps.up(np.array([price]))[0] == up


def test_stocks_change_increment_at_one_dollar() -> None:
    steps = Increments.of(["F", "F"], grid.STOCK_THRESHOLD)
    assert steps.down(np.array([9_999.5, 10_099.0])).tolist() == [9_999, 10_000]
    assert steps.up(np.array([9_999.5, 10_001.0])).tolist() == [10_000, 10_100]


def test_sizes_are_whole_and_around_the_usual_one() -> None:
    keys, counter = exact.keys("test", count=10_000), np.zeros(10_000, np.int64)
    sizes = grid.sizes(keys, counter, np.full(10_000, 60.0))
    assert 1 <= sizes.min() < 6
    assert 150 < sizes.max() <= 174
    assert sizes.mean() == pytest.approx(60, rel=0.05)
