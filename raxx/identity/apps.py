from django.apps import AppConfig


class IdentityConfig(AppConfig):
    name = "raxx.identity"
    label = "identity"
    verbose_name = "Identity"

    def ready(self) -> None:
        import raxx.identity.api.schema  # noqa: F401 - tells the API docs how one signs in
        from raxx.identity import checks, data_rights, events, operators, step_up

        events.register_all()
        step_up.register_own()
        checks.register_all()
        data_rights.register()
        operators.register()
