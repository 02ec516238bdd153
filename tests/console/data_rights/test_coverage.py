"""Nothing that leads to a person may be forgotten by those who export and erase."""

import pytest
from django.apps import apps

from console import data_rights
from console.contributions import nothing_personal_is_forgotten
from console.data_rights import Holder, holders


def test_every_model_that_leads_to_a_person_is_covered() -> None:
    assert data_rights.uncovered() == [], (
        "These models lead to a person: name them in `covers` of their app's holder (data_rights.py), "
        "and export and erase their rows."
    )
    assert data_rights.unknown_labels() == []


def test_a_model_that_is_forgotten_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = holders["mbt"]
    fewer = tuple(label for label in whole.covers if label != "mbt.Fill")
    less = Holder(covers=fewer, export=whole.export, erase=whole.erase)
    monkeypatch.setitem(holders._entries, "mbt", less)
    assert data_rights.uncovered() == ["mbt.Fill"]  # which leads to a person only through order and account
    assert [problem.id for problem in nothing_personal_is_forgotten(None)] == ["console.E001"]


def test_the_walk_finds_every_kind_of_link() -> None:
    personal = {model._meta.label for model in data_rights._personal_models()}
    assert {
        "identity.User",
        "identity.ApiKey",  # a foreign key
        "mbt.Account",  # one to one
        "mbt.Fill",  # through others
        "identity.User_groups",  # many to many
        "audit.AuditSubject",  # a column without a key
        "console.DataRequest",
    } <= personal
    assert "mbt.EngineState" not in personal


def test_each_covered_model_is_exported_or_says_why_not() -> None:
    for name, holder in holders:
        assert set(holder.withheld) <= set(holder.covers), name
        assert all(len(why) > 20 for why in holder.withheld.values())


def test_the_purge_of_every_carve_out_is_known() -> None:
    tables = {model._meta.db_table for model in apps.get_models()}
    for carve_out in data_rights.carve_outs():
        assert carve_out.table in tables
        assert carve_out.why
        assert carve_out.keep


def test_the_persons_own_row_and_key_go_last() -> None:
    assert [name for name, _ in data_rights.in_order()][-2:] == ["identity", "audit"]
