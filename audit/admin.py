from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from audit.events import event_types
from audit.models import AuditEntry


class ActionFilter(admin.SimpleListFilter):
    """By the registered actions: asking the table which ones it holds would walk all of it."""

    title = parameter_name = "action"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[AuditEntry]
    ) -> list[tuple[str, str]]:
        return [(code, code) for code, _ in event_types]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        return queryset.filter(action=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin[AuditEntry]):
    """The record, newest first, for reading."""

    list_display = ("id", "at", "action", "object_type", "object_id", "actor_ref", "reason")
    list_filter = (ActionFilter,)
    search_fields = ("object_id__exact", "actor_ref__exact", "request_id__exact")
    search_help_text = "A whole object id, actor or request id"
    ordering = ("-id",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False
