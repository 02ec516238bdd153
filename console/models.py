from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from console.switches import Mode
from raxx.kernel.ids import new_id


class Switch(models.Model):
    """The database's word on one kill switch: see switches.py. Changed by services/switches.py only."""

    key = models.CharField("switch", max_length=100, primary_key=True)
    mode = models.CharField(max_length=8, choices=[(mode.value, mode.value.capitalize()) for mode in Mode])
    reason = models.CharField(max_length=500, default="")
    expected_until = models.DateTimeField(null=True)  # what users are told; nothing ends by itself
    changed_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=48)  # actor_ref, as in the audit record
    # Who asked for the release of a stop that takes two people, and why.
    release_to = models.CharField(max_length=8, default="")
    release_asked_by = models.CharField(max_length=48, default="")
    release_asked_at = models.DateTimeField(null=True)
    release_reason = models.CharField(max_length=500, default="")

    class Meta:
        db_table = "console_switches"
        verbose_name = "kill switch"
        verbose_name_plural = "kill switches"
        ordering = ["key"]

    def __str__(self) -> str:
        return self.key


class FlagRow(models.Model):
    """What operators have set of one feature flag: see flags.py. Changed by services/flags.py only."""

    name = models.CharField("flag", max_length=64, primary_key=True)
    mode = models.CharField(max_length=8)
    percent = models.PositiveSmallIntegerField(default=100)
    owner = models.CharField(max_length=500, default="")
    reason = models.CharField(max_length=500, default="")
    expires_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField()
    changed_by = models.CharField(max_length=48, default="")

    class Meta:
        db_table = "console_flags"
        verbose_name = "feature flag"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=models.Q(percent__lte=100), name="flag_percent_to_100"),
            models.CheckConstraint(
                condition=models.Q(mode__in=["off", "shadow", "on"]), name="flag_mode_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class FlagUser(models.Model):
    """What one user gets of a flag, whatever the others get."""

    flag = models.ForeignKey(FlagRow, on_delete=models.CASCADE, related_name="users", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    mode = models.CharField(max_length=8)

    class Meta:
        db_table = "console_flag_users"
        constraints = [
            models.UniqueConstraint(fields=["flag", "user"], name="flag_once_per_user"),
            models.CheckConstraint(
                condition=models.Q(mode__in=["off", "shadow", "on"]), name="flag_user_mode_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.flag_id} for one user"


class OperatorLink(models.Model):
    """A one-time way to enrol an operator's passkey, by its hash: see services/operator_links.py."""

    token_hash = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "console_operator_links"

    def __str__(self) -> str:
        return f"operator link until {self.expires_at:%Y-%m-%d %H:%M}"


# -- status: console/status ------------------------------------------------------------------------


class SurfaceNow(models.Model):
    """How one surface of the product fares, as the poller last saw it. Its name is in config/status-surfaces.yaml."""

    surface = models.CharField(max_length=64, primary_key=True)
    state = models.CharField(max_length=12)  # console.status.State
    note = models.CharField(max_length=300, default="")  # for operators: visitors never see it
    since = models.DateTimeField()
    checked_at = models.DateTimeField()

    class Meta:
        db_table = "console_status_now"

    def __str__(self) -> str:
        return f"{self.surface} {self.state}"


class SurfaceDay(models.Model):
    """For how many seconds of a day (UTC) a surface was in each state. Seconds that nobody looked at are in none."""

    surface = models.CharField(max_length=64)
    day = models.DateField()
    operational_s = models.PositiveIntegerField(default=0)
    degraded_s = models.PositiveIntegerField(default=0)
    down_s = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "console_status_days"
        constraints = [models.UniqueConstraint(fields=["surface", "day"], name="status_day_once")]

    def __str__(self) -> str:
        return f"{self.surface} on {self.day}"


class Incident(models.Model):
    """What operators tell the public about a trouble: changed by services/incidents.py only."""

    class Impact(models.TextChoices):
        MAINTENANCE = "maintenance"
        DEGRADED = "degraded"
        DOWN = "down"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    title = models.CharField(max_length=120)
    impact = models.CharField(max_length=12, choices=Impact.choices)
    surfaces = ArrayField(models.CharField(max_length=64))
    started_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "console_incidents"
        ordering = ["-started_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(resolved_at__isnull=True) | Q(resolved_at__gte=F("started_at")),
                name="incident_ends_after_it_began",
            ),
        ]

    def __str__(self) -> str:
        return self.title


class IncidentUpdate(models.Model):
    """One message about an incident. Never changed: a correction is a further one."""

    class Stage(models.TextChoices):
        INVESTIGATING = "investigating"
        IDENTIFIED = "identified"
        MONITORING = "monitoring"
        RESOLVED = "resolved"

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="updates")
    at = models.DateTimeField()
    stage = models.CharField(max_length=16, choices=Stage.choices)
    text = models.CharField(max_length=1_000)

    class Meta:
        db_table = "console_incident_updates"
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.stage} at {self.at:%Y-%m-%d %H:%M}"


class Job(models.Model):
    """How one kind of job fares: when it last came through, and how often it failed since somebody looked."""

    name = models.CharField(max_length=100, primary_key=True)
    succeeded_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0)
    problem = models.CharField(
        max_length=100, default=""
    )  # the error's type: its words may hold personal data

    class Meta:
        db_table = "console_jobs"

    def __str__(self) -> str:
        return self.name


