"""The job runner: `celery -A raxx worker`, `celery -A raxx beat`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "raxx.settings")

app = Celery("raxx")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
