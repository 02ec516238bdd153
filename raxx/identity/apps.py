from django.apps import AppConfig


class IdentityConfig(AppConfig):
    name = "raxx.identity"
    label = "identity"
    verbose_name = "Identity"

    def ready(self) -> None:
        import raxx.identity.api.schema  # noqa: F401 - tells the API docs how one signs in
        from audit.events import EventType, register

        register(
            EventType("identity.user.registered", "2y", "A user was made."),
            EventType("identity.api_key.issued", "2y", "An API key was made; its secret was shown once."),
            EventType("identity.api_key.revoked", "2y", "An API key stopped working."),
        )
