from django.apps import AppConfig


class MbtConfig(AppConfig):
    name = "mbt"
    verbose_name = "Paper trading"

    def ready(self) -> None:
        from mbt import events
        from mbt.selectors import engine_answers
        from raxx.kernel.readiness import probes

        events.register()
        probes.register("engine", engine_answers)
