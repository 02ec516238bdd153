"""What an account must have for what it holds: stock, options, and the least-margin grouping of both. Pure.

`requirement` is the entry; `cash_requirement` is the one for cash accounts. Source: docs/rules/margin.md.
"""

from mbt.engine.margin.book import Holding, NoMark
from mbt.engine.margin.cash import UncoveredShort, cash_requirement
from mbt.engine.margin.equity import effect, excess, margin_equity, net_liq
from mbt.engine.margin.groups import Group, Part, covering_shares
from mbt.engine.margin.levels import Approval, Level, required_level
from mbt.engine.margin.requirement import Requirement, requirement
from mbt.engine.margin.rules import (
    HOUSE_SCHEDULE,
    SCHEDULE,
    MarginRules,
    Model,
    NoRules,
    rules_on,
)

__all__ = [
    "HOUSE_SCHEDULE",
    "SCHEDULE",
    "Approval",
    "Group",
    "Holding",
    "Level",
    "MarginRules",
    "Model",
    "NoMark",
    "NoRules",
    "Part",
    "Requirement",
    "UncoveredShort",
    "cash_requirement",
    "covering_shares",
    "effect",
    "excess",
    "margin_equity",
    "net_liq",
    "required_level",
    "requirement",
    "rules_on",
]
