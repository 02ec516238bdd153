"""POST positions/{symbol}/exercise and do-not-exercise: what holders ask for over HTTP."""

from collections.abc import Callable

import pytest

from mbt import books
from tests.mbt.paper_tools import Market, Trader, problem

CALL = "SPY261218C00100000"


@pytest.fixture
def holder(market: Market, open_trader: Callable[..., Trader]) -> Trader:
    """Three calls at 100 with SPY at 99.98 / 100.02, and 49,700 dollars left."""
    market.quote(CALL, "0.90", "1.00")
    trader = open_trader(cash="50000.00")
    trader.order(symbol=CALL, qty="3", limit_price="1.00")
    market.judge()
    return trader


def test_exercise_without_a_body_is_all_of_it(holder: Trader) -> None:
    response = holder.send("POST", f"/positions/{CALL}/exercise")
    assert response.status_code == 200, response.content
    data = response.json()["data"]
    assert [(line["activity_type"], line["symbol"], line["side"], line["qty"], line["amount"]) for line in data["activities"]] == [
        ("exercise", CALL, "sell", "3", "0.00"), ("exercise", "SPY", "buy", "300", "-30000.00"),
    ]  # fmt: skip
    assert data["instruction"] is None
    assert [row["symbol"] for row in holder.read("/positions")] == ["SPY"]
    problem(holder.send("POST", f"/positions/{CALL}/exercise"), 404, "NOT_FOUND", "symbol")
    assert books.verify()[1] == []


def test_a_part_needs_a_name_and_then_happens_once(holder: Trader) -> None:
    problem(
        holder.send("POST", f"/positions/{CALL}/exercise", {"qty": "1"}),
        422,
        "INVALID_INPUT",
        "client_request_id",
    )
    ask = {"qty": "1", "client_request_id": "once"}
    first, again = (holder.send("POST", f"/positions/{CALL}/exercise", ask) for _ in range(2))
    assert first.status_code == again.status_code == 200
    assert first.json()["data"] == again.json()["data"]
    assert again["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert holder.read(f"/positions/{CALL}")["qty"] == "2"
    details = problem(
        holder.send("POST", f"/positions/{CALL}/exercise", {"qty": "2", "client_request_id": "once"}),
        422,
        "REQUEST_ID_REUSED",
    )
    assert details["remedy"] == "Choose a new one."


def test_what_an_order_offers_is_denied_with_the_way_out(holder: Trader) -> None:
    holder.order(symbol=CALL, side="sell", qty="2", limit_price="5.00", client_order_id="offer")
    details = problem(
        holder.send("POST", f"/positions/{CALL}/exercise", {"qty": "2", "client_request_id": "a"}),
        422,
        "CANNOT_EXERCISE",
        "qty",
    )
    assert details["remedy"] == "Cancel the open order offer first, or exercise 1."
    assert details["held_by"] == "offer"


def test_do_not_exercise_stands_is_listed_and_is_taken_back(holder: Trader) -> None:
    first = holder.send("POST", f"/positions/{CALL}/do-not-exercise")
    again = holder.send("POST", f"/positions/{CALL}/do-not-exercise")
    assert first.status_code == 200, first.content
    assert first.json() == again.json()
    given = first.json()["data"]
    assert (given["instruction"], given["qty"], given["withdrawn_at"]) == ("do_not_exercise", None, None)
    assert holder.read("/exercise-instructions") == [given]
    for _ in range(2):
        response = holder.send("DELETE", f"/positions/{CALL}/do-not-exercise")
        assert response.status_code == 200
        assert response.json()["data"]["withdrawn_at"] is not None
    assert holder.read("/exercise-instructions") == []
    problem(holder.send("DELETE", f"/positions/{CALL}/exercise"), 404, "NOT_FOUND", "symbol")


def test_an_exercise_at_expiration_takes_the_place_of_a_do_not_exercise(holder: Trader) -> None:
    holder.send("POST", f"/positions/{CALL}/do-not-exercise", {"qty": "2"})
    response = holder.send("POST", f"/positions/{CALL}/exercise", {"when": "expiration", "qty": "1"})
    assert response.json()["data"]["instruction"]["instruction"] == "exercise"
    assert [row["instruction"] for row in holder.read("/exercise-instructions")] == ["exercise"]
    details = problem(
        holder.send("POST", f"/positions/{CALL}/do-not-exercise", {"qty": "4"}), 422, "CANNOT_INSTRUCT", "qty"
    )
    assert details["remedy"] == "Ask for 1 to 3."


def test_nobody_elses_position(market: Market, holder: Trader, open_trader: Callable[..., Trader]) -> None:
    stranger = open_trader()
    for path in ("exercise", "do-not-exercise"):
        problem(stranger.send("POST", f"/positions/{CALL}/{path}"), 404, "NOT_FOUND", "symbol")
    problem(holder.send("POST", "/positions/nonsense/exercise"), 422, "UNKNOWN_SYMBOL")
    reader = holder.with_scopes("paper:read")
    assert reader.send("POST", f"/positions/{CALL}/exercise").status_code == 403
