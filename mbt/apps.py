from django.apps import AppConfig


class MbtConfig(AppConfig):
    name = "mbt"
    verbose_name = "Paper trading"

    def ready(self) -> None:
        from mbt import events

        events.register()
