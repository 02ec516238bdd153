"""Lists a page at a time."""

from collections.abc import Iterator

import pytest

from tests.mbt.paper_tools import Market, Trader, problem


def walk(trader: Trader, path: str, limit: int) -> Iterator[list[str]]:
    """The ids of each page until there is no next one."""
    token = ""
    while token is not None:
        body = trader.get(
            f"{path}{'&' if '?' in path else '?'}limit={limit}{token and f'&page_token={token}'}"
        ).json()
        yield [row["id"] for row in body["data"]]
        token = body["meta"]["next_page_token"]


def test_pages_hold_every_row_once_newest_first(trader: Trader) -> None:
    ids = [trader.order(limit_price="1.00")["id"] for _ in range(7)][::-1]
    for limit in range(1, 9):
        pages = list(walk(trader, "/orders", limit))
        assert [id_ for page in pages for id_ in page] == ids
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        assert len(pages) == -(-7 // limit)
    assert list(walk(trader, "/orders?status=closed", 3)) == [[]]


def test_activities_are_paged_the_same_way(trader: Trader, market: Market) -> None:
    for _ in range(5):
        trader.order(order_type="market", qty="1")
        market.pass_time(1)
    whole = trader.read("/activities")
    assert [line["occurred_at"] for line in whole[:-1]] == sorted(
        (line["occurred_at"] for line in whole[:-1]), reverse=True
    )
    assert [id_ for page in walk(trader, "/activities", 2) for id_ in page] == [line["id"] for line in whole]
    assert [id_ for page in walk(trader, "/activities?type=fill", 2) for id_ in page] == [
        line["id"] for line in whole[:-1]
    ]


def test_pages_stand_still_while_orders_arrive_and_end(trader: Trader) -> None:
    ids = [trader.order(limit_price="1.00")["id"] for _ in range(6)][::-1]
    seen: list[str] = []
    for page in walk(trader, "/orders", 2):
        seen += page
        trader.order(limit_price="1.00")
        trader.cancel(ids[-1])
    assert seen == ids


def test_the_default_page_has_fifty(trader: Trader) -> None:
    for _ in range(51):
        trader.order(limit_price="1.00")
    body = trader.get("/orders").json()
    assert len(body["data"]) == 50
    rest = trader.get(f"/orders?page_token={body['meta']['next_page_token']}").json()
    assert (len(rest["data"]), rest["meta"]["next_page_token"]) == (1, None)
    assert trader.get("/orders?limit=51").json()["meta"]["next_page_token"] is None


@pytest.mark.parametrize("path", ["/orders", "/activities"])
def test_limits_and_tokens_are_read_strictly(trader: Trader, path: str) -> None:
    for limit in ("0", "501", "-1", "1.5", "1e2", "", "x", "٣", "1_0", "%2B5", "9" * 5_000, "NaN"):
        problem(trader.get(f"{path}?limit={limit}"), 422, "INVALID_INPUT", "limit")
    for limit in ("1", "500"):
        assert trader.get(f"{path}?limit={limit}").status_code == 200
    problem(trader.get(f"{path}?limit=1&limit=2"), 422, "INVALID_INPUT", "limit")
    problem(trader.get(f"{path}?page=2"), 422, "INVALID_INPUT", "page")


def test_more_parameters_than_anybody_needs(trader: Trader) -> None:
    for path in ("/orders", "/account"):
        problem(trader.get(f"{path}?{'&'.join(['limit=1'] * 2_000)}"), 400, "MALFORMED_REQUEST")


def test_a_tampered_token_is_refused(trader: Trader) -> None:
    for _ in range(3):
        trader.order()
    token = trader.get("/orders?limit=1").json()["meta"]["next_page_token"]
    for position in range(0, len(token), 5):
        other = token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]
        problem(trader.get(f"/orders?page_token={other}"), 422, "INVALID_INPUT", "page_token")
    for other in (
        "",
        "x",
        token[:-1],
        token + "A",
        token.split(":")[0],
        "." + token,
        token * 9,
        "%00",
        "a:b:c",
    ):
        problem(trader.get(f"/orders?page_token={other}"), 422, "INVALID_INPUT", "page_token")
