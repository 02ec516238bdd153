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
    mac = models.BinaryField(max_length=16)  # see canonical.py

    class Meta:
        db_table = "audit_log"
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["object_type", "object_id", "id"], name="audit_trail_of_object")]
        constraints = [
            models.CheckConstraint(condition=Q(actor_ref__regex=ACTOR_REF), name="audit_actor_is_pseudonym"),
            models.CheckConstraint(condition=Exact(Length("mac"), 16), name="audit_mac_is_16_bytes"),
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


class AuditSeal(models.Model):
    """The place of one row in the chain. Outlives the row; never changed or removed."""

    seq = models.BigIntegerField(primary_key=True)  # 1, 2, 3 … without a gap
    entry_id = models.BigIntegerField(unique=True)  # no foreign key: purged rows keep their seal
    leaf = models.BinaryField(max_length=32)
    chain = models.BinaryField(max_length=32)

    class Meta:
        db_table = "audit_seal"
        constraints = [
            models.CheckConstraint(condition=Q(seq__gte=1), name="audit_seal_counts_from_one"),
            models.CheckConstraint(condition=Exact(Length("leaf"), 32), name="audit_leaf_is_32_bytes"),
            models.CheckConstraint(condition=Exact(Length("chain"), 32), name="audit_chain_is_32_bytes"),
        ]

    def __str__(self) -> str:
        return f"seal {self.seq} of audit entry {self.entry_id}"


class AuditSealer(models.Model):
    """How far the sealer has come: one row. It saves looking at everything; the truth is in the seals.

    Every row up to `floor` has its seal. No transaction that is not in `holders` can still bring a row
    up to `ceiling`.
    """

    id = models.SmallIntegerField(primary_key=True, db_default=1)
    record_id = models.UUIDField()  # the chain's beginning: tells this record from any other
    floor = models.BigIntegerField(db_default=0)
    ceiling = models.BigIntegerField(db_default=0)
    holders = models.JSONField(default=list)  # virtual transaction ids

    class Meta:
        db_table = "audit_sealer"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="audit_sealer_is_one_row")]

    def __str__(self) -> str:
        return f"sealed up to audit entry {self.floor}"


class AuditCheckpoint(models.Model):
    """A signed statement of what the chain was after a seal. A copy leaves the database: checkpoints.py."""

    seq = models.BigIntegerField(primary_key=True)
    chain = models.BinaryField(max_length=32)
    at = models.DateTimeField()
    key_id = models.CharField(max_length=16)
    signature = models.BinaryField(max_length=64)

    class Meta:
        db_table = "audit_checkpoints"

    def __str__(self) -> str:
        return f"checkpoint of seal {self.seq}"


class AuditManifest(models.Model):
    """A signed list of the seals whose rows were purged because their time was over."""

    made_at = models.DateTimeField()
    retention = models.CharField(max_length=2)
    cutoff = models.DateTimeField()  # rows recorded before it
    through_id = models.BigIntegerField()  # up to this row the class has been dealt with
    rows = models.PositiveIntegerField()
    seqs = models.TextField()  # an int8multirange as PostgreSQL writes it
    key_id = models.CharField(max_length=16)
    signature = models.BinaryField(max_length=64)

    class Meta:
        db_table = "audit_manifests"
        constraints = [
            models.CheckConstraint(condition=Q(rows__gte=1), name="audit_manifest_has_rows"),
            models.CheckConstraint(
                condition=Q(retention__in=("2y", "7y")), name="audit_manifest_retention_known"
            ),
        ]

    def __str__(self) -> str:
        return f"purge manifest {self.pk}"
