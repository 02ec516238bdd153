"""What every yardstick shares: contestants in turn, medians over rounds, tables, and goals.

On a shared machine absolute numbers swing by a factor of two. So whatever is compared runs in one
process start, contestants in turn, round after round; a result is the median of its rounds, and a
ratio is the median of the ratios of each round. One-threaded work is clocked by the CPU time of the
process, which leaves out what other programs took.
"""

import argparse
import gc
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

# Sets up outside of the clock, and gives what is timed; that gives how many units it has done.
Contestant: TypeAlias = Callable[[], Callable[[], int]]
# Units per second, round by round, of each contestant.
Rates: TypeAlias = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Options:
    """`quick`: small sizes and few rounds, to see that everything still works. `yardstick`: also measure
    against programs that must be downloaded first."""

    quick: bool = False
    yardstick: bool = False
    rounds: int = 7

    def size(self, whole: int, quick: int) -> int:
        return quick if self.quick else whole


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal of the product's, and what was measured. `limit` is the least, or with `at_most` the most."""

    name: str
    measured: float
    limit: float
    at_most: bool = False
    unit: str = "x"

    @property
    def is_met(self) -> bool:
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    def __str__(self) -> str:
        sign, word = "≤" if self.at_most else "≥", "met" if self.is_met else "MISSED"
        found, limit = (
            f"{_plain(value)} {self.unit}" if self.unit else f"{value:g}"
            for value in (self.measured, self.limit)
        )
        return f"{word:6}  {self.name}: {found} (goal {sign} {limit})"


@dataclass
class Report:
    """Prints as it goes, and keeps the goals for the end."""

    title: str
    goals: list[Goal] = field(default_factory=list)

    def begin(self) -> None:
        load = os.getloadavg()[0]
        print(
            f"\n# {self.title}\n  {os.cpu_count()} cores, load {load:.2f}, Python {sys.version.split()[0]}",
            flush=True,
        )

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Rows of cells, the first column to the left."""
        cells = [[_cell(value) for value in row] for row in rows]
        widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
        print(f"\n  {title}")
        for first, *rest in [list(columns), *cells]:
            print("    " + "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]))
        sys.stdout.flush()

    def rates(self, title: str, rates: Rates, *, base: str, unit: str) -> None:
        """Medians, ratios to `base`, and how far the rounds lie apart."""
        rows = [
            [name, statistics.median(found), ratio(rates, name, base), f"{_spread(found):.0%}"]
            for name, found in rates.items()
        ]
        self.table(title, ["", unit, f"of {base}", "spread"], rows)

    def say(self, text: str) -> None:
        print(f"    {text}", flush=True)

    def goal(
        self,
        name: str,
        measured: float,
        *,
        least: float | None = None,
        most: float | None = None,
        unit: str = "x",
    ) -> None:
        """Judge a measured value by the `least` or the `most` that it should be."""
        limit = most if least is None else least
        assert limit is not None
        goal = Goal(name, measured, limit, at_most=least is None, unit=unit)
        self.goals.append(goal)
        print(f"    → {goal}", flush=True)


def interleave(
    contestants: Mapping[str, Contestant],
    *,
    rounds: int,
    clock: Callable[[], float] = time.process_time,
    warm: int = 1,
) -> Rates:
    """Run all in turn, `rounds` times after `warm` rounds that do not count.

    Give `time.perf_counter` as the clock where the work waits for somebody else.
    """
    found: Rates = {name: [] for name in contestants}
    for number in range(warm + rounds):
        for name, contestant in contestants.items():
            run = contestant()
            gc.collect()
            began = clock()
            units = run()
            took = clock() - began
            if number >= warm:
                found[name].append(units / took)
    return found


def ratio(rates: Mapping[str, Sequence[float]], name: str, base: str) -> float:
    """How often `name` is as fast as `base`: the median over the rounds."""
    return statistics.median(a / b for a, b in zip(rates[name], rates[base], strict=True))


def percentile(values: Sequence[float], per_cent: float) -> float:
    """The smallest value that is not below `per_cent` of them. Source: the nearest-rank definition."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * per_cent / 100) - 1)]


def spread_row(name: str, values_ms: Sequence[float]) -> list[object]:
    """Name, count, and the 50th, 95th and 99th percentile and the maximum."""
    return [name, len(values_ms), *(percentile(values_ms, p) for p in (50, 95, 99)), max(values_ms)]


SPREAD_COLUMNS = ["ms", "count", "p50", "p95", "p99", "max"]


def main(run: Callable[[Options, Report], None], title: str, arguments: Sequence[str] | None = None) -> None:
    """The command line of one script."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds")
    parser.add_argument(
        "--yardstick", action="store_true", help="also programs that must be downloaded first"
    )
    parser.add_argument("--rounds", type=int, help="rounds that count (default 7, quick 3)")
    parser.add_argument("--goals", type=Path, help="write what became of the goals to this file, as JSON")
    given = parser.parse_args(arguments)
    options = Options(given.quick, given.yardstick, given.rounds or (3 if given.quick else 7))
    report = Report(title)
    report.begin()
    began = time.perf_counter()
    run(options, report)
    report.say(f"took {time.perf_counter() - began:.0f} s")
    if given.goals:
        given.goals.write_text(json.dumps([asdict(goal) for goal in report.goals]))


def _spread(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / statistics.median(values)


def _cell(value: object) -> str:
    return (
        _plain(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )


def _plain(value: float) -> str:
    """Three significant digits, and no decimals where they say nothing."""
    size = abs(value)
    places = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.095 else 3
    return f"{value:,.{places}f}"
