from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest


class OperatorBackend(ModelBackend):
    """Knows what operators may do; signs nobody in: there are no passwords. See services/operator_links.py."""

    def authenticate(self, request: HttpRequest | None, **credentials: object) -> None:  # type: ignore[override]
        return None

    def user_can_authenticate(self, user: object) -> bool:
        """Asked on every request of a session: who is no longer staff is out with the next click."""
        return super().user_can_authenticate(user) and getattr(user, "is_staff", False) is True  # type: ignore[arg-type]
