"""How a lower floor hears from a higher one: it owns a registry, the higher floor fills it."""

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """Named entries, filled in `AppConfig.ready`. Names are unique; iteration is by name.

    With `required=True` iterating an empty registry raises: a feature that would silently do
    nothing because nobody registered is a bug.
    """

    def __init__(self, name: str, *, required: bool = False) -> None:
        self._name, self._required = name, required
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T) -> None:
        if name in self._entries:
            raise ValueError(f"registry {self._name}: {name!r} is registered twice")
        self._entries[name] = entry

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[tuple[str, T]]:
        if self._required and not self._entries:
            raise LookupError(f"registry {self._name} is empty: no app registered anything")
        return iter(sorted(self._entries.items()))
