"""Reads: who has what, and what the market of an account says now."""

from mbt.selectors.account_refs import AccountRef, NoAccount, account_ref
from mbt.selectors.accounts import (
    AccountSummary,
    Holding,
    MarginSummary,
    account_summary,
    activities,
    activity,
    held_symbols,
    holding,
    holdings,
    margin_rules,
    margin_summary,
    settled_only,
)
from mbt.selectors.explanations import TRIGGER, explanation
from mbt.selectors.ledgers import ledger
from mbt.selectors.markets import (
    SILENCE_MAX_S,
    adjusted_classes,
    engine_answers,
    feed_instant,
    market,
    marks,
    order_market,
    tickers,
)
from mbt.selectors.order_rows import (
    open_order_ids,
    open_orders,
    order,
    orders,
    progress_of,
    structure_of,
    ticket_of,
    to_engine,
    waiting_order_ids,
)

__all__ = ["SILENCE_MAX_S", "TRIGGER", "AccountRef", "AccountSummary", "Holding", "MarginSummary", "NoAccount", "account_ref", "account_summary", "activities", "activity", "adjusted_classes", "engine_answers", "explanation", "feed_instant", "held_symbols", "holding", "holdings", "ledger", "margin_rules", "margin_summary", "market", "marks", "open_order_ids", "open_orders", "order", "order_market", "orders", "progress_of", "settled_only", "structure_of", "tickers", "ticket_of", "to_engine", "waiting_order_ids"]  # fmt: skip
