"""Whatever changes state leaves a row in the audit record.

Here every state-changing endpoint, service, admin page and action is looked up in the running program, and
followed through the source until it writes into the record; one that cannot fails, also before anybody
tested it. That the row is really written is watched in every test: `tests/witness.py`.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.test import RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver

from audit.events import RETENTIONS, event_types
from tests.call_graph import APPS, ROOT, CallGraph
from tests.witness import WITHOUT_A_ROW

CODE = re.compile(r"(?:audit|console|identity|market|mbt)(?:\.[a-z_]+){2}")
UNSAFE = ("post", "put", "patch", "delete")

# Endpoints that take a POST and change nothing.
ASKS_ONLY = {
    "mbt.api.orders.OrderPreviewApi.post": "says what an order would need",
}


@pytest.fixture(scope="module")
def graph() -> CallGraph:
    return CallGraph()


def patterns(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for found in resolver.url_patterns:
        path = prefix + str(found.pattern)
        if isinstance(found, URLResolver):
            yield from patterns(found, path)
        else:
            yield path, found


def endpoints() -> dict[str, str]:
    """Handler of every unsafe method → its path. The stock admin's own are looked at below."""
    found = {}
    for path, pattern in patterns(get_resolver()):
        view: Any = inspect.unwrap(pattern.callback)
        owner = getattr(pattern.callback, "cls", None) or getattr(pattern.callback, "view_class", None)
        if owner is not None and owner.__module__.partition(".")[0] in APPS:
            for method in UNSAFE:
                handler = getattr(owner, method, None)
                if handler is not None and handler.__module__.partition(".")[0] in APPS:
                    found[_name(handler)] = f"{method.upper()} /{path}"
        elif (
            owner is None and view.__module__.partition(".")[0] in APPS and "POST" in inspect.getsource(view)
        ):
            found[_name(view)] = f"POST /{path}"
    return found


def admin_writers() -> dict[str, str]:
    """Whatever an operator who may do everything can change by hand: save, delete, actions, own pages."""
    request = RequestFactory().get("/admin/")
    request.user = _Everything()  # type: ignore[assignment]
    found = {}
    for model, page in admin.site._registry.items():
        if type(page).__module__.partition(".")[0] not in APPS:
            continue
        where = f"admin of {model.__name__}"
        if page.has_add_permission(request) or page.has_change_permission(request, model()):
            found[_name(type(page).save_model)] = f"{where}: save"
        if hasattr(page, "act"):
            found[_name(type(page).act)] = f"{where}: act"
        if page.has_delete_permission(request, model()):
            found[_name(type(page).delete_model)] = f"{where}: delete"
        for name, action in page.get_actions(request).items():
            assert action is not None
            found[_name(inspect.unwrap(action[0]))] = f"{where}: action {name}"
        for pattern in page.get_urls():
            view = inspect.unwrap(pattern.callback)
            if view.__module__.partition(".")[0] in APPS and "POST" in inspect.getsource(view):
                found[_name(view)] = f"{where}: {pattern.pattern}"
    return found


def services(graph: CallGraph) -> list[str]:
    return [
        name
        for name, found in graph.functions.items()
        if ".services." in name and found.is_public and "._" not in name and graph.changes(name)
    ]


def test_every_endpoint_that_changes_something_records_it(graph: CallGraph) -> None:
    found = endpoints()
    assert {"mbt.api.orders.OrdersApi.post", "mbt.api.orders.OrderApi.delete", "console.pages.enter"} <= set(
        found
    )
    silent = {name: path for name, path in found.items() if not graph.records(name)}
    assert silent.keys() - ASKS_ONLY.keys() - WITHOUT_A_ROW.keys() == set(), silent


def test_what_only_asks_is_still_there() -> None:
    assert set(ASKS_ONLY) <= set(endpoints())


def test_every_page_and_action_of_operators_records_what_it_changes(graph: CallGraph) -> None:
    found = admin_writers()
    assert any("action revoke" in where for where in found.values())
    silent = {name: where for name, where in found.items() if not graph.records(name)}
    assert silent.keys() - WITHOUT_A_ROW.keys() == set(), silent


def test_every_service_that_changes_something_records_it(graph: CallGraph) -> None:
    found = services(graph)
    for known in (
        "mbt.services.orders.taking.submit",
        "mbt.services.accounts.open_account",
        "console.services.switches.set_switch",
        "raxx.identity.services.api_keys.revoke",
        "raxx.identity.services.users.register",
    ):
        assert known in found
    silent = sorted(name for name in found if not graph.records(name))
    assert [name for name in silent if name not in WITHOUT_A_ROW] == []


def test_the_exceptions_are_still_there(graph: CallGraph) -> None:
    assert [name for name in WITHOUT_A_ROW if name not in graph.functions] == []


def test_the_walk_can_fail(graph: CallGraph) -> None:
    """A service that changes a table and records nothing is seen as such."""
    assert "raxx.identity.services.api_keys.note_use" in services(graph)
    assert not graph.records("raxx.identity.services.api_keys.note_use")


def codes_in_source() -> Iterator[tuple[str, bool]]:
    """Texts that read like a code, and whether they are handed to the record."""
    for path in (path for app in APPS for path in (ROOT / app).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
                yield node.value, False
            elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
                "record",
                "Entry",
            ):
                for given in [
                    *node.args[:1],
                    *(word.value for word in node.keywords if word.arg == "action"),
                ]:
                    if isinstance(given, ast.Constant) and CODE.fullmatch(str(given.value)):
                        yield str(given.value), True


def test_every_recorded_code_is_registered_and_every_registered_one_is_recorded() -> None:
    registered, found = {code for code, _ in event_types}, set(codes_in_source())
    assert {code for code, recorded in found if recorded} - registered == set()
    assert registered - {code for code, _ in found} == set()


def test_every_event_type_has_a_class_and_says_what_it_is() -> None:
    for code, kind in event_types:
        assert kind.retention in RETENTIONS, code
        assert kind.years in (2, 7)
        assert kind.description.endswith("."), code
        assert isinstance(kind.forgets, tuple), code


def _name(function: Any) -> str:  # noqa: ANN401 - any callable
    return f"{function.__module__}.{function.__qualname__}"


class _Everything:
    """An operator who may do everything."""

    is_active = is_staff = is_superuser = is_authenticated = True
    pk = None

    def has_perm(self, _permission: str, _obj: object = None) -> bool:
        return True

    def has_module_perms(self, _app: str) -> bool:
        return True
