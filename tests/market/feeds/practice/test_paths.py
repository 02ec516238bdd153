import numpy as np
import pytest

from raxx.kernel.clock import SECOND_NS
from raxx.market.feeds.practice.paths import YEAR_NS, Paths

NAMES = [f"path {n}" for n in range(500)]
ALL = np.arange(500)
BASE_NS = 1_790_000_000 * SECOND_NS


def at(paths: Paths, ns: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return paths.at(ALL, np.full(500, ns))


@pytest.mark.parametrize("lag_s", [5, 60, 900, 3_600, 86_400, 5 * 86_400])
def test_variance_grows_with_time_as_that_of_a_random_walk(lag_s: int) -> None:
    """Unit volatility: the mean square of the change over a lag is the lag in years."""
    paths = Paths(1, NAMES)
    starts = [BASE_NS + n * 1_000_003 * SECOND_NS for n in range(20)]
    squares = [((at(paths, t + lag_s * SECOND_NS) - at(paths, t)) ** 2).mean() for t in starts]
    assert np.mean(squares) == pytest.approx(lag_s * SECOND_NS / YEAR_NS, rel=0.08)


def test_paths_stay_near_their_level_for_years() -> None:
    paths = Paths(1, NAMES)
    decade = [at(paths, BASE_NS + n * YEAR_NS // 4) for n in range(40)]
    assert np.abs(np.mean(decade)) < 0.05
    assert 0.3 < np.std(decade) < 0.5


def test_paths_of_different_names_and_seeds_are_unrelated() -> None:
    one, two = Paths(1, NAMES), Paths(2, NAMES)
    lag = 3_600 * SECOND_NS
    moves = [at(p, BASE_NS + lag) - at(p, BASE_NS) for p in (one, two)]
    assert abs(np.corrcoef(moves[0], moves[1])[0, 1]) < 0.15
    assert abs(np.corrcoef(moves[0][:-1], moves[0][1:])[0, 1]) < 0.15


def test_a_path_does_not_depend_on_what_else_is_asked() -> None:
    together = Paths(1, NAMES).at(ALL, np.full(500, BASE_NS))
    alone = Paths(1, [NAMES[7]]).at(np.array([0]), np.array([BASE_NS]))
    assert alone[0] == together[7]
