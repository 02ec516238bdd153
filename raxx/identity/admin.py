from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from console.operators import actor_of
from raxx.identity.models import ApiKey, User
from raxx.identity.services import api_keys
from raxx.kernel import clock


class ReadOnly(admin.ModelAdmin[Model]):
    """Nothing is added, changed or deleted by form: services do that, and record it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(ReadOnly):
    list_display = ("email", "tier", "is_active", "is_staff", "created_at")
    list_filter = ("tier", "is_active", "is_staff")
    search_fields = ("email__startswith", "id__exact")
    fields = ("id", "email", "tier", "is_active", "is_staff", "is_superuser", "locked_until", "created_at")
    ordering = ("-created_at",)


class ReasonForm(ActionForm):
    reason = forms.CharField(max_length=500, required=False, label="Reason")


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly):
    list_display = (
        "key_id",
        "user",
        "name",
        "scopes",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
    )
    list_select_related = ("user",)
    search_fields = ("key_id__exact", "user__email__startswith")
    fields = ("id", *list_display)
    ordering = ("-created_at",)
    action_form = ReasonForm
    actions = ("revoke",)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("identity.change_apikey")

    @admin.action(description="Revoke selected API keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        reason = request.POST.get("reason", "").strip()
        if not reason:
            self.message_user(
                request, "Nothing was revoked: give a reason beside the action.", messages.ERROR
            )
            return
        actor, now = actor_of(request), clock.now()
        revoked = sum(
            api_keys.revoke(key_id=key.key_id, actor=actor, now=now, reason=reason[:500]) for key in keys
        )
        self.message_user(request, f"{revoked} revoked. Keys that were revoked before stay as they are.")
