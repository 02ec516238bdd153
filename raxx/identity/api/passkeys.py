"""/api/passkeys and /api/recovery-codes: a person's own ways in."""

from uuid import UUID

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from raxx.identity import cookies, rate_limits
from raxx.identity.api import forms, shapes
from raxx.identity.api.permissions import AnySession
from raxx.identity.api.views import OwnApi
from raxx.identity.models import Passkey, SessionKind, User
from raxx.identity.services import entry, passkeys, recovery_codes, step_up
from raxx.identity.step_up import ADD_PASSKEY, REMOVE_PASSKEY, RENEW_CODES
from raxx.kernel import clock
from raxx.kernel.api import schema
from raxx.kernel.api.envelope import reply

_FAILURES = (400, 403, 409, 411, 413, 415, 421, 422, 429)


class PasskeyOptionsApi(OwnApi):
    permission_classes = [AnySession]

    @extend_schema(
        operation_id="passkey_options", summary="Begin to add a passkey", request=schema.request(forms.NOTHING),
        responses=schema.responses(schema.envelope(shapes.OptionsShape), failures=_FAILURES),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Needs a confirmation of `identity.passkey.add`, which is used up here; a recovery session needs none."""
        forms.NOTHING.read(request.data)
        holder, now = self.holder(request), clock.now()
        rate_limits.count_ceremony_of(holder.user_id, "passkey-options")
        with transaction.atomic():
            if holder.kind == SessionKind.FULL:
                step_up.use(holder=holder, action=ADD_PASSKEY, parameters={}, now=now)
            options = passkeys.begin_enrolment(
                rp=self.relying_party(request), user=User.objects.get(pk=holder.user_id), binding=holder.sid
            )
        return reply(shapes.OptionsShape(options))


class PasskeysApi(OwnApi):
    permission_classes = [AnySession]

    @extend_schema(
        operation_id="passkeys_list", summary="List your passkeys",
        responses=schema.responses(schema.envelope(shapes.PasskeyShape, many=True), failures=(403, 429)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """Oldest first."""
        rows = Passkey.objects.filter(user_id=self.holder(request).user_id).order_by("created_at", "id")
        return reply([shapes.passkey(row) for row in rows])

    @extend_schema(
        operation_id="passkey_add", summary="Add a passkey", request=schema.request(forms.ENROLMENT),
        responses=schema.responses(schema.envelope(shapes.PasskeyShape), status=201, failures=_FAILURES),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """What the options of before were answered with. After a recovery every session is over: sign in with the
        new passkey."""
        holder, now = self.holder(request), clock.now()
        rate_limits.count_ceremony_of(holder.user_id, "passkey-add")
        given = forms.ENROLMENT.read(request.data)
        rp = self.relying_party(request)
        if holder.kind == SessionKind.RECOVERY:
            made = entry.finish_recovery(holder=holder, rp=rp, now=now, **given)
            response = reply(shapes.passkey(made), status=201)
            cookies.clear(response)
            return response
        user = User.objects.get(pk=holder.user_id)
        made = passkeys.finish_enrolment(rp=rp, user=user, binding=holder.sid, now=now, **given)
        return reply(shapes.passkey(made), status=201)


class PasskeyApi(OwnApi):
    @extend_schema(
        operation_id="passkey_rename", summary="Rename a passkey", request=schema.request(forms.NAMED),
        responses=schema.responses(schema.envelope(shapes.PasskeyShape), failures=(400, 403, 411, 413, 415, 422, 429)),
    )  # fmt: skip
    def patch(self, request: Request, passkey_id: UUID) -> Response:
        """The name is for you alone."""
        name = forms.NAMED.read(request.data)["name"]
        row = passkeys.rename(
            user_id=self.holder(request).user_id, passkey_id=passkey_id, name=name, now=clock.now()
        )
        return reply(shapes.passkey(row))

    @extend_schema(
        operation_id="passkey_remove", summary="Remove a passkey",
        responses=schema.responses(schema.envelope(shapes.EndedShape), failures=(403, 409, 429)),
    )  # fmt: skip
    def delete(self, request: Request, passkey_id: UUID) -> Response:
        """Needs a confirmation of `identity.passkey.remove` with `passkey`. The last one stays while there are no
        recovery codes. Sessions live on: end them with DELETE /api/sessions."""
        holder, now = self.holder(request), clock.now()
        with transaction.atomic():
            step_up.use(
                holder=holder, action=REMOVE_PASSKEY, parameters={"passkey": str(passkey_id)}, now=now
            )
            passkeys.remove(user_id=holder.user_id, passkey_id=passkey_id, now=now)
        return reply(shapes.EndedShape(1))


class RecoveryCodesApi(OwnApi):
    @extend_schema(
        operation_id="recovery_codes_left", summary="How many recovery codes are left",
        responses=schema.responses(schema.envelope(shapes.CodesLeftShape), failures=(403, 429)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """The codes themselves are kept as hashes only."""
        return reply(shapes.CodesLeftShape(recovery_codes.left(self.holder(request).user_id)))

    @extend_schema(
        operation_id="recovery_codes_renew", summary="Make new recovery codes", request=schema.request(forms.NOTHING),
        responses=schema.responses(
            schema.envelope(shapes.CodesShape), status=201, failures=(400, 403, 411, 413, 415, 422, 429)
        ),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Needs a confirmation of `identity.recovery_codes.renew`. Older codes are dead."""
        forms.NOTHING.read(request.data)
        holder, now = self.holder(request), clock.now()
        with transaction.atomic():
            step_up.use(holder=holder, action=RENEW_CODES, parameters={}, now=now)
            codes = recovery_codes.renew(user_id=holder.user_id, now=now)
        return reply(shapes.CodesShape(codes), status=201)
