from django.apps import AppConfig


class MarketConfig(AppConfig):
    name = "raxx.market"
    label = "market"
    verbose_name = "Market data"

    def ready(self) -> None:
        from raxx.market import checks

        checks.register_all()
