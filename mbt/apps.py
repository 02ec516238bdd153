from django.apps import AppConfig


class MbtConfig(AppConfig):
    name = "mbt"
    verbose_name = "Paper trading"

    def ready(self) -> None:
        from mbt import checks, data_rights, events, newcomers, operator_views
        from mbt.selectors import engine_answers
        from raxx.kernel.readiness import probes

        events.register()
        checks.register_all()
        data_rights.register()
        newcomers.register()
        operator_views.register_all()
        probes.register("engine", engine_answers)
