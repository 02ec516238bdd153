from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest

from console import selectors
from console.admin.set_page import Confirm, SetPage
from console.models import Switch
from console.operators import actor_of
from console.services.switches import REASON_LENGTH_MAX, checked_key, preview, set_switch
from console.switches import Mode
from raxx.kernel import clock
from raxx.kernel.errors import RaxxError


class SwitchForm(forms.Form):
    """One change of one switch."""

    key = forms.CharField(
        label="Switch", max_length=100,
        help_text="global, broker:mbt (all paper trading), symbol:AAPL, user:ID or account:ID",
    )  # fmt: skip
    mode = forms.ChoiceField(
        choices=[(mode.value, f"{mode.value}: {mode.effect}") for mode in reversed(Mode)]
    )
    reason = forms.CharField(max_length=REASON_LENGTH_MAX, help_text="Shown to users and kept in the record.")
    until = forms.DateTimeField(
        label="Expected until", required=False, help_text="UTC. What users are told; nothing ends by itself."
    )

    def clean_key(self) -> str:
        try:
            checked_key(self.cleaned_data["key"])
        except RaxxError as refusal:
            raise forms.ValidationError(refusal.message) from refusal
        return str(self.cleaned_data["key"])


@admin.register(Switch)
class SwitchAdmin(SetPage[Switch]):
    """The kill switches."""

    list_display = (
        "key", "mode", "reason", "expected_until", "changed_at", "changed_by", "release_asked_by",
    )  # fmt: skip
    list_filter = ("mode",)
    search_fields = ("key",)
    set_form = SwitchForm
    verb = "Set a kill switch"
    action = "console.switch.release"
    removes_risk = True
    shell_way = "python manage.py switch release KEY --reason …"

    def standing(self) -> Sequence[str]:
        return [
            f"{state.name}: {state.mode.effect} ({state.source}). Only the environment can release it."
            for state in selectors.stops()
            if state.source != "database"
        ]

    def told(self, asked: dict[str, Any]) -> tuple[str, Sequence[str]]:
        row = Switch.objects.filter(pk=asked["key"]).first()
        lines = [
            f"In force now: {row.mode if row else Mode.ACTIVE}{f' ({row.reason})' if row and row.reason else ''}.",
            *preview(asked["key"]),
        ]
        if row is not None and row.release_asked_by:
            lines.append(f"Its release was asked for: {row.release_reason}")
        return f"{asked['key']}: {Mode(asked['mode']).effect}", lines

    def must_confirm(self, asked: dict[str, Any]) -> bool:
        """Stopping never does."""
        row = Switch.objects.filter(pk=asked["key"]).first()
        return row is not None and Mode(asked["mode"]).strictness < Mode(row.mode).strictness

    def act(self, request: HttpRequest, asked: dict[str, Any], confirm: Confirm) -> None:
        done = set_switch(
            key=asked["key"], mode=Mode(asked["mode"]), reason=asked["reason"], until=asked["until"],
            actor=actor_of(request), now=clock.now(), confirm=confirm,
        )  # fmt: skip
        if done.asked:
            messages.warning(
                request,
                "Asked. Another operator must release it too, within an hour; it is in force until then.",
            )
        elif not done.changed:
            messages.info(request, "It already was so; nothing changed.")
        else:
            messages.success(request, f"{asked['key']} is {asked['mode']}.")
        if not done.drained:
            messages.warning(
                request, "A submission that began before is still under way. Do it again to wait for it."
            )
