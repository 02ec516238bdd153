import base64
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import path
from drf_spectacular.generators import SchemaGenerator
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory

from raxx.identity.api.authentication import ApiKeyAuthentication, Principal
from raxx.identity.api.permissions import PaperScope
from raxx.identity.models import ApiKey, User
from raxx.identity.services.api_keys import IssuedKey, issue
from raxx.identity.services.users import register
from raxx.kernel import clock
from raxx.kernel.api.envelope import reply
from raxx.kernel.api.views import ApiView
from tests.identity.browser import ACCESS
from tests.operators import let_in

pytestmark = pytest.mark.django_db


class Probe(ApiView):
    authentication_classes = [ApiKeyAuthentication]
    permission_classes = [IsAuthenticated, PaperScope]

    def get(self, request: Request) -> Response:
        caller = request.user
        assert isinstance(caller, Principal)
        return reply({"user_id": str(caller.user_id), "tier": caller.tier})

    def post(self, request: Request) -> Response:
        return reply({})


def call(authorization: str | None = None, method: str = "get", **headers: str) -> Response:
    if authorization is not None:
        headers["HTTP_AUTHORIZATION"] = authorization
    response: Response = Probe.as_view()(getattr(APIRequestFactory(), method)("/", **headers))
    return response


def basic(key_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{key_id}:{secret}".encode()).decode()


@pytest.fixture
def alice() -> User:
    return register(email="alice@example.com", now=clock.now())


@pytest.fixture
def key(alice: User) -> IssuedKey:
    return issue(user=alice, name="my bot", scopes=["paper:trade"], now=clock.now())


def test_what_curl_u_sends_is_understood(alice: User, key: IssuedKey) -> None:
    response = call(basic(key.key_id, key.secret))
    assert response.status_code == 200
    assert response.data["data"] == {"user_id": str(alice.pk), "tier": "free"}
    assert call(basic(key.key_id, key.secret).replace("Basic", "basic")).status_code == 200
    assert ApiKey.objects.get().last_used_at is not None


def test_without_credentials_the_answer_says_how(key: IssuedKey) -> None:
    for authorization in (None, "", "Bearer abc", f"Token {key.secret}"):
        response = call(authorization)
        assert response.status_code == 401
        assert response.data["error"]["code"] == "NOT_AUTHENTICATED"
        assert response["WWW-Authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: basic(key.key_id, "wrong"),
        lambda key: basic("RX" + "A" * 18, key.secret),
        lambda key: basic(key.secret, key.key_id),
        lambda key: basic(key.key_id, key.secret + " "),
        lambda key: "Basic",
        lambda key: "Basic !!!",
        lambda key: "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        lambda key: "Basic " + base64.b64encode(b"no colon").decode(),
        lambda key: "Basic " + base64.b64encode(b"\x00:\x00").decode(),
        lambda key: "Basic " + "QQ" * 5_000,
        lambda key: "Basic “quoted”",
    ],
)
def test_wrong_credentials_all_get_the_same_answer(key: IssuedKey, spoil: Callable[[IssuedKey], str]) -> None:
    response = call(spoil(key))
    assert response.status_code == 401
    assert response.data["error"]["code"] == "INVALID_CREDENTIALS"
    assert response.data["error"]["message"].startswith("The API key is not valid.")
    assert response["WWW-Authenticate"].startswith("Basic realm=")


def test_cookies_mean_nothing(alice: User) -> None:
    browser = let_in(Client(), alice)
    assert call(HTTP_COOKIE=f"{ACCESS}={browser.cookies[ACCESS].value}").status_code == 401


def test_reading_and_trading_need_their_scopes(alice: User, key: IssuedKey) -> None:
    reader = issue(user=alice, name="reader", scopes=["paper:read"], now=clock.now())
    trader = issue(user=alice, name="both", scopes=["paper:read", "paper:trade"], now=clock.now())
    answers = {
        who.key_id: [call(basic(who.key_id, who.secret), method).status_code for method in ("get", "post")]
        for who in (reader, key, trader)
    }
    assert answers == {reader.key_id: [200, 403], key.key_id: [200, 200], trader.key_id: [200, 200]}
    refusal = call(basic(reader.key_id, reader.secret), "post").data["error"]
    assert refusal["code"] == "FORBIDDEN"
    assert "paper:trade" in refusal["message"]


def test_the_api_docs_show_how_to_sign_in() -> None:
    generator = SchemaGenerator(patterns=[path("probe/", Probe.as_view())])  # type: ignore[no-untyped-call]
    schema = generator.get_schema(public=True)  # type: ignore[no-untyped-call]
    assert schema["components"]["securitySchemes"]["apiKey"]["scheme"] == "basic"
    assert {"apiKey": []} in schema["paths"]["/probe/"]["get"]["security"]
