"""Random weeks of account life through the engine, with its invariants checked after every step."""

import argparse
import sys
import time
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mbt.engine.simulation import Failure, Summary, simulate, tell

_SOAK = 1_000_000
_LINE = 110
_PROGRESS_EVERY_S = 10.0


class Command(BaseCommand):
    help = (
        "Live random weeks through the engine: orders of every kind, cancels, replaces, gaps, halts, corporate actions,"
        " expirations, assignments, restarts. Every invariant is checked after every operation; one that does not hold"
        " is told with the shortest case found and the command that shows it again, and the exit code is 1. The same"
        " seed gives the same digest."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--seed", type=int, default=1, help="number of the first week (default 1)")
        parser.add_argument(
            "--operations", type=int, default=10_000, help="how many, over as many weeks as it takes"
        )
        parser.add_argument("--soak", action="store_true", help=f"{_SOAK:,} operations")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Django's
        operations = _SOAK if options["soak"] else options["operations"]
        if operations < 1:
            raise CommandError("--operations is a whole number above 0.")
        started = time.monotonic()
        told = started

        def progress(summary: Summary) -> None:
            nonlocal told
            if sys.stderr.isatty() and time.monotonic() - told >= _PROGRESS_EVERY_S:
                told = time.monotonic()
                self.stderr.write(f"  {summary.operations:,} operations, {summary.weeks:,} weeks ...")

        summary = simulate(options["seed"], operations, progress=progress)
        self._tell(summary, time.monotonic() - started)
        if summary.failure is not None:
            self._fail(summary.failure)
            raise SystemExit(1)
        if summary.interrupted:
            raise SystemExit(130)

    def _tell(self, summary: Summary, seconds: float) -> None:
        sent, denied = (
            sum(summary.orders.values()),
            sum(n for name, n in summary.denials.items() if name.startswith("Send")),
        )
        filled = sum(summary.filled.values())
        self._line(f"SIMULATION of accounts, from week {summary.seed}")
        if summary.interrupted:
            self._line("Interrupted. So far:")
        self._line(
            f"Operations  {summary.operations:,} in {summary.weeks:,} weeks, with {summary.accounts:,} accounts and"
            f" {summary.quotes:,} quotes"
        )
        self._line(
            f"Orders      {sent:,} accepted, {denied:,} denied; {filled:,} filled, whole or in part, exits included"
        )
        self._line(
            f"Checked     every invariant after every operation; {summary.margin_checks:,} books for margin;"
            f" {summary.replays:,} weeks a second time"
        )
        for title, counts in (
            ("WHAT HAPPENED", summary.kinds),
            ("ACCOUNTS", summary.profiles),
            ("ORDERS ACCEPTED, by what they are, type and time in force", summary.orders),
            ("WHAT WAS SPECIAL ABOUT THEM", summary.traits),
            ("ORDERS FILLED", summary.filled),
            ("HOW ORDERS ENDED", summary.ends),
            ("DENIALS", summary.denials),
            ("DENIED TO THE ENGINE ITSELF", summary.refused),
            ("FILLS, by rule", summary.fills),
            ("POSTINGS", summary.postings),
        ):
            self._table(title, counts)
        self._line(
            f"\nTook {seconds:.1f} s, {summary.operations / max(seconds, 0.001):,.0f} operations a second"
        )
        self._line(f"Digest of all ledgers: {summary.digest}")

    def _table(self, title: str, counts: Counter[str]) -> None:
        """The most frequent first, as many in a line as there is room for."""
        if not counts:
            return
        self._line(f"\n{title} ({sum(counts.values()):,})")
        line = " "
        for name, count in counts.most_common():
            cell = f" {name} {count:,}"
            if len(line) + len(cell) >= _LINE:
                self._line(line)
                line = " "
            line += cell + ","
        self._line(line.rstrip(","))

    def _fail(self, failure: Failure) -> None:
        self._line(f"\nNOT TRUE: {failure.invariant}")
        self._line(f"  {failure.message}")
        self._line(f"  in the week of seed {failure.seed}, after {failure.operations:,} operations")
        if failure.least:
            self._line(f"\nThe shortest case found, {len(failure.least)} operations:")
            for operation in failure.least:
                self._line(f"  {tell(operation)}")
        self._line(f"\nSee it again:\n  {failure.command}")

    def _line(self, text: str) -> None:
        self.stdout.write(text)
