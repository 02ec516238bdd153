from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "console"
    verbose_name = "Console"

    def ready(self) -> None:
        from audit.events import EventType, register
        from console import contributions

        contributions.register_all()
        register(
            EventType("console.switch.changed", "7y", "A kill switch was set to another mode."),
            EventType(
                "console.switch.release_asked", "7y", "The release of a stop waits for a second person."
            ),
            EventType(
                "console.switch.release_withdrawn",
                "7y",
                "Somebody insisted on a stop whose release was asked for.",
            ),
            EventType("console.flag.changed", "2y", "A feature flag was set for a share of users."),
            EventType("console.flag.changed_for_user", "2y", "A feature flag was set for one user."),
            EventType("console.operator.created", "2y", "A staff user was made from the shell."),
            EventType("console.operator.link_issued", "2y", "A one-time link was made from the shell."),
            EventType("console.operator.signed_in", "2y", "An operator used a one-time link."),
            EventType("console.operator.revoked", "2y", "An operator's rights were taken away at the shell."),
        )
