"""What the owner of an account may set, what is approved for them, and how both are recorded."""

import json
from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditEntry
from mbt.models import Account
from raxx.identity.models import User
from tests.mbt.paper_tools import Market, Trader, problem

PUT_90, PUT_95 = "SPY261218P00090000", "SPY261218P00095000"
CALL_105 = "SPY261218C00105000"
AT_FIRST = {
    "fill_preference": "conservative", "size_cap": False, "latency_ms": 0, "margin_model": "reg_t",
    "day_trade_rules": "by_date", "options_level": 3, "naked_shorts": False, "fee_schedule": "regulatory",
}  # fmt: skip


@pytest.fixture
def carol(market: Market, open_trader: Callable[..., Trader]) -> Trader:
    for symbol, bid, ask in ((PUT_90, "0.90", "0.95"), (PUT_95, "2.00", "2.10"), (CALL_105, "1.90", "2.00")):
        market.quote(symbol, bid, ask)
    return open_trader(cash="10000.00", account_type="margin")


def change(trader: Trader, **settings: object) -> dict[str, object]:
    response = trader.send("PATCH", "/account/settings", settings)
    assert response.status_code == 200, response.content
    data: dict[str, object] = response.json()["data"]
    return data


def test_settings_are_read_changed_and_recorded(carol: Trader) -> None:
    assert carol.read("/account/settings") == AT_FIRST
    wanted = {
        "fill_preference": "mid",
        "size_cap": True,
        "latency_ms": 250,
        "margin_model": "universal_spread",
    }
    assert change(carol, **wanted) == AT_FIRST | wanted
    assert carol.read("/account/settings") == AT_FIRST | wanted
    [entry] = AuditEntry.objects.filter(object_id=carol.account.id, action="mbt.account.settings_changed")
    assert entry.changes == {
        "fill_preference": ["conservative", "mid"], "size_cap": [False, True], "latency_ms": [0, 250],
        "margin_model": ["reg_t", "universal_spread"],
    }  # fmt: skip
    change(carol, **wanted)  # changes nothing, and is not recorded
    change(carol)
    assert (
        AuditEntry.objects.filter(object_id=carol.account.id, action="mbt.account.settings_changed").count()
        == 1
    )


def test_settings_hold_for_the_next_order(market: Market, carol: Trader) -> None:
    change(carol, fill_preference="mid", latency_ms=2_000)
    order = carol.order(symbol=PUT_95, qty="1", order_type="market")
    assert order["fill_preference"] == "mid"
    market.judge()
    assert (
        carol.read(f"/orders/{order['id']}")["status"] == "accepted"
    )  # it acts two seconds after its acceptance
    market.pass_time(3)
    assert carol.read(f"/orders/{order['id']}")["filled_avg_price"] == "2.05"


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"latency_ms": 60_001}, "latency_ms"),
        ({"fill_preference": "kind"}, "fill_preference"),
        ({"size_cap": "yes"}, "size_cap"),
        ({"margin_model": "portfolio"}, "margin_model"),
        ({"options_level": 3}, "options_level"),
        ({"naked_shorts": True}, "naked_shorts"),
    ],
)
def test_what_is_no_setting_is_refused(carol: Trader, settings: dict[str, object], field: str) -> None:
    problem(carol.send("PATCH", "/account/settings", settings), 422, "INVALID_INPUT", field)
    assert carol.read("/account/settings") == AT_FIRST


def test_a_cash_account_has_no_margin_model(trader: Trader) -> None:
    problem(
        trader.send("PATCH", "/account/settings", {"margin_model": "universal_spread"}),
        422,
        "INVALID_INPUT",
        "margin_model",
    )
    assert change(trader, margin_model="reg_t", size_cap=True)["size_cap"] is True


def test_the_broker_style_model_charges_a_lone_put_at_its_strike(market: Market, carol: Trader) -> None:
    change(carol, margin_model="universal_spread")
    # 95.00 x 100 = 9,500, less the premium of 200; secured with cash, so level 1 is enough.
    Account.objects.filter(pk=carol.account.id).update(options_level=1)
    order = carol.order(symbol=PUT_95, side="sell", qty="1", limit_price="2.00")
    assert order["cash_hold"] == "9300.00"
    market.judge()
    margin = carol.read("/account/margin")
    [group] = margin["requirement"]["groups"]
    assert (group["maintenance"], margin["buying_power"]) == ("9500.00", "700.00")


def test_a_model_that_the_account_does_not_cover_is_refused(market: Market, carol: Trader) -> None:
    Account.objects.filter(pk=carol.account.id).update(naked_shorts=True)
    # By Regulation T a naked put at 95 needs 1,705 (2.05 + 15.00 a share); by the other model its strike, 9,500.
    carol.order(symbol=PUT_95, side="sell", qty="2", order_type="market")
    market.judge()
    details = problem(
        carol.send("PATCH", "/account/settings", {"margin_model": "universal_spread"}), 409, "MARGIN_MODEL_NOT_COVERED", "margin_model"
    )  # fmt: skip
    # 10,000 + 2 x 200 - 19,000.
    assert (details["needed"], details["missing"]) == ("19000.00", "8600.00")
    assert carol.read("/account/settings")["margin_model"] == "reg_t"


def test_another_key_scope_is_needed_to_change_them(carol: Trader) -> None:
    reader = carol.with_scopes("paper:read")
    assert reader.read("/account/settings") == AT_FIRST
    assert reader.send("PATCH", "/account/settings", {"size_cap": True}).status_code == 403


# -- approval --------------------------------------------------------------------------------------------


def approve(*arguments: str) -> str:
    out = StringIO()
    call_command("account_approve", *arguments, stdout=out)
    return out.getvalue()


def test_a_command_approves_and_the_record_says_so(carol: Trader) -> None:
    account = str(carol.account.id)
    assert "naked_shorts: False -> True" in approve(account, "--naked-shorts", "on")
    assert carol.read("/account/settings")["naked_shorts"] is False  # without --apply nothing happens
    email = User.objects.get(pk=carol.user_id).email
    shown = json.loads(approve(email, "--naked-shorts", "on", "--apply", "--json"))
    assert (shown["before"]["naked_shorts"], shown["after"]["naked_shorts"], shown["applied"]) == (
        False,
        True,
        True,
    )
    [entry] = AuditEntry.objects.filter(object_id=account, action="mbt.account.approved")
    assert entry.changes == {"naked_shorts": [False, True]}
    carol.cancel(carol.order(symbol=PUT_95, side="sell", qty="1", limit_price="2.00")["id"])
    approve(account, "--options-level", "0", "--naked-shorts", "off", "--apply")
    problem(carol.place(symbol=CALL_105, qty="1", limit_price="2.00"), 403, "NOT_APPROVED")


def test_what_cannot_be_approved(trader: Trader) -> None:
    with pytest.raises(CommandError, match="only margin accounts of option level 3"):
        approve(str(trader.account.id), "--naked-shorts", "on", "--apply")
    with pytest.raises(CommandError, match="There is no account"):
        approve("nobody@example.com", "--options-level", "1")
    with pytest.raises(CommandError, match="--options-level, --naked-shorts, or both"):
        approve(str(trader.account.id))
