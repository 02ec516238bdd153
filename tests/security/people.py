"""People who own one of everything that has an id, and ask for it by a browser's session or by an API key."""

from dataclasses import dataclass
from datetime import timedelta

from console.services import data_requests
from raxx.identity.models import ApiKey, Notice, Passkey, Session, StepUpGrant, User
from raxx.identity.passkey_rules import RelyingParty
from raxx.identity.services import passkeys, recovery_codes, sessions
from raxx.identity.step_up import hash_of
from raxx.kernel import clock
from raxx.kernel.ids import new_id
from tests.identity.authenticator import Authenticator
from tests.identity.browser import ACCESS, ORIGIN, REFRESH, Browser
from tests.mbt.paper_tools import Market, Trader

CALL = "SPY261218C00100000"
HOME = RelyingParty("localhost", (ORIGIN,))


@dataclass
class Person:
    """`ids` by the names that paths of the API have for them; `mark` is in everything that they have named."""

    user: User
    trader: Trader
    browser: Browser
    session_id: str
    ids: dict[str, list[str]]
    codes: list[str]
    mark: str

    def grant(self, action: str, parameters: dict[str, object]) -> None:
        """As if they had just confirmed this with their passkey."""
        now = clock.now()
        StepUpGrant.objects.create(
            session_id=self.session_id, action=action, parameters_hash=hash_of(action, parameters),
            granted_at=now, expires_at=now + timedelta(seconds=60),
        )  # fmt: skip

    @property
    def canaries(self) -> set[str]:
        """What no answer to anybody else may hold."""
        owned = {value for name, values in self.ids.items() if name != "symbol" for value in values}
        return {self.mark, self.user.email, str(self.user.pk), str(self.trader.account.id), *owned}


def live(market: Market, *, holds: bool = True) -> Person:
    """Somebody with orders in every state, keys, passkeys, sessions, requests and a copy; who `holds` also has
    positions and an instruction."""
    mark = new_id().hex
    trader = Trader.opened(feed=market.feed)
    User.objects.filter(pk=trader.user_id).update(email=f"{mark}@canary.example")
    user = User.objects.get(pk=trader.user_id)
    if holds:
        trader.order(order_type="market", qty="3", client_order_id=f"{mark}-filled")
        trader.order(symbol=CALL, order_type="market", qty="2", client_order_id=f"{mark}-call")
        market.judge()
        assert trader.send("POST", f"/positions/{CALL}/do-not-exercise", {}).status_code == 200
    gone = trader.order(client_order_id=f"{mark}-canceled")["id"]
    trader.cancel(gone)
    trader.order(client_order_id=f"{mark}-open", qty="2")
    market.judge()

    device, now = Authenticator(), clock.now()
    for name in ("laptop", "phone"):
        device = Authenticator()
        options = passkeys.begin_enrolment(rp=HOME, user=user, binding=mark)
        passkeys.finish_enrolment(
            credential=device.create(options, ORIGIN), rp=HOME, user=user, binding=mark, name=f"{name} {mark}", now=now
        )  # fmt: skip
    codes = recovery_codes.renew(user_id=user.pk, now=now)
    sessions.start(user=user, label=f"Tablet {mark}", now=now)
    issued = sessions.start(user=user, label=f"Firefox {mark}", now=now)
    browser = Browser(device=device, codes=codes, user_id=str(user.pk))
    browser.client.cookies[ACCESS] = issued.access
    browser.client.cookies[REFRESH] = issued.refresh or ""

    request_ids = []
    for kind in ("access", "portability"):
        request_ids.append(
            str(data_requests.receive(user_id=user.pk, kind=kind, actor="system:test", now=now).pk)
        )
        if kind == "access":
            data_requests.run(now)  # the copy is made; the other one waits
    ids = {
        "order_id": [order["id"] for order in trader.read("/orders")],
        "activity_id": [line["id"] for line in trader.read("/activities")],
        "symbol": ["SPY", CALL] if holds else [],
        "key_id": list(ApiKey.objects.filter(user=user).values_list("key_id", flat=True)),
        "passkey_id": [str(pk) for pk in Passkey.objects.filter(user=user).values_list("pk", flat=True)],
        "session_id": [str(pk) for pk in Session.objects.filter(user=user).values_list("pk", flat=True)],
        "request_id": request_ids,
        "notice_id": [str(pk) for pk in Notice.objects.filter(user=user).values_list("pk", flat=True)],
    }
    return Person(user, trader, browser, str(issued.session_id), ids, codes, mark)
