"""Writing down what a feed can quote."""

from collections.abc import Iterable

from raxx.kernel.money import from_ticks
from raxx.market.contracts import Instrument as Contract
from raxx.market.models import Instrument


def load(*, feed: str, found: Iterable[Contract]) -> int:
    """Add what is not known yet; an instrument once known stays. Safe to run twice. How many were added."""
    known = set(Instrument.objects.filter(feed=feed).values_list("symbol", flat=True))
    new = [
        Instrument(
            feed=feed, symbol=contract.symbol, asset_class=contract.asset_class, underlying=contract.underlying,
            multiplier=contract.multiplier, expiry=contract.expiry, right=contract.right or "",
            strike=from_ticks(contract.strike) if contract.strike else None, penny=contract.penny,
        )
        for contract in found
        if contract.symbol not in known
    ]  # fmt: skip
    Instrument.objects.bulk_create(new, batch_size=2_000, ignore_conflicts=True)
    return len(new)
