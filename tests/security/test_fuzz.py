"""S2: whatever is sent to whatever docs/openapi.yaml describes, by a stranger, a session or an API key: no 5xx, no
status and no body that is not described there, and nothing taken that it forbids."""

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case as AnyCase
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from raxx.identity import data_rights, step_up
from raxx.kernel.api.json_body import load
from raxx.kernel.errors import RaxxError
from raxx.wsgi import application
from tests.identity.browser import ACCESS, ORIGIN, REFRESH
from tests.mbt.paper_tools import SYMBOLS, Market, fill_in
from tests.security.people import Person, live

CASES = 50_000 if os.environ.get("RAXX_SOAK") else 3_000
PARTS = 6  # so that several processes can share the work
DESCRIBED = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, negative_data_rejection,
]  # fmt: skip

DESCRIPTION = yaml.load(DESCRIBED.read_text(), Loader=yaml.CSafeLoader)
MAY = {
    operation["operationId"]: {name for each in operation.pop("security", []) for name in each}
    for path in DESCRIPTION["paths"].values()
    for operation in path.values()
}  # taken out, because who sends a case is decided here
SCHEMA = schemathesis.openapi.from_dict(DESCRIPTION)
OPERATIONS: list[Any] = [found.ok() for found in SCHEMA.get_all_operations()]  # type: ignore[union-attr]

Case = AnyCase[Any]

# What is confirmed with a passkey before it is asked for, so that the code behind the confirmation is met too.
CONFIRMED: Mapping[str, tuple[str, Callable[[Case], object]]] = {
    "key_issue": (step_up.ISSUE_KEY, lambda case: case.body),
    "passkey_options": (step_up.ADD_PASSKEY, lambda case: {}),
    "passkey_remove": (step_up.REMOVE_PASSKEY, lambda case: {"passkey": case.path_parameters["passkey_id"]}),
    "recovery_codes_renew": (step_up.RENEW_CODES, lambda case: {}),
    "data_request_make": (data_rights.ASK, lambda case: case.body),
    "data_request_hurry": (data_rights.HURRY, lambda case: {"request": case.path_parameters["request_id"]}),
    "data_request_lift": (data_rights.LIFT, lambda case: {"request": case.path_parameters["request_id"]}),
    "data_request_copy": (data_rights.DOWNLOAD, lambda case: {"request": case.path_parameters["request_id"]}),
}
OVER = (b"SESSION_INVALID", b"SESSION_ENDED", b"INVALID_CREDENTIALS")


