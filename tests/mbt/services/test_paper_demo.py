"""The day of an options-income account, as `paper_demo` tells it on recorded days."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from mbt.models import Account, AdjustedClass, CorporateAction, SettlementPrice

pytestmark = pytest.mark.usefixtures("fresh_db")
README = Path(__file__).parents[3] / "README.md"


def paper_demo(*arguments: str) -> str:
    out = StringIO()
    call_command("paper_demo", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.tapes
def test_the_readme_shows_what_the_command_prints(tapes: Path) -> None:
    """GOOG's half day: a call is written on shares, a condor and a put spread are sold, the spread is assigned."""
    told = paper_demo(
        "--price", "GOOG=748.40",
        "--tape", str(tapes / "quotes_1min_GOOG_201512.csv.gz"), str(tapes / "quotes_1min_options_GOOG_20151224.csv.gz"),
    )  # fmt: skip
    excerpt = README.read_text().split("```")[1].splitlines()[4:]
    lines = told.splitlines()
    place = 0
    for shown in excerpt:
        if shown != "…":
            assert shown in lines, shown
            place += 1
    assert place > 25
    for word in (
        "covered-shares: Bought 100 GOOG", "short iron condor", "put credit spread", "goog-bracket:sl: Sold",
        "Reduce\n      to", "assignment: +100 GOOG, -75,000.00", "Options regulatory fee",
    ):  # fmt: skip
        assert word in told, word
    assert not Account.objects.exists()
    assert not SettlementPrice.objects.exists()
    assert not CorporateAction.objects.exists()
    assert not AdjustedClass.objects.exists()


@pytest.mark.tapes
def test_an_index_day_is_settled_in_cash_at_the_official_price(tapes: Path) -> None:
    """SPXW, 4 January 2021: a 3700/3800 put spread sold at 59.35 costs 99.35 at 3,700.65. Fees are 0.08 and 0.09."""
    arguments = (
        "--tape", str(tapes / "quotes_1min_options_SPXW_20210104.csv.gz"),
        "--index", str(tapes / "index_bars_1min_SPX_20210104.csv.gz"), "--price", "SPX=3700.65",
    )  # fmt: skip
    told = paper_demo(*arguments)
    assert "at a credit of $59.35, received $5,935.00" in told
    assert "99.35 in the money at the official price of 3,700.65: settled in cash for $9,935.00" in told
    assert "Cash 95,999.83" in told  # 100,000 + 5,935 - 9,935 - 0.17
    first, second = (json.loads(paper_demo("--json", *arguments)) for _ in range(2))
    assert first == second
    assert (first["cash"], first["events"]) == ("95999.83", 4)


def test_the_last_minutes_of_a_practice_week_twice() -> None:
    """What is sold then expires at 16:00 or a quarter past, and the digest is the same."""
    first, second = (json.loads(paper_demo("--json", "--minutes", "3")) for _ in range(2))
    assert first == second
    assert first["feed"] == "replay:practice-1"
    assert first["denied"] >= 1


@pytest.mark.parametrize("given", ["GOOG", "GOOG=", "GOOG=x", "GOOG=-1", "goog=5", "=5", "GOOG=nan"])
def test_a_price_that_is_none_is_refused_with_a_sentence(given: str) -> None:
    with pytest.raises(CommandError, match=r"--price is like GOOG=748\.40"):
        paper_demo("--price", given)


def test_bars_that_cannot_be_read_are_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bars.csv").write_text("a,b\n1,2\n")
    for path in ("bars.csv", "missing.csv.gz"):
        with pytest.raises(CommandError, match="--index"):
            paper_demo("--tape", "x.csv", "--index", str(tmp_path / path))
