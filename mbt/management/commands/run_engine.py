"""The engine process."""

import argparse
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mbt.services.engine import Engine
from raxx.kernel import valkey
from raxx.market.board import Board
from raxx.market.feeds.base import Feed
from raxx.market.feeds.replay import ReplayFeed
from raxx.market.feeds.simulated import SimulatedFeed


class Command(BaseCommand):
    help = "Fill the orders of one feed until stopped. One engine per feed; a second one is refused."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--feed", choices=("simulated", "replay"), default=settings.RAXX_FEED)
        parser.add_argument("--tape", nargs="+", metavar="PATH", help="recorded quotes, for --feed replay")
        parser.add_argument("--speed", default="1", help="tape seconds per second, or max (default 1)")
        parser.add_argument(
            "--pauses-a-day",
            type=int,
            default=0,
            help="five-minute pauses of single stocks a day, for --feed simulated (default 0)",
        )
        parser.add_argument("--name", help="the replay's feed name; accounts trade on it by this name")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Django's
        feed = _feed(options)
        engine = Engine(feed, Board(valkey.shared(), feed.name))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: engine.stop())
        engine.start()
        engine.run()
        feed.close()


def speed(text: str) -> float | None:
    """`max` is None. Raises CommandError."""
    if text == "max":
        return None
    try:
        value = float(text)
    except ValueError:
        raise CommandError(f"--speed is a number above 0 or max, not {text!r}.") from None
    return value


def _feed(options: dict[str, Any]) -> Feed:
    if options["feed"] == "simulated":
        return SimulatedFeed(seed=settings.RAXX_FEED_SEED, pauses_a_day=options["pauses_a_day"])
    if not options["tape"]:
        raise CommandError("--feed replay needs --tape PATH…")
    return ReplayFeed(options["tape"], speed=speed(options["speed"]), name=options["name"])
