"""Tables that operators read in a list and change on a page of its own: it shows the effect, has it confirmed with a
passkey where it is of that kind, and then acts."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from console import operators
from raxx.kernel import clock
from raxx.kernel.errors import RaxxError

M = TypeVar("M", bound=Model)
# Uses the operator's confirmation up, in the transaction of what it is for. Raises RaxxError where there is none.
Confirm = Callable[[], None]


class SetPage(admin.ModelAdmin[M]):
    """`form` asks, `told` says what it would do, `act` does it. Rows are neither added, edited nor deleted here.

    What is confirmed is the whole form as it was read: whoever changes a word of it after that is refused.
    """

    actions = None
    change_list_template = "console/set_list.html"
    set_form: ClassVar[type[forms.Form]]
    verb: ClassVar[str]
    action: ClassVar[str] = ""  # what is confirmed, one of operators.confirmed_actions; "": nothing ever is
    removes_risk: ClassVar[bool] = False  # can take risk away, which is served in every degraded state
    shell_way: ClassVar[str] = ""  # how the same is done where no passkey can be used

    def told(self, asked: dict[str, Any]) -> tuple[str, Sequence[str]]:
        """A headline and lines."""
        raise NotImplementedError

    def must_confirm(self, asked: dict[str, Any]) -> bool:
        """Whether this one needs a passkey, as far as can be told now; `act` decides."""
        return bool(self.action)

    def act(self, request: HttpRequest, asked: dict[str, Any], confirm: Confirm) -> HttpResponseBase | None:
        """Do it, calling `confirm` in the transaction of the change, and leave messages; or answer with a file.
        Raises RaxxError."""
        raise NotImplementedError

    def standing(self) -> Sequence[str]:
        """Lines above the list: what holds besides its rows."""
        return ()

    @property
    def _name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    @property
    def _list_url(self) -> str:
        return reverse(f"admin:{self._name}_changelist")

    def get_urls(self) -> list[URLPattern]:
        view = operators.removing_risk(self.set_view) if self.removes_risk else self.set_view
        return [path("set/", self.admin_site.admin_view(view), name=f"{self._name}_set"), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        page = {
            "standing": self.standing(), "verb": self.verb, "set_url": reverse(f"admin:{self._name}_set"),
            **(extra_context or {}),
        }  # fmt: skip
        return super().changelist_view(request, page)

    def set_view(self, request: HttpRequest) -> HttpResponseBase:
        """GET and the first POST show; the POST of the page that shows the effect does it."""
        if not self.has_change_permission(request):
            return HttpResponse(f"You may not change {self.opts.verbose_name_plural}.", status=403)
        form = self.set_form(request.POST or None, initial=request.GET.dict())
        if request.method != "POST" or not form.is_valid():
            return self._page(request, form)
        if "confirmed" not in request.POST:
            return self._page(request, form, **self._effect(form))
        try:
            return self._do(request, form)
        except RaxxError as refusal:
            messages.error(request, refusal.message)
            return self._page(request, form, status=refusal.http_status, **self._effect(form))

    def _do(self, request: HttpRequest, form: forms.Form) -> HttpResponseBase:
        operator = operators.operator_of(request)

        def confirm() -> None:
            operator.confirm(action=self.action, parameters=parameters_of(form), now=clock.now())

        answer = self.act(request, form.cleaned_data, confirm)
        # The list is not shown to who is in doubt, this page is.
        return answer or redirect(reverse(f"admin:{self._name}_set") if operator.in_doubt else self._list_url)

    def _effect(self, form: forms.Form) -> dict[str, Any]:
        headline, lines = self.told(form.cleaned_data)
        shown: dict[str, Any] = {"headline": headline, "lines": lines}
        if self.must_confirm(form.cleaned_data):
            shown |= {
                "action": self.action, "parameters": json.dumps(parameters_of(form)), "shell_way": self.shell_way,
                "script": operators.entrance().script,
            }  # fmt: skip
        return shown

    def _page(
        self, request: HttpRequest, form: forms.Form, *, status: int = 200, **more: object
    ) -> HttpResponse:
        page = {"form": form, "title": self.verb, "opts": self.opts, "list_url": self._list_url, **more}
        context = {**self.admin_site.each_context(request), **page}
        return TemplateResponse(request, "console/set_page.html", context, status=status)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """Rows are looked at; they change by the page of their own."""
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False


def parameters_of(form: forms.Form) -> dict[str, str]:
    """Everything that a valid form asks for, by the name of its field, as text."""
    return {name: _as_text(form.cleaned_data[name]) for name in form.fields}


def _as_text(value: object) -> str:
    if isinstance(value, Model):
        return str(value.pk)
    if isinstance(value, datetime):
        return value.isoformat()
    return "" if value is None else str(value)
