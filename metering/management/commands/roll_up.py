"""`manage.py roll_up`: count accepted events into their windows, once or without end."""

import signal
import threading
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from billing_site.kernel.words import counted
from metering.rolling import INTERVAL_SECONDS, keep_rolling
from metering.rollup import roll_up


class Command(BaseCommand):
    """Roll up what was accepted; with --watch until Ctrl-C or SIGTERM, looking twice a second."""

    help = "Count accepted events into hourly windows; --watch goes on until Ctrl-C or SIGTERM."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take how often to look."""
        parser.add_argument("--watch", action="store_true", help="go on until Ctrl-C or SIGTERM")
        parser.add_argument(
            "--interval-seconds",
            type=_seconds,
            default=INTERVAL_SECONDS,
            metavar="SECONDS",
            help="how often to look, default %(default)s",
        )

    def handle(self, *args: Any, watch: bool, interval_seconds: float, **options: Any) -> None:
        """Roll up."""
        if not watch:
            report = roll_up()
            events, windows = counted("event", report.events), counted("window", report.windows)
            self.stdout.write(
                f"{report.events} {events} in {report.windows} {windows}, up to event {report.rolled_up_to}"
            )
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)
        with suppress(KeyboardInterrupt):
            keep_rolling(stopped=threading.Event(), interval_seconds=interval_seconds)


def _end(*_: object) -> None:
    """End at once, whatever is being done: psycopg cancels the statement, and PostgreSQL forgets the transaction."""
    raise KeyboardInterrupt


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise ValueError(text)
    return seconds
