import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.pseudonym import OPERATOR_SHELL
from console import switches
from console.services.switches import set_switch
from console.switches import Switch
from raxx.kernel import clock
from raxx.kernel.errors import RaxxError

FAILED, FOUND_PROBLEMS = 1, 3


class Command(BaseCommand):
    help = (
        "Show or change the kill switches: `switch list`, `switch on NAME --reason TEXT`, `switch off NAME --reason TEXT`. "
        "Exit code 0 done, 1 failed, 2 usage, 3 done but not all is well (an order is still under way, or the "
        "environment keeps the switch on)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("verb", choices=["list", "on", "off"])
        parser.add_argument("name", nargs="?", choices=[switch.value for switch in Switch])
        parser.add_argument("--reason", default="", help="why; shown to users and kept in the record")
        parser.add_argument("--json", action="store_true", help="print the switches as JSON")

    def handle(self, *args: Any, verb: str, name: str | None, reason: str, **options: Any) -> None:  # noqa: ANN401 - as its base has it
        problem = ""
        if verb != "list":
            if name is None:
                raise CommandError(f"switch {verb} needs a NAME: {', '.join(Switch)}", returncode=2)
            problem = self._change(Switch(name), on=verb == "on", reason=reason)
        states = switches.read()
        if options["json"]:
            self.stdout.write(json.dumps({switch: _plain(state) for switch, state in states.items()}))
        else:
            for switch, state in states.items():
                self.stdout.write(_line(switch, state))
        if problem:
            raise CommandError(problem, returncode=FOUND_PROBLEMS)

    def _change(self, name: Switch, *, on: bool, reason: str) -> str:
        """What is not well afterwards, or ""."""
        try:
            done = set_switch(name=name, on=on, reason=reason, actor=OPERATOR_SHELL, now=clock.now())
        except RaxxError as refusal:
            raise CommandError(refusal.message, returncode=FAILED) from refusal
        if not done.drained:
            return f"{name} is on, but a submission that began before is still under way. Run this again to wait for it."
        state = switches.read()[name]
        if state.on and not on:
            return f"{name} is off in the database and still on: {state.source}. Change the environment to release it."
        return ""


def _line(switch: Switch, state: switches.State) -> str:
    if not state.on:
        return f"{switch:<26} off"
    since = f" since {state.since:%Y-%m-%d %H:%M:%S} UTC" if state.since else ""
    return f"{switch:<26} ON ({state.source}){since}: {state.reason}"


def _plain(state: switches.State) -> dict[str, object]:
    since = state.since.isoformat() if state.since else None
    return {"on": state.on, "source": state.source, "reason": state.reason, "since": since}
