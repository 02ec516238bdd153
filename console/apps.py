from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "console"
    verbose_name = "Console"

    def ready(self) -> None:
        from audit.events import EventType, register

        register(
            EventType("console.switch.changed", "7y", "A kill switch was turned on or off."),
            EventType("console.operator.created", "2y", "A staff user was made from the shell."),
            EventType(
                "console.operator.link_issued", "2y", "A one-time sign-in link was made from the shell."
            ),
            EventType("console.operator.signed_in", "2y", "An operator used a one-time sign-in link."),
        )
