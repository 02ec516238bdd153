import pytest

from raxx.market.quotes import Quote, QuoteCondition, condition


@pytest.mark.parametrize(
    ("bid", "ask", "expected"),
    [
        (100, 200, QuoteCondition.NORMAL),
        (200, 200, QuoteCondition.LOCKED),
        (300, 200, QuoteCondition.CROSSED),
        (0, 200, QuoteCondition.ONE_SIDED),
        (100, 0, QuoteCondition.ONE_SIDED),
        (0, 0, QuoteCondition.ONE_SIDED),
    ],
)
def test_condition(bid: int, ask: int, expected: QuoteCondition) -> None:
    assert condition(Quote("AAPL", 1, bid, 1 if bid else 0, ask, 1 if ask else 0)) is expected
