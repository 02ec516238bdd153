from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class OutboxEvent(models.Model):
    """Something that happened, stored with the change itself and announced afterwards: see outbox.py."""

    topic = models.CharField(max_length=64)
    key = models.CharField(max_length=64)  # id of the object that it is about
    payload = models.JSONField()  # ids and small facts; whoever needs more reads the object
    created_at = models.DateTimeField(db_default=Now())
    published_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "outbox"
        indexes = [
            models.Index(fields=["id"], condition=Q(published_at__isnull=True), name="outbox_unpublished"),
        ]

    def __str__(self) -> str:
        return f"event {self.pk} {self.topic}"
