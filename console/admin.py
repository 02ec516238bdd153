from typing import Any

from django import forms
from django.contrib import admin, messages
from django.forms import ModelForm
from django.http import HttpRequest

from console import switches
from console.models import SwitchRow
from console.operators import actor_of
from console.services.switches import REASON_LENGTH_MAX, set_switch
from console.switches import Switch
from raxx.kernel import clock


class SwitchForm(forms.ModelForm[SwitchRow]):
    reason = forms.CharField(max_length=REASON_LENGTH_MAX, help_text="Shown to users and kept in the record.")

    class Meta:
        model = SwitchRow
        fields = ("is_on", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as its base has it
        super().__init__(*args, **kwargs)
        self.initial["reason"] = ""  # every change has a reason of its own


@admin.register(SwitchRow)
class SwitchAdmin(admin.ModelAdmin[SwitchRow]):
    """The kill switches, with what is effectively in force."""

    form = SwitchForm
    fields = ("name", "effect", "effective", "is_on", "reason", "changed_at", "changed_by")
    readonly_fields = ("name", "effect", "effective", "changed_at", "changed_by")
    list_display = ("name", "effective", "reason", "changed_at", "changed_by")
    actions = None

    @admin.display(description="When on")
    def effect(self, row: SwitchRow) -> str:
        return Switch(row.name).effect if row.name in set(Switch) else "Nothing reads this switch."

    @admin.display(description="In force")
    def effective(self, row: SwitchRow) -> str:
        if row.name not in set(Switch):
            return "unused"
        state = switches.read()[Switch(row.name)]
        return f"ON ({state.source})" if state.on else "off"

    def save_model(
        self, request: HttpRequest, obj: SwitchRow, form: ModelForm[SwitchRow], change: bool
    ) -> None:
        done = set_switch(
            name=Switch(obj.name),
            on=form.cleaned_data["is_on"],
            reason=form.cleaned_data["reason"],
            actor=actor_of(request),
            now=clock.now(),
        )
        if not done.changed:
            messages.info(request, "It already was so; nothing changed.")
        if not done.drained:
            messages.warning(
                request,
                "The switch is on, but a submission that began before is still under way. Save again to wait for it.",
            )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SwitchRow | None = None) -> bool:
        known = obj is None or obj.name in set(Switch)
        return known and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: SwitchRow | None = None) -> bool:
        return False
