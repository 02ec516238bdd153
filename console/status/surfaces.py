"""The surfaces of config/status-surfaces.yaml."""

from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml
from django.conf import settings

FILE = "config/status-surfaces.yaml"

Words = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{1,62}$")]


class Surface(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the status page. The two fields about partners exist to be null: nobody is named in public."""

    id: Name
    display_name: Words
    category: Literal["core", "downstream_3p"]
    public_description: Words
    probes: list[str]
    partner_name: None
    partner_status_url: None
    feature_flag: str | None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    surfaces: list[Surface]


def read(file: Path) -> tuple[Surface, ...]:
    """Raises ValueError, which names file and place, for anything that is not as it must be."""
    try:
        found = msgspec.convert(yaml.safe_load(file.read_text()), _File).surfaces
    except (msgspec.ValidationError, yaml.YAMLError) as problem:
        raise ValueError(f"{file}: {problem}") from problem
    ids = [surface.id for surface in found]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ValueError(f"{file}: the surface {twice[0]} is named twice")
    return tuple(found)


@cache
def all_surfaces() -> tuple[Surface, ...]:
    return read(Path(settings.BASE_DIR) / FILE)


def shown(flags_on: Collection[str]) -> tuple[Surface, ...]:
    """Those that visitors see: without a flag, or with one that is on for everybody."""
    return tuple(s for s in all_surfaces() if s.feature_flag is None or s.feature_flag in flags_on)
