"""How the jobs fare. Who has looked at failures says so here, and they leave the work queue."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest

from console.admin.set_page import Confirm, SetPage
from console.models import Job
from console.operators import actor_of
from console.services import jobs
from raxx.kernel import clock


class JobForm(forms.Form):
    name = forms.ModelChoiceField(label="Job", queryset=Job.objects.filter(failures__gt=0).order_by("name"))


@admin.register(Job)
class JobAdmin(SetPage[Job]):
    list_display = ("name", "succeeded_at", "failed_at", "failures", "problem")
    ordering = ("-failures", "name")
    set_form = JobForm
    verb = "Acknowledge the failures of a job"

    def told(self, asked: dict[str, Any]) -> tuple[str, Sequence[str]]:
        job: Job = asked["name"]
        return f"{job.name}: {job.failures} failures, the last by {job.problem}", [
            "They leave the work queue."
        ]

    def act(self, request: HttpRequest, asked: dict[str, Any], confirm: Confirm) -> None:
        jobs.acknowledge(name=asked["name"].name, actor=actor_of(request), now=clock.now())
        messages.success(request, "Acknowledged.")
