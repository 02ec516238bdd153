from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db import transaction
from django.http import HttpRequest

from console import flags
from console.admin.set_page import Confirm, SetPage
from console.flags import Rollout
from console.models import FlagRow, FlagUser
from console.operators import actor_of
from console.services.flags import TEXT_LENGTH_MAX, set_flag, set_for_user
from raxx.kernel import clock

NO_LONGER = "as all"


class FlagForm(forms.Form):
    """A rollout to a percentage of users, or to one."""

    name = forms.ChoiceField(
        label="Flag", choices=lambda: [(name, f"{name}: {flag.what}") for name, flag in flags.registry]
    )
    mode = forms.ChoiceField(
        choices=[*((mode.value, mode.value) for mode in Rollout), (NO_LONGER, "as all (one user)")]
    )
    percent = forms.IntegerField(
        min_value=0, max_value=100, initial=100, help_text="Of users, by a stable draw."
    )
    user = forms.EmailField(
        label="Only for", required=False, help_text="One user's address; leave empty for all."
    )
    owner = forms.CharField(max_length=TEXT_LENGTH_MAX, help_text="Who answers for this rollout.")
    expires_at = forms.DateTimeField(
        label="Expires", required=False, help_text="UTC. Then its default holds again."
    )
    reason = forms.CharField(max_length=TEXT_LENGTH_MAX, help_text="Kept in the record.")

    def clean(self) -> dict[str, Any]:
        asked = super().clean() or self.cleaned_data
        if asked.get("user"):
            asked["user_id"] = (
                get_user_model()
                .objects.filter(email=asked["user"].lower())
                .values_list("pk", flat=True)
                .first()
            )
            if asked["user_id"] is None:
                self.add_error("user", "There is no user with this address.")
        elif asked.get("mode") == NO_LONGER:
            self.add_error("mode", "Only one user can be set back to what all get.")
        return asked


@admin.register(FlagRow)
class FlagAdmin(SetPage[FlagRow]):
    """The feature flags."""

    list_display = (
        "name", "mode", "percent", "own_settings", "owner", "expires_at", "reason", "changed_at", "changed_by",
    )  # fmt: skip
    set_form = FlagForm
    verb = "Set a feature flag"
    action = "console.flag.set"
    shell_way = "set FLAG_… in the environment, for all users"

    @admin.display(description="Users with their own")
    def own_settings(self, row: FlagRow) -> int:
        return FlagUser.objects.filter(flag=row).count()

    def standing(self) -> Sequence[str]:
        return [f"{name} is {flag.default} unless set here: {flag.what}" for name, flag in flags.registry]

    def told(self, asked: dict[str, Any]) -> tuple[str, Sequence[str]]:
        if asked.get("user_id"):
            return f"{asked['name']}: {asked['mode']} for {asked['user']}", []
        everyone = get_user_model().objects.filter(is_active=True)
        drawn = sum(
            flags.draw(asked["name"], pk) < asked["percent"]
            for pk in everyone.values_list("pk", flat=True).iterator()
        )
        headline = f"{asked['name']}: {asked['mode']} for {asked['percent']} % of users"
        return headline, [f"{drawn:,} of {everyone.count():,} users today; the others get the default."]

    @transaction.atomic
    def act(self, request: HttpRequest, asked: dict[str, Any], confirm: Confirm) -> None:
        confirm()
        by = {"reason": asked["reason"], "actor": actor_of(request), "now": clock.now()}
        if asked.get("user_id"):
            mode = None if asked["mode"] == NO_LONGER else Rollout(asked["mode"])
            changed = set_for_user(name=asked["name"], user_id=asked["user_id"], mode=mode, **by)
        else:
            changed = set_flag(
                name=asked["name"], mode=Rollout(asked["mode"]), percent=asked["percent"], owner=asked["owner"],
                expires_at=asked["expires_at"], **by,
            )  # fmt: skip
        messages.success(request, "Done." if changed else "It already was so; nothing changed.")
