"""Every page judged by axe-core: light, dark, and as narrow as a phone. Rules of WCAG 2.2, levels A and AA."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest

from tests.identity.chromium.conftest import Person
from tests.identity.chromium.test_chromium import sign_up
from tests.identity.chromium.test_operators import SET, enrol

AXE = next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text()
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
PROFILES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}
PUBLIC = ("/sign-up", "/sign-in", "/recover", "/status")
OWN = ("/account", "/account/new-passkey", "/account/sessions", "/account/keys")
OPERATORS = (
    "/admin/",
    SET,
    "/admin/console/flagrow/",
    "/admin/console/incident/add/",
    "/admin/identity/user/",
)


def violations(person: Person) -> list[str]:
    page, complaints = person.page, list(person.complaints)
    page.evaluate(AXE)
    found = page.evaluate("rules => axe.run(document, rules)", RULES)
    page.evaluate("0")  # what axe itself made the page complain of has arrived by then
    person.complaints[:] = complaints
    return [
        f"{page.url}: {each['id']}: {each['help']}: {node['html'][:200]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


def judged(person: Person, paths: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for path in paths:
        found += violations(person.go(path))
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_a_customer_finds_no_barrier(open_person: Callable[..., Person], profile: str) -> None:
    person = open_person(**PROFILES[profile])
    found = judged(person, PUBLIC)
    sign_up(person)
    assert "\n".join(found + violations(person) + judged(person, OWN)) == ""


def test_nothing_is_wider_than_a_phone(open_person: Callable[..., Person]) -> None:
    person = open_person(**PROFILES["phone"])
    sign_up(person)
    for path in (*OWN, *PUBLIC):
        person.go(path)
        over = person.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert over <= 0, path


@pytest.mark.parametrize("profile", PROFILES)
def test_an_operator_finds_no_barrier(open_person: Callable[..., Person], profile: str) -> None:
    person = open_person(**PROFILES[profile])
    enrol(person)
    assert "\n".join(judged(person, OPERATORS)) == ""