class Senders:
    """Somebody signed in, with a key; somebody else as soon as their session or key is over, or they have sent much."""

    def __init__(self, market: Market) -> None:
        self._market, self._sent = market, 0
        self.now = live(market)

    def next(self) -> Person:
        self._sent += 1
        self._market.speak()
        if self._sent % 20 == 0:
            self._market.judge()
        if self._sent % 150 == 0:
            self.renew()
        return self.now

    def renew(self) -> None:
        self.now = live(self._market)

    def headers(self, who: str) -> tuple[dict[str, str], dict[str, str]]:
        """Headers and cookies."""
        page = {"X-Raxx-CSRF": "1", "Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
        if who == "key":
            return {"Authorization": self.now.trader.authorization}, {}
        if who == "session":
            jar = self.now.browser.client.cookies
            return page, {name: jar[name].value for name in (ACCESS, REFRESH)}
        return page, {}


def who_may(operation: Any) -> list[str]:  # noqa: ANN401 - Schemathesis's operation
    """Who asks how often: mostly somebody who may."""
    schemes = MAY[operation.definition.raw["operationId"]]
    if "apiKey" in schemes:
        return ["key", "key", "session", "session", "nobody"]
    return ["session"] * 4 + ["key", "nobody"] if "session" in schemes else ["nobody", "session"]


def season(case: Case, person: Person, choose: Callable[[list[str]], str]) -> None:
    """What the schema cannot know: ids and symbols that exist, and terms that go together but for one."""
    for name in case.path_parameters or {}:
        case.path_parameters[name] = choose(person.ids[name])
    body: Any = case.body
    if not isinstance(body, dict):
        return
    if "side" in body and choose(["odd", "sensible"]) == "sensible":
        odd = choose(sorted(body))
        body = case.body = fill_in({}) | {odd: body[odd]}  # type: ignore[assignment]
    legs = body.get("legs")
    for each in [body, *(legs if isinstance(legs, list) else [])]:
        if isinstance(each, dict) and isinstance(each.get("symbol"), str):
            each["symbol"] = choose(list(SYMBOLS))


def confirm(case: Case, person: Person) -> None:
    action, parameters_of = CONFIRMED[case.operation.definition.raw["operationId"]]
    # What cannot be read is refused before anybody looks for a confirmation.
    with suppress(RaxxError, TypeError, ValueError):
        parameters = load(json.dumps(parameters_of(case)).encode(errors="surrogatepass"))
        if isinstance(parameters, dict):
            person.grant(action, parameters)


@pytest.mark.usefixtures("no_limits")
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_is_sent_the_answer_is_described(market: Market, part: int) -> None:
    senders = Senders(market)
    sent: Counter[str] = Counter()
    answers: dict[str, Counter[int]] = {}
    failures: dict[str, str] = {}

    def send(
        case: Case, who: str, seasoned: bool, confirmed: bool, choose: Callable[[list[str]], str]
    ) -> None:
        person, label = senders.next(), case.operation.label
        name = case.operation.definition.raw["operationId"]
        if seasoned:
            season(case, person, choose)
        if confirmed and name in CONFIRMED:
            confirm(case, person)
        headers, cookies = senders.headers(who)
        response = case.call(app=application, base_url="http://localhost", headers=headers, cookies=cookies)
        sent[label] += 1
        answers.setdefault(name, Counter())[response.status_code] += 1
        if response.status_code == 401 and any(code in response.content for code in OVER):
            senders.renew()
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as found:
            # A negative case that seasoning has made right is no failure.
            for failure in found.exceptions:
                if not (seasoned and failure.__class__.__name__ == "AcceptedNegativeData"):
                    failures.setdefault(
                        f"{label} {response.status_code} {failure}"[:600], f"{who}: {case.as_curl_command()}"
                    )

    mine = OPERATIONS[part::PARTS]
    wanted = -(-CASES // PARTS)
    for turn in range(20):  # small operations run out of different cases: the next turn draws others
        for operation in mine:
            left = wanted - sum(sent.values())
            if left <= 0:
                break
            for mode in GenerationMode:
                share = max(1, left // (2 * len(mine)))

                @seed(turn)
                @settings(
                    max_examples=share, deadline=None, database=None, phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )  # fmt: skip
                @given(
                    case=operation.as_strategy(generation_mode=mode), who=st.sampled_from(who_may(operation)),
                    seasoned=st.booleans(), confirmed=st.sampled_from([True, True, False]), data=st.data(),
                )  # fmt: skip
                def many(case: Case, who: str, seasoned: bool, confirmed: bool, data: st.DataObject) -> None:
                    send(case, who, seasoned, confirmed, lambda known: data.draw(st.sampled_from(known)))

                with suppress(Unsatisfiable):  # what takes nothing cannot be given something wrong
                    many()
        if sum(sent.values()) >= wanted:
            break
    assert failures == {}
    assert sum(sent.values()) >= wanted
    assert set(sent) == {operation.label for operation in mine}
    # Nothing was hidden behind a door that stayed shut.
    for name, codes in answers.items():
        assert codes.keys() - {401, 403, 404}, (name, codes)
    done = sum(codes[200] + codes[201] for codes in answers.values())
    assert done > wanted / 20, answers


def test_everything_that_is_confirmed_is_known_here() -> None:
    from raxx.identity.step_up import actions

    of_operators = {name for name, _ in actions if name.startswith("console.")}  # asked for on their own site
    assert {action for action, _ in CONFIRMED.values()} == {name for name, _ in actions} - of_operators
