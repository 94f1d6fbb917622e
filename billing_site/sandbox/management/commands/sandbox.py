"""`manage.py sandbox`: the HTTP twin of Stripe, in the foreground."""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing_site.sandbox.server import running

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Command(BaseCommand):
    """Serves until Ctrl-C or SIGTERM."""

    help = "Run the sandbox that stands in for Stripe (loopback only)."
    # Nothing of the product's addresses or admin runs here.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--bind", default=settings.SANDBOX_BIND, help="host:port, default %(default)s")

    def handle(self, *args: Any, bind: str, **options: Any) -> None:
        """Serve and deliver."""
        host, _, port = bind.rpartition(":")
        if host.strip("[]") not in LOOPBACK or not port.isdecimal():
            raise CommandError(f"--bind takes a loopback address and a port, such as 127.0.0.1:12111; got {bind!r}")
        stopping = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopping.set())
        try:
            with running(host=host.strip("[]"), port=int(port)) as server:
                self.stdout.write(
                    f"Sandbox on http://{host}:{server.server_port}, webhooks to {settings.SANDBOX_WEBHOOK_URL}"
                )
                self.stdout.flush()
                stopping.wait()
        except OSError as error:
            raise CommandError(f"Cannot listen on {bind}: {error.strerror}") from error
