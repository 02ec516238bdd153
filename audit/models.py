from django.db import models
from django.db.models import Func, Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact

ACTOR_REF = r"^([0-9a-f]{32}|system:[a-z][a-z0-9-]{1,39})$"


class ClockTimestamp(Func):
    """The instant at which the row is written; now() would be the start of the transaction."""

    function = "clock_timestamp"
    output_field = models.DateTimeField()


class AuditEntry(models.Model):
    """One thing that somebody did. Rows are never changed or removed: triggers see to it."""

    at = models.DateTimeField()  # when it happened, by the clock of whoever did it
    recorded_at = models.DateTimeField(db_default=ClockTimestamp())
    actor_ref = models.CharField(max_length=48)  # see pseudonym.py
    action = models.CharField(max_length=80)  # code of a registered event type
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=64)
    changes = models.JSONField()
    reason = models.TextField(db_default="", blank=True)
    request_id = models.CharField(max_length=64, db_default="", blank=True)

    class Meta:
        db_table = "audit_log"
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["object_type", "object_id", "id"], name="audit_trail_of_object")]
        constraints = [
            models.CheckConstraint(condition=Q(actor_ref__regex=ACTOR_REF), name="audit_actor_is_pseudonym"),
        ]

    def __str__(self) -> str:
        return f"audit entry {self.pk} {self.action}"


class AuditSubject(models.Model):
    """The key that turns a user id into its pseudonym. At erasure this row goes, and with it the way back."""

    subject_id = models.UUIDField(primary_key=True)  # no foreign key: it lives apart from the user
    key = models.BinaryField(max_length=32)
    created_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "audit_subjects"
        constraints = [
            models.CheckConstraint(condition=Exact(Length("key"), 32), name="audit_subject_key_is_32_bytes"),
        ]

    def __str__(self) -> str:
        return "audit subject"
