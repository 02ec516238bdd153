"""docs/security.md: what it names is there, and it leaves out no requirement of level 1 or 2."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
DOCUMENT = ROOT / "docs" / "security.md"
NAMED = re.compile(r"(?<![\w/])([\w/]+\.py)(?:::(\w+))?")
ROW = re.compile(r"^\| ([\d., –]+) \|", re.MULTILINE)
# OWASP ASVS 5.0.0, levels 1 and 2: section → its last requirement of any level, and those that are of level 3 alone.
SECTIONS: dict[str, tuple[int, set[int]]] = {
    "1.1": (2, set()), "1.2": (10, {10}), "1.3": (12, {12}), "1.4": (3, set()), "1.5": (3, {3}),
    "2.1": (3, set()), "2.2": (3, set()), "2.3": (5, {5}), "2.4": (2, {2}),
    "3.2": (3, {3}), "3.3": (5, {5}), "3.4": (8, {7, 8}), "3.5": (8, {6, 7, 8}), "3.7": (5, {3, 4, 5}),
    "4.1": (5, {4, 5}), "4.2": (5, {2, 3, 4, 5}), "4.3": (2, set()), "4.4": (4, set()),
    "5.1": (1, set()), "5.2": (6, {4, 5, 6}), "5.3": (3, {3}), "5.4": (3, set()),
    "6.1": (3, set()), "6.2": (12, {12}), "6.3": (8, {4, 5, 6, 7, 8}), "6.4": (6, {5, 6}), "6.5": (8, {6, 7, 8}),
    "6.6": (4, {4}), "6.8": (4, set()),
    "7.1": (3, set()), "7.2": (4, set()), "7.3": (2, set()), "7.4": (5, set()), "7.5": (3, {3}), "7.6": (2, set()),
    "8.1": (4, {3, 4}), "8.2": (4, {4}), "8.3": (3, {2, 3}), "8.4": (2, {2}),
    "9.1": (3, set()), "9.2": (4, set()),
    "11.1": (4, {3, 4}), "11.2": (5, {4, 5}), "11.3": (5, {4, 5}), "11.4": (4, set()), "11.5": (2, {2}), "11.6": (2, {2}),
    "12.1": (5, {4, 5}), "12.2": (2, set()), "12.3": (5, {5}),
    "13.1": (4, {2, 3, 4}), "13.2": (6, {6}), "13.3": (4, {3, 4}), "13.4": (7, {6, 7}),
    "14.1": (2, set()), "14.2": (8, {5, 6, 7, 8}), "14.3": (3, set()),
    "15.1": (5, {4, 5}), "15.2": (5, {4, 5}), "15.3": (7, set()), "15.4": (4, {1, 2, 3, 4}),
    "16.1": (1, set()), "16.2": (5, set()), "16.3": (4, set()), "16.4": (3, set()), "16.5": (4, {4}),
}  # fmt: skip


@cache
def functions_of(path: str) -> frozenset[str]:
    """Names of all functions of a file, also of those within others."""
    tree = ast.parse((TESTS / path).read_text())
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def named() -> list[tuple[str, str]]:
    """Every file that the document names, with the test where one is named."""
    return [(found[1], found[2] or "") for found in NAMED.finditer(DOCUMENT.read_text())]


def test_every_test_that_is_named_exists() -> None:
    found = named()
    assert len([test for _, test in found if test]) > 100
    missing = [
        f"{path}::{test}"
        for path, test in found
        if not ((TESTS if test else ROOT) / path).is_file() or (test and test not in functions_of(path))
    ]
    assert missing == []


def test_what_is_named_as_a_test_is_collected() -> None:
    assert [name for name in named() if name[1] and not name[1].startswith("test_")] == []


@pytest.mark.parametrize("section", SECTIONS)
def test_no_requirement_is_left_out(section: str) -> None:
    last, of_level_3 = SECTIONS[section]
    wanted = set(range(1, last + 1)) - of_level_3
    told = {int(number) for row in ROW.findall(DOCUMENT.read_text()) for number in numbers(row, section)}
    assert wanted - told == set(), f"{section}: not in docs/security.md"


def numbers(row: str, section: str) -> list[int]:
    """`1.2.1, 1.2.3–5` → 1, 3, 4, 5 for section 1.2."""
    found: list[int] = []
    prefix = ""
    for part in row.replace(" ", "").split(","):
        first, _, last = part.partition("–")
        prefix, _, start = first.rpartition(".") if "." in first else (prefix, "", first)
        if prefix == section:
            found += range(int(start), int(last or start) + 1)
    return found
