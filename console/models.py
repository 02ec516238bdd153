from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class SwitchRow(models.Model):
    """The database's word on one kill switch: see switches.py. Changed by services/switches.py only."""

    name = models.CharField(max_length=64, unique=True)
    is_on = models.BooleanField("on", default=False)
    reason = models.CharField(max_length=500, default="")
    changed_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=48)  # actor_ref, as in the audit record

    class Meta:
        db_table = "console_switches"
        verbose_name = "kill switch"
        verbose_name_plural = "kill switches"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class OperatorLink(models.Model):
    """A one-time way into the operator site, by its hash: see services/operator_links.py."""

    token_hash = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "console_operator_links"

    def __str__(self) -> str:
        return f"operator link until {self.expires_at:%Y-%m-%d %H:%M}"
