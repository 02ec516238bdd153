"""Tables that operators read in a list and change on a page of its own: first it shows the effect, then it acts."""

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from raxx.kernel.errors import RaxxError

M = TypeVar("M", bound=Model)


class SetPage(admin.ModelAdmin[M]):
    """`form` asks, `told` says what it would do, `act` does it. Rows are neither added, edited nor deleted here."""

    actions = None
    change_list_template = "console/set_list.html"
    set_form: ClassVar[type[forms.Form]]
    verb: ClassVar[str]

    def told(self, asked: dict[str, Any]) -> tuple[str, Sequence[str]]:
        """A headline and lines."""
        raise NotImplementedError

    def act(self, request: HttpRequest, asked: dict[str, Any]) -> None:
        """Do it and leave messages. Raises RaxxError."""
        raise NotImplementedError

    def standing(self) -> Sequence[str]:
        """Lines above the list: what holds besides its rows."""
        return ()

    @property
    def _name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    def get_urls(self) -> list[URLPattern]:
        page = path("set/", self.admin_site.admin_view(self.set_view), name=f"{self._name}_set")
        return [page, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        page = {
            "standing": self.standing(), "verb": self.verb, "set_url": reverse(f"admin:{self._name}_set"),
            **(extra_context or {}),
        }  # fmt: skip
        return super().changelist_view(request, page)

    def set_view(self, request: HttpRequest) -> HttpResponse:
        """GET and the first POST show; the POST of the page that shows the effect does it."""
        if not self.has_change_permission(request):
            return HttpResponse(f"You may not change {self.opts.verbose_name_plural}.", status=403)
        form = self.set_form(request.POST or None, initial=request.GET.dict())
        page: dict[str, Any] = {"form": form, "title": self.verb, "opts": self.opts}
        if request.method == "POST" and form.is_valid():
            if "confirmed" in request.POST:
                return self._do(request, form.cleaned_data)
            page["headline"], page["lines"] = self.told(form.cleaned_data)
        page["list_url"] = reverse(f"admin:{self._name}_changelist")
        return TemplateResponse(
            request, "console/set_page.html", {**self.admin_site.each_context(request), **page}
        )

    def _do(self, request: HttpRequest, asked: dict[str, Any]) -> HttpResponse:
        try:
            self.act(request, asked)
        except RaxxError as refusal:
            messages.error(request, refusal.message)
        return redirect(reverse(f"admin:{self._name}_changelist"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """Rows are looked at; they change by the page of their own."""
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False
