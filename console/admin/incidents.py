"""Incidents on the operator site: opened and continued here, never rewritten."""

from typing import Any

from django import forms
from django.contrib import admin
from django.forms import ModelForm
from django.http import HttpRequest

from console.models import Incident, IncidentUpdate
from console.operators import actor_of
from console.services import incidents
from console.status.surfaces import all_surfaces
from raxx.kernel import clock


class IncidentForm(forms.ModelForm[Incident]):
    """A new incident is described; one that lasts gets a further message."""

    surfaces = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)
    stage = forms.ChoiceField(choices=IncidentUpdate.Stage.choices, required=False)
    text = forms.CharField(
        max_length=1_000, widget=forms.Textarea(attrs={"rows": 4}), label="Message",
        help_text="Public. What users notice and what they can do; no names of partners or machines.",
    )  # fmt: skip

    class Meta:
        model = Incident
        fields = ("title", "impact", "surfaces")

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as its base has it
        super().__init__(*args, **kwargs)
        if "surfaces" in self.fields:
            self.fields["surfaces"].choices = [(s.id, s.display_name) for s in all_surfaces()]  # type: ignore[attr-defined]

    def clean_surfaces(self) -> list[str]:
        chosen: list[str] = self.cleaned_data["surfaces"]
        if not chosen:
            raise forms.ValidationError("Name the parts that are concerned.")
        return chosen


class UpdateInline(admin.TabularInline[IncidentUpdate, Incident]):
    model = IncidentUpdate
    fields = readonly_fields = ("at", "stage", "text")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Incident | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Incident | None = None) -> bool:
        return False


@admin.register(Incident)
class IncidentAdmin(admin.ModelAdmin[Incident]):
    form = IncidentForm
    inlines = (UpdateInline,)
    list_display = ("title", "impact", "surfaces", "started_at", "resolved_at")
    list_filter = ("impact",)
    actions = None

    def get_fields(self, request: HttpRequest, obj: Incident | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("title", "impact", "surfaces", "text")
        shown = ("title", "impact", "surfaces", "started_at", "resolved_at")
        return shown if obj.resolved_at else (*shown, "stage", "text")

    def get_readonly_fields(self, request: HttpRequest, obj: Incident | None = None) -> tuple[str, ...]:
        return () if obj is None else ("title", "impact", "surfaces", "started_at", "resolved_at")

    def save_model(
        self, request: HttpRequest, obj: Incident, form: ModelForm[Incident], change: bool
    ) -> None:
        told, actor, now = form.cleaned_data, actor_of(request), clock.now()
        if change:
            incidents.update_incident(
                incident_id=obj.pk, stage=told["stage"], text=told["text"], actor=actor, now=now
            )
        else:
            made = incidents.open_incident(
                title=told["title"], impact=told["impact"], surfaces=told["surfaces"], text=told["text"],
                actor=actor, now=now,
            )  # fmt: skip
            obj.pk = made.pk

    def has_change_permission(self, request: HttpRequest, obj: Incident | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.resolved_at is None)

    def has_delete_permission(self, request: HttpRequest, obj: Incident | None = None) -> bool:
        return False
