"""Which functions of the product can reach which others, read from the source.

A call is followed where the source says whom it means: a function of the same module, an imported one, a
method of `self`, of a class of the product, or of whatever has a method of that name. So it sees too many
ways rather than too few; what is really done, `tests/witness.py` sees.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPS = ("audit", "console", "mbt", "raxx")
# Names of methods that so many things have that following them by name says nothing.
_COMMON = frozenset([
    "add", "all", "append", "clear", "close", "copy", "count", "create", "delete", "execute", "exists",
    "extend", "fetchone", "filter", "first", "get", "items", "join", "keys", "last", "pop", "read",
    "record", "register", "save", "send", "set", "split", "start", "stop", "strip", "update", "values",
    "wait", "write",
])  # fmt: skip
_CHANGING_METHODS = frozenset(
    ["save", "create", "update", "delete", "bulk_create", "bulk_update", "get_or_create", "update_or_create"]
)
_CHANGING_SQL = re.compile(
    r"(?<!FOR )(?<!KEY )(?<!DO )\b(?:INSERT INTO|UPDATE|DELETE FROM|MERGE INTO)\s+(?:ONLY\s+)?[a-z_]+\b"
)


@dataclass(eq=False)
class Function:
    """`calls` names functions as `module.qualname`, or `?.name` for a method of something unknown."""

    name: str
    module: str
    is_public: bool
    calls: set[str] = field(default_factory=set)
    changes: bool = False


class CallGraph:
    """Of all modules of the product."""

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}
        for path in sorted(path for app in APPS for path in (ROOT / app).rglob("*.py")):
            if "migrations" not in path.parts:
                for found in _Module(path).functions():
                    self.functions[found.name] = found

    def records(self, name: str) -> bool:
        """Whether it, or what it calls, writes into the record."""
        return name in self._recording

    def changes(self, name: str) -> bool:
        """Whether it, or what it calls, changes a table."""
        return name in self._changing

    @cached_property
    def _recording(self) -> set[str]:
        return self._that_reach(
            {name for name in self.functions if name.startswith(("audit.log.record", "audit.log.values"))}
        )

    @cached_property
    def _changing(self) -> set[str]:
        return self._that_reach({name for name, found in self.functions.items() if found.changes})

    def _that_reach(self, wanted: set[str]) -> set[str]:
        callers = self._callers
        seen, todo = set[str](), list(wanted)
        while todo:
            current = todo.pop()
            if current not in seen:
                seen.add(current)
                todo += callers.get(current, ())
        return seen

    @cached_property
    def _callers(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, function in self.functions.items():
            for call in function.calls:
                for called in (
                    self._by_method.get(call[2:], []) if call.startswith("?.") else self._exact(call)
                ):
                    found.setdefault(called, set()).add(name)
        return found

    def _exact(self, call: str) -> list[str]:
        """A class stands for its making and, for what Django or DRF calls by itself, for nothing more."""
        return [call] if call in self.functions else [f"{call}.__init__", f"{call}.__post_init__", call]

    @cached_property
    def _by_method(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.functions:
            method = name.rpartition(".")[2]
            if method not in _COMMON:
                found.setdefault(method, []).append(name)
        return found


class _Module:
    def __init__(self, path: Path) -> None:
        parts = path.relative_to(ROOT).with_suffix("").parts
        self._name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self._package = self._name if path.name == "__init__.py" else self._name.rpartition(".")[0]
        self._tree = ast.parse(path.read_text())
        self._imported = dict(self._imports())
        self._own = {
            node.name
            for node in self._tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        self._sql = {
            target.id
            for node in self._tree.body
            if isinstance(node, ast.Assign) and _CHANGING_SQL.search(ast.unparse(node).replace("\\n", " "))
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def functions(self) -> Iterator[Function]:
        yield from self._in(self._tree.body, prefix="", owner="")

    def _in(self, body: Iterable[ast.stmt], *, prefix: str, owner: str) -> Iterator[Function]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from self._in(node.body, prefix=f"{prefix}{node.name}.", owner=f"{prefix}{node.name}")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found = Function(
                    f"{self._name}.{prefix}{node.name}", self._name, is_public=not node.name.startswith("_")
                )
                self._read(node, found, owner)
                yield found

    def _read(self, function: ast.AST, found: Function, owner: str) -> None:
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and node.id in self._sql:
                found.changes = True
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.changes |= bool(_CHANGING_SQL.search(node.value))
            # Also a function that is only named: it may be handed on, to a thread or after the commit.
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                if node.id in self._own:
                    found.calls.add(f"{self._name}.{node.id}")
                elif node.id in self._imported:
                    found.calls.add(self._imported[node.id])
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                self._read_attribute(node, found, owner)
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in _CHANGING_METHODS
                and _is_model(node.func.value)
            ):
                found.changes = True

    def _read_attribute(self, node: ast.Attribute, found: Function, owner: str) -> None:
        base = node.value
        if isinstance(base, ast.Name) and base.id in self._imported:
            found.calls.add(f"{self._imported[base.id]}.{node.attr}")
        elif isinstance(base, ast.Name) and base.id in ("self", "cls") and owner:
            found.calls.add(f"{self._name}.{owner}.{node.attr}")
            found.calls.add(f"?.{node.attr}")
        else:
            found.calls.add(f"?.{node.attr}")

    def _imports(self) -> Iterator[tuple[str, str]]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.asname or alias.name.partition(".")[0], alias.name
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    base = f"{self._package}.{base}".rstrip(".")
                for alias in node.names:
                    yield alias.asname or alias.name, f"{base}.{alias.name}"


def _is_model(node: ast.expr) -> bool:
    """`Row.objects….update`, `row.save`: not `digest.update` or `seen.update` of a plain name in small letters."""
    text = ast.unparse(node)
    return (
        ".objects" in text
        or re.fullmatch(r"[a-z_]+|self", text) is None
        or text in ("row", "obj", "account", "user", "order")
    )
