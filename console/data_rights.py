"""What people may ask of us about their data, and who answers: docs/data-rights.md.

Every app says once, in `AppConfig.ready`, what it holds about people:

    holders.register("mbt", Holder(covers=("mbt.Account", …), export=…, erase=…))

`uncovered` walks all models, and a test fails when one that leads to a person is in nobody's hands.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.db.models import Model

from raxx.kernel.registry import Registry

Row = Mapping[str, object]
# Name of a file of the export, without its ending, and its rows. Never a secret: no hash, key or token.
Section = tuple[str, Iterable[Row]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who acts, and when: for what the holders do and record."""

    user_id: UUID
    actor: str
    now: datetime


@dataclass(frozen=True, slots=True)
class CarveOut:
    """Rows that outlive an erasure: which table, why, and for how long. They name no user id."""

    table: str
    why: str
    keep: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """What one app holds about people.

    `covers`: labels of its models that lead to a person ("mbt.Order"), each exported or in `withheld` (with the
    reason), and each erased. `erase` gives the rows deleted by table; it commits as it goes, and done twice it
    changes nothing. `revoke` ends access at once, such as sessions and keys. `hold` keeps the data and does nothing
    with it until `release`. Holders erase in the order of `rank`, the person's own row and key last.
    """

    covers: tuple[str, ...]
    export: Callable[[UUID], Iterator[Section]]
    erase: Callable[[Act], Mapping[str, int]]
    withheld: Mapping[str, str] = field(default_factory=dict)
    keeps: tuple[CarveOut, ...] = ()
    revoke: Callable[[Act], None] | None = None
    hold: Callable[[Act], None] | None = None
    release: Callable[[Act], None] | None = None
    rank: int = 0


holders: Registry[Holder] = Registry("holders of personal data", required=True)

# Fields that name a person without a foreign key. `actor_ref` and the like are pseudonyms, which die with their key.
_NAMES_A_PERSON = {"user_id", "subject_id", "owner_id", "customer_id", "email", "subject_ref"}


def in_order() -> list[tuple[str, Holder]]:
    """The holders in the order in which they erase."""
    return sorted(holders, key=lambda entry: (entry[1].rank, entry[0]))


def carve_outs() -> list[CarveOut]:
    """All that outlives an erasure."""
    return [carve_out for _, holder in holders for carve_out in holder.keeps]


def uncovered() -> list[str]:
    """Labels of models that lead to a person and are in no holder's `covers`."""
    covered = {label for _, holder in holders for label in holder.covers}
    return sorted(model._meta.label for model in _personal_models() if model._meta.label not in covered)


def unknown_labels() -> list[str]:
    """Labels that a holder covers and that name no model that leads to a person."""
    personal = {model._meta.label for model in _personal_models()}
    return sorted({label for _, holder in holders for label in holder.covers} - personal)


def _personal_models() -> set[type[Model]]:
    """The user model, whatever refers to it directly or through others, and whatever names a person in a column."""
    found: set[type[Model]] = {apps.get_model(settings.AUTH_USER_MODEL)}
    everything = list(apps.get_models(include_auto_created=True))
    found |= {m for m in everything if _NAMES_A_PERSON & {f.name for f in m._meta.get_fields() if f.concrete}}
    while True:
        further = {m for m in everything if m not in found and _refers_to(m, found)}
        if not further:
            return found
        found |= further


def _refers_to(model: type[Model], targets: set[type[Model]]) -> bool:
    return any(f.related_model in targets for f in model._meta.get_fields() if f.is_relation and f.concrete)
