"""/api/keys: keys for a person's own programs."""

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from audit.pseudonym import actor_ref_for
from raxx.identity.api import forms, shapes
from raxx.identity.api.views import OwnApi
from raxx.identity.models import ApiKey, User
from raxx.identity.services import api_keys, step_up
from raxx.identity.step_up import ISSUE_KEY
from raxx.kernel import clock
from raxx.kernel.api import schema
from raxx.kernel.api.envelope import reply
from raxx.kernel.errors import NotFound


class KeysApi(OwnApi):
    @extend_schema(
        operation_id="keys_list", summary="List your API keys",
        responses=schema.responses(schema.envelope(shapes.ApiKeyShape, many=True), failures=(403, 429)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """Newest first, revoked ones too. Secrets are kept as hashes only."""
        rows = ApiKey.objects.filter(user_id=self.holder(request).user_id).order_by("-created_at")[:200]
        return reply([shapes.api_key(row) for row in rows])

    @extend_schema(
        operation_id="key_issue", summary="Make an API key", request=schema.request(forms.NEW_KEY),
        responses=schema.responses(
            schema.envelope(shapes.NewApiKeyShape), status=201, failures=(400, 403, 409, 411, 413, 415, 422, 429)
        ),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Needs a confirmation of `identity.api_key.issue` with exactly this body. Keys are for the paper account."""
        holder, now = self.holder(request), clock.now()
        given = forms.NEW_KEY.read(request.data)
        with transaction.atomic():
            step_up.use(holder=holder, action=ISSUE_KEY, parameters=dict(request.data), now=now)
            issued = api_keys.issue(
                user=User.objects.get(pk=holder.user_id), name=given["name"], scopes=given["scopes"],
                expires_at=given.get("expires_at"), now=now,
            )  # fmt: skip
        return reply(shapes.NewApiKeyShape(issued.key_id, issued.secret), status=201)


class KeyApi(OwnApi):
    removes_risk = frozenset({"DELETE"})

    @extend_schema(
        operation_id="key_revoke", summary="Revoke an API key",
        responses=schema.responses(schema.envelope(shapes.EndedShape), failures=(403, 429)),
    )  # fmt: skip
    def delete(self, request: Request, key_id: str) -> Response:
        """It opens nothing from the answer on. Revoking it twice changes nothing."""
        user_id = self.holder(request).user_id
        if not ApiKey.objects.filter(key_id=key_id[:20], user_id=user_id).exists():
            raise NotFound("You have no such key.", remedy="List your keys to see their ids.")
        ended = api_keys.revoke(key_id=key_id, actor=actor_ref_for(user_id), now=clock.now())
        return reply(shapes.EndedShape(int(ended)))
