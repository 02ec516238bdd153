"""What each feed can quote."""

from django.db import models
from django.db.models import Q


class Instrument(models.Model):
    """One tradable instrument of one feed, written by the process that owns the feed."""

    feed = models.CharField(max_length=64)
    symbol = models.CharField(max_length=21)
    asset_class = models.CharField(max_length=8)
    underlying = models.CharField(max_length=8)
    multiplier = models.PositiveIntegerField()
    expiry = models.DateField(null=True)
    right = models.CharField(max_length=1, default="")
    strike = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    penny = models.BooleanField(default=True)  # quoted in cents; only options are ever not

    class Meta:
        db_table = "market_instruments"
        constraints = [
            models.UniqueConstraint(fields=["feed", "symbol"], name="instrument_once_per_feed"),
            models.CheckConstraint(
                condition=Q(asset_class="equity", expiry__isnull=True, strike__isnull=True)
                | Q(asset_class="option", expiry__isnull=False, strike__gt=0, strike__lt=10**8),
                name="instrument_option_has_terms",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} on {self.feed}"
