import json
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.pseudonym import OPERATOR_SHELL
from console import selectors, switches
from console.services.switches import preview, set_switch
from console.switches import Mode, State
from raxx.kernel import clock
from raxx.kernel.errors import RaxxError

FAILED, FOUND_PROBLEMS = 1, 3
_VERBS = {"halt": Mode.HALTED, "reduce": Mode.REDUCING, "release": Mode.ACTIVE}


class Command(BaseCommand):
    help = (
        "Show or set the kill switches: `switch list`, `switch halt KEY --reason TEXT` (no orders), `switch reduce KEY "
        "--reason TEXT` (only orders that close), `switch release KEY --reason TEXT`. KEY is global, broker:mbt, "
        "symbol:AAPL, user:ID or account:ID. Cancels always pass. Exit code 0 done, 1 failed, 2 usage, 3 done but not all "
        "is well (an order is still under way, the environment still stops it, or a second person must confirm)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("verb", choices=["list", *_VERBS])
        parser.add_argument("key", nargs="?", help="for example broker:mbt, which is all paper trading")
        parser.add_argument("--reason", default="", help="why; shown to users and kept in the record")
        parser.add_argument(
            "--until",
            type=datetime.fromisoformat,
            help="when users are told that it should end, like 2026-11-20T15:30Z",
        )
        parser.add_argument("--json", action="store_true", help="print the switches as JSON")

    def handle(
        self, *args: Any, verb: str, key: str | None, reason: str, until: datetime | None, **options: Any  # noqa: ANN401 - as its base has it
    ) -> None:  # fmt: skip
        problem = ""
        if verb != "list":
            if key is None:
                raise CommandError(f"switch {verb} needs a KEY, like broker:mbt", returncode=2)
            if until is not None and until.tzinfo is None:
                raise CommandError("--until needs a time zone, like 2026-11-20T15:30Z", returncode=2)
            problem = self._change(key, _VERBS[verb], reason, until)
        states = selectors.stops()
        if options["json"]:
            self.stdout.write(json.dumps([_plain(state) for state in states]))
        elif not states:
            self.stdout.write("Nothing is stopped.")
        else:
            for state in states:
                self.stdout.write(_line(state))
        if problem:
            raise CommandError(problem, returncode=FOUND_PROBLEMS)

    def _change(self, key: str, mode: Mode, reason: str, until: datetime | None) -> str:
        """What is not well afterwards, or ""."""
        try:
            touched = preview(key)
            done = set_switch(
                key=key, mode=mode, reason=reason, actor=OPERATOR_SHELL, now=clock.now(), until=until
            )
        except RaxxError as refusal:
            raise CommandError(refusal.message, returncode=FAILED) from refusal
        for line in touched:
            self.stderr.write(line)
        if done.asked:
            return f"{key} is still stopped: another operator must release it too, within an hour, on the operator site."
        if not done.drained:
            return f"{key} is set, but a submission that began before is still under way. Run this again to wait for it."
        left = switches.read([key])
        if left.mode.strictness > mode.strictness:
            return f"{key} is {mode} in the database and still {left.mode}: {left.name} ({left.source}). Change it there."
        return ""


def _line(state: State) -> str:
    since = f" since {state.since:%Y-%m-%d %H:%M:%S} UTC" if state.since else ""
    until = f", expected until {state.until:%Y-%m-%d %H:%M} UTC" if state.until else ""
    return f"{state.name:<26} {state.mode.upper()} ({state.source}){since}{until}: {state.reason}"


def _plain(state: State) -> dict[str, object]:
    return {
        "name": state.name, "mode": state.mode, "source": state.source, "reason": state.reason,
        "since": state.since and state.since.isoformat(), "until": state.until and state.until.isoformat(),
    }  # fmt: skip
