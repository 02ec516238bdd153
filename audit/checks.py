"""What `manage.py check --deploy` says about the record."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register

from audit import signing


@register(Tags.security, deploy=True)
def signs_with_own_key(app_configs: object, **_options: Any) -> Sequence[CheckMessage]:  # noqa: ANN401 - Django's
    """A key that lies beside the database proves nothing against whoever owns the machine."""
    if signing.has_own_key():
        return []
    return [
        Warning(
            "RAXX_AUDIT_KEY is not set: checkpoints of the audit record are signed with a development key.",
            hint="Set RAXX_AUDIT_KEY, for instance to the output of `openssl rand -hex 32`.",
            id="audit.W001",
        )
    ]
