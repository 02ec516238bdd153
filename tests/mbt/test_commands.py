"""The commands that people run."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from mbt.models import Account, Fill, Order
from raxx.market.models import Instrument
from tests.conftest import Database

pytestmark = pytest.mark.usefixtures("fresh_db")


def paper_demo(*arguments: str) -> str:
    out = StringIO()
    call_command("paper_demo", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.tapes
def test_the_same_recorded_day_twice_gives_the_same_digest(tapes: Path) -> None:
    tape = str(tapes / "quotes_tick_IBM_20131007.csv.gz")
    first, second = (json.loads(paper_demo("--json", "--tape", tape)) for _ in range(2))
    assert first == second
    assert first["fills"] >= 5
    assert json.loads(paper_demo("--json", "--tape", tape, "--seed", "2"))["digest"] != first["digest"]
    # It leaves nothing behind but the record.
    assert not Account.objects.exists()
    assert not Order.objects.exists()
    assert not Fill.objects.exists()
    assert not Instrument.objects.exists()


def test_the_same_simulated_day_twice_gives_the_same_digest() -> None:
    first, second = (json.loads(paper_demo("--json", "--minutes", "2")) for _ in range(2))
    assert first == second
    assert first["orders"] > 10


@pytest.mark.tapes
def test_a_half_day_ends_at_13_00_and_day_orders_with_it(tapes: Path) -> None:
    told = paper_demo("--tape", str(tapes / "quotes_1min_GOOG_201512.csv.gz"))
    assert "2015-12-24 09:30:00.000 ET to 13:00:00.000 ET (early close)" in told
    assert "Expired unfilled at 2015-12-24 13:00:00.000 ET" in told
    assert "DENIED" in told
    assert "Digest of the ledger: " in told


def test_a_tape_that_is_none_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "quotes_x.csv").write_text("not,a,tape\n1,2,3\n")
    with pytest.raises(CommandError, match=r"quotes_x\.csv"):
        paper_demo("--tape", str(tmp_path / "quotes_x.csv"))
    with pytest.raises(CommandError, match="missing"):
        paper_demo("--tape", str(tmp_path / "missing.csv.gz"))


def test_demo_seed_is_the_same_account_every_time(fresh_db: Database) -> None:
    first, second = (json.loads(call_command("demo_seed", stdout=StringIO())) for _ in range(2))
    assert first["created"] is True
    assert second == {**first, "created": False}
    assert Account.objects.get().cash_balance == 100_000


def test_ledger_verify_finds_what_does_not_add_up() -> None:
    call_command("demo_seed", stdout=StringIO())
    out = StringIO()
    call_command("ledger_verify", stdout=out)
    assert out.getvalue() == "1 accounts checked, 0 problems\n"
    Account.objects.update(cash_balance="99999.99")
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("ledger_verify", "--json", stdout=out)
    assert ended.value.code == 3
    (problem,) = json.loads(out.getvalue())["problems"]
    assert "99999.99 is stored, 100000 is right" in problem.replace("100000.00", "100000")