# -- data-subject requests: console/data_rights.py -------------------------------------------------


class DataRequest(models.Model):
    """What a person asked us to do with their data: changed by services/data_requests.py only.

    Without a foreign key to the user: it outlives them. When an erasure is done, `user_id` goes from all their
    requests; `subject_ref`, their pseudonym, stays.
    """

    class Kind(models.TextChoices):
        ACCESS = "access", "Access: a copy of everything"
        PORTABILITY = "portability", "Portability: a copy for another service"
        ERASURE = "erasure", "Erasure"
        RESTRICTION = "restriction", "Restriction: keep, and do nothing with it"

    class Status(models.TextChoices):
        OPEN = "open", "Waiting for its export"
        READY = "ready", "Export can be downloaded"
        COOLING = "cooling", "Waiting out the cooling-off time"
        ERASING = "erasing", "Being erased"
        IN_FORCE = "in_force", "Restriction in force"
        DONE = "done", "Done"
        CANCELED = "canceled", "Canceled"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    status = models.CharField(max_length=10, choices=Status.choices)
    user_id = models.UUIDField(null=True, db_index=True)
    subject_ref = models.CharField(max_length=48)
    received_at = models.DateTimeField()
    due_at = models.DateTimeField()
    cooling_until = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    parts_done = ArrayField(models.CharField(max_length=40), default=list)  # an erasure resumes after these
    receipt = models.JSONField(default=dict)  # how many rows of which table were erased
    problem = models.CharField(
        max_length=100, default=""
    )  # the type of the error that the last try ended with

    class Meta:
        db_table = "console_data_requests"
        verbose_name = "data request"
        ordering = ["due_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["user_id"],
                condition=Q(kind="erasure", status__in=["cooling", "erasing"]),
                name="data_request_one_erasure_at_a_time",
            ),
            models.UniqueConstraint(
                fields=["user_id"],
                condition=Q(kind="restriction", status="in_force"),
                name="data_request_one_restriction",
            ),
            models.CheckConstraint(
                condition=Q(
                    kind__in=["access", "portability"], status__in=["open", "ready", "done", "canceled"]
                )
                | Q(
                    kind="erasure",
                    status__in=["cooling", "erasing", "done", "canceled"],
                    cooling_until__isnull=False,
                )
                | Q(kind="restriction", status__in=["in_force", "done", "canceled"]),
                name="data_request_status_fits_kind",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["done", "canceled"], closed_at__isnull=False)
                | Q(~Q(status__in=["done", "canceled"]), closed_at__isnull=True, user_id__isnull=False),
                name="data_request_closed_iff_over",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} request of {self.received_at:%Y-%m-%d}"


class DataExport(models.Model):
    """The zip that answers a request for access or portability, for seven days."""

    request = models.OneToOneField(
        DataRequest, on_delete=models.CASCADE, related_name="export", primary_key=True
    )
    made_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    downloaded_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "console_data_exports"

    def __str__(self) -> str:
        return f"export of {self.made_at:%Y-%m-%d}"


class DataExportPart(models.Model):
    """A megabyte of an export: so neither making nor sending one holds all of it in memory."""

    export = models.ForeignKey(DataExport, on_delete=models.CASCADE, related_name="parts", db_index=False)
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        db_table = "console_data_export_parts"
        constraints = [models.UniqueConstraint(fields=["export", "number"], name="data_export_part_once")]

    def __str__(self) -> str:
        return f"part {self.number}"


class ErasedSubject(models.Model):
    """The erasure list: by it whoever comes back with a restored backup is found and erased again.

    `mark` is HMAC-SHA256 of the user id under a key that is not in the database: it names nobody.
    """

    mark = models.CharField(max_length=64, primary_key=True)
    erased_at = models.DateTimeField()

    class Meta:
        db_table = "console_erased_subjects"

    def __str__(self) -> str:
        return f"erased at {self.erased_at:%Y-%m-%d %H:%M}"
