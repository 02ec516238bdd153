"""Orders: taken, previewed, replaced, canceled. Each call locks, decides and records, or changes nothing."""

from mbt.services.orders.changing import Changes, cancel, replace
from mbt.services.orders.ending import OrderNotOpen
from mbt.services.orders.taking import (
    AccountNotActive,
    ClientOrderIdReused,
    Preview,
    Quotes,
    Submitted,
    preview,
    resubmitted,
    submit,
)

__all__ = [
    "AccountNotActive", "Changes", "ClientOrderIdReused", "OrderNotOpen", "Preview", "Quotes", "Submitted", "cancel",
    "preview", "replace", "resubmitted", "submit",
]  # fmt: skip
