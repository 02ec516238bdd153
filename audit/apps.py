from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "audit"
    verbose_name = "Audit"

    def ready(self) -> None:
        import audit.checks  # noqa: F401 - registers them
        from audit.services import retention, subjects

        retention.register_events()
        subjects.register_events()
