import math

import numpy as np
import pytest

from raxx.market.feeds.practice import exact


def test_exp_agrees_with_the_mathematical_one() -> None:
    x = np.concatenate([np.linspace(-690, 690, 20_001), np.linspace(-2, 2, 20_001)])
    assert exact.exp(x) == pytest.approx([math.exp(v) for v in x], rel=1e-15)


def test_normal_distribution_agrees_with_the_error_function() -> None:
    x = np.linspace(-12, 12, 48_001)
    assert exact.normal_cdf(x) == pytest.approx([0.5 * math.erfc(-v / math.sqrt(2)) for v in x], abs=2e-12)


def test_log_agrees() -> None:
    assert exact.log(6_840_000) == pytest.approx(math.log(6_840_000), rel=1e-15)


def test_keys_depend_on_every_part() -> None:
    assert (
        len({exact.key(1, "a"), exact.key(1, "b"), exact.key(2, "a"), exact.key("1a"), exact.key(1, "a", 0)})
        == 5
    )


def test_uniform_numbers_are_uniform() -> None:
    """Each tenth of the range gets a tenth of a million draws: one standard deviation is 300."""
    draws = exact.uniform(exact.draw(exact.keys("test", count=1_000)[:, None], np.arange(1_000)[None, :]))
    counts, _ = np.histogram(draws, bins=10, range=(0, 1))
    assert counts.sum() == 1_000_000
    assert np.abs(counts - 100_000).max() < 1_500


def test_bell_numbers_have_the_moments_of_a_normal_distribution() -> None:
    draws = exact.bell(
        exact.draw(exact.keys("test", count=1_000)[:, None], np.arange(1_000)[None, :])
    ).ravel()
    assert draws.mean() == pytest.approx(0, abs=0.005)
    assert draws.var() == pytest.approx(1, abs=0.01)
    assert np.abs(draws).max() < 3.47


def test_neighbours_have_nothing_in_common() -> None:
    draws = exact.bell(exact.draw(exact.keys("test", count=1_000)[:, None], np.arange(1_000)[None, :]))
    assert np.corrcoef(draws[:, :-1].ravel(), draws[:, 1:].ravel())[0, 1] == pytest.approx(0, abs=0.005)
    assert np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1] == pytest.approx(0, abs=0.005)
