"""Requests of people about their data: taken in by hand, taken back, hurried, lifted, or handed out."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from console import downloads
from console.admin.set_page import Confirm, SetPage
from console.data_rights import carve_outs
from console.models import DataRequest
from console.operators import actor_of
from console.services import data_requests
from raxx.kernel import clock

REASON_LENGTH_MAX = 500
_TAKE_IN = {f"receive:{kind}": f"Take in: {kind.label}" for kind in DataRequest.Kind}
_CHANGE = {
    "cancel": "Take back (while it waits)",
    "waive": "Do not wait any longer (erasure)",
    "lift": "Lift (restriction)",
    "hand_out": "Download the copy, for the person (access, portability)",
}


class DataRequestForm(forms.Form):
    """A new request of a user, or what becomes of one that is there."""

    what = forms.ChoiceField(choices=[*_TAKE_IN.items(), *_CHANGE.items()])
    user = forms.EmailField(label="User's address", required=False, help_text="For a new request.")
    request = forms.UUIDField(label="Request", required=False, help_text="The id of one that is there.")
    reason = forms.CharField(
        max_length=REASON_LENGTH_MAX,
        help_text="How you know that it is the person; kept in the record, so name nobody.",
    )

    def clean(self) -> dict[str, Any]:
        asked = super().clean() or self.cleaned_data
        if asked.get("what") in _TAKE_IN:
            users = get_user_model().objects.filter(email=(asked.get("user") or "").lower())
            asked["user_id"] = users.values_list("pk", flat=True).first()
            if asked["user_id"] is None:
                self.add_error("user", "There is no user with this address.")
        elif asked.get("what") in _CHANGE:
            wanted = asked.get("request")
            asked["known"] = DataRequest.objects.filter(pk=wanted).first() if wanted else None
            if asked["known"] is None:
                self.add_error("request", "There is no such request.")
        return asked


@admin.register(DataRequest)
class DataRequestAdmin(SetPage[DataRequest]):
    """The requests, the most urgent first. Lists show that they are answered, not what is in the answer; whoever
    takes a copy out for a person is in the record."""

    list_display = (
        "id",
        "kind",
        "status",
        "received_at",
        "due_at",
        "due",
        "cooling_until",
        "closed_at",
        "problem",
    )
    list_filter = ("status", "kind")
    search_fields = ("id__exact", "user_id__exact")
    search_help_text = "A whole request id or user id"
    ordering = ("closed_at", "due_at")
    set_form = DataRequestForm
    verb = "Take in or change a request"
    action = "console.data_request.decide"
    shell_way = "python manage.py dsr_export, python manage.py dsr_erase"

    @admin.display(description="Due in")
    def due(self, request: DataRequest) -> str:
        return "" if request.closed_at else data_requests.due_in_words(request.due_at, clock.now())

    def told(self, asked: dict[str, Any]) -> tuple[str, Sequence[str]]:
        known: DataRequest | None = asked.get("known")
        if known is not None:
            return f"{_CHANGE[asked['what']]}: {known}", _effects(asked["what"], known.kind)
        kind = asked["what"].partition(":")[2]
        return f"{_TAKE_IN[asked['what']]}, of {asked['user']}", _effects("receive", kind)

    @transaction.atomic
    def act(self, request: HttpRequest, asked: dict[str, Any], confirm: Confirm) -> HttpResponseBase | None:
        confirm()
        by = {"actor": actor_of(request), "now": clock.now(), "reason": asked["reason"]}
        if asked["what"] == "hand_out":
            return downloads.as_file(*data_requests.hand_out(request_id=asked["known"].pk, **by))
        if asked["what"] in _TAKE_IN:
            made = data_requests.receive(user_id=asked["user_id"], kind=asked["what"].partition(":")[2], **by)
        else:
            services = {
                "cancel": data_requests.cancel,
                "waive": data_requests.waive,
                "lift": data_requests.lift,
            }
            made = services[asked["what"]](request_id=asked["known"].pk, **by)
        messages.success(request, f"{made}: {made.get_status_display()}. Due {made.due_at:%d %b %Y}.")
        return None


def _effects(what: str, kind: str) -> list[str]:
    erasure = kind == DataRequest.Kind.ERASURE
    if what == "receive" and erasure:
        kept = [f"Kept: {c.table}, {c.keep}. {c.why}" for c in carve_outs()]
        return [
            "At once: sessions and API keys end, open orders are canceled, the account takes no new ones.",
            "In 30 days everything is deleted, for good. Until then it can be taken back.",
            *kept,
        ]
    return {
        "receive": (
            ["Open orders are canceled and nothing new is taken, until it is lifted. Everything is kept."]
            if kind == DataRequest.Kind.RESTRICTION
            else ["A copy is made within a minute or so. The person can download it for seven days."]
        ),
        "cancel": [
            "Nothing is erased or copied. Sessions and keys that ended stay ended; the account may trade again."
        ],
        "waive": ["Everything is deleted within a minute or so, for good. It cannot be taken back."],
        "lift": ["The account may trade again."],
        "hand_out": [
            "You get everything that is held about the person, as one zip. Give it to them and to nobody else, and"
            " delete yours. The record says that you took it."
        ],
    }[what]
