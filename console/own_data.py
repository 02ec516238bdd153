"""What the console itself holds about people: who operated it, and what they asked about their data."""

from collections.abc import Iterator, Mapping
from uuid import UUID

from django.apps import apps

from console.data_rights import Act, CarveOut, Holder, Section
from console.models import DataRequest, FlagUser, OperatorLink


def holder() -> Holder:
    return Holder(
        covers=(
            "console.OperatorLink",
            "console.FlagUser",
            "console.DataRequest",
            "console.DataExport",
            "console.DataExportPart",
            "admin.LogEntry",
        ),
        withheld={
            "console.DataExport": "it is the very file that the export is in",
            "console.DataExportPart": "it is the very file that the export is in",
        },
        export=_export,
        erase=_erase,
        keeps=(
            CarveOut(
                "console_data_requests",
                "Proof that the request was answered in time. It has the pseudonym, whose key is gone, and no user id.",
                "3 years",
            ),
            CarveOut(
                "console_erased_subjects",
                "By a keyed hash of the user id a person who comes back with a restored backup is erased again.",
                "as long as there are backups",
            ),
        ),
        rank=5,
    )


def _export(user_id: UUID) -> Iterator[Section]:
    yield (
        "operator_links",
        OperatorLink.objects.filter(user_id=user_id).values("created_at", "expires_at", "used_at").iterator(),
    )
    yield "feature_flags", FlagUser.objects.filter(user_id=user_id).values("flag_id", "mode").iterator()
    yield (
        "data_requests",
        DataRequest.objects.filter(user_id=user_id)
        .values("id", "kind", "status", "received_at", "due_at", "cooling_until", "closed_at")
        .iterator(),
    )
    log_entry = apps.get_model("admin.LogEntry")
    yield (
        "operator_log",
        log_entry._default_manager.filter(user_id=user_id)
        .values("action_time", "object_repr", "action_flag", "change_message")
        .iterator(),
    )


def _erase(act: Act) -> Mapping[str, int]:
    counts = {}
    for label in ("console.OperatorLink", "console.FlagUser", "admin.LogEntry"):
        model = apps.get_model(label)
        counts[model._meta.db_table] = model._default_manager.filter(user_id=act.user_id).delete()[0]
    return counts
