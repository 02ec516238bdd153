from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest


class OperatorBackend(ModelBackend):
    """Knows what operators may do; signs nobody in: there are no passwords. Who is in: console/operators.py."""

    def authenticate(self, request: HttpRequest | None, **credentials: object) -> None:  # type: ignore[override]
        return None
