from django.apps import AppConfig


class MarketConfig(AppConfig):
    name = "raxx.market"
    label = "market"
    verbose_name = "Market data"
