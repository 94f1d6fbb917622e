"""`manage.py demo`: the demo company, loaded through the public ways, then served."""

from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections
from rich.console import Console

from billing_site.demo.chasing import chase_late_payers
from billing_site.demo.errors import DemoFailed
from billing_site.demo.keepsake import Completion, completion, demo_created_at, ensure_api_key
from billing_site.demo.loading import load_demo
from billing_site.demo.report import show_invoices, show_where_to_look
from billing_site.kernel.errors import BillingError
from billing_site.management.commands.serve import addresses
from billing_site.serving.programs import Address, programs
from billing_site.serving.readiness import migrate_if_needed, wait_until_healthy
from billing_site.serving.supervisor import Supervisor
from invoicing.customers.models import Customer

ANSWER_WITHIN_SECONDS = 60
# While it loads, a job that was lost comes again in a minute, not in five.
JOB_PATIENCE = {"JOB_TIMEOUT_SECONDS": "20", "JOB_RETRY_SECONDS": "60"}


class Command(BaseCommand):
    """Load the demo company if it is not there yet, show its invoices, serve it."""

    help = "Load the demo company (about 40 customers, three months and the running one), show its invoices, serve it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--bind", default="127.0.0.1:8000", metavar="HOST:PORT", help="default %(default)s")
        parser.add_argument("--workers", type=int, default=2, metavar="N", help="web processes, default %(default)s")
        parser.add_argument("--no-serve", action="store_true", help="end when the demo is loaded")

    def handle(self, *args: Any, bind: str, workers: int, no_serve: bool, **options: Any) -> None:
        """Migrate, load what is missing, show it; serve unless told otherwise."""
        if not settings.STRIPE_IS_SANDBOX:
            raise CommandError(
                "STRIPE_SECRET_KEY is set: the demo's customers and invoices would go to that account at Stripe.\n"
                "Unset it (also in .env) to use the sandbox."
            )
        console = Console(highlight=False)
        if no_serve:
            web, sandbox = Address.free(), Address.free()
        else:
            web, sandbox = self._own_addresses(bind=bind)
        try:
            migrate_if_needed(say=console.print)
            self._refuse_other_customers()
            noted = completion() or self._load(console, web=web, sandbox=sandbox, workers=workers)
            chase_late_payers(console=console)
        except BillingError as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(f"The database does not do what it should: {error}\nSee `manage.py doctor`.") from error
        url = Address.parse(bind).url
        show_invoices(console=console)
        show_where_to_look(console=console, url=url, api_key=ensure_api_key(), noted=noted, is_served=not no_serve)
        if not no_serve:
            call_command("serve", bind=bind, workers=workers)

    def _own_addresses(self, *, bind: str) -> tuple[Address, Address]:
        web, sandbox = addresses(bind=bind)
        assert sandbox is not None, "without a Stripe key the sandbox plays Stripe"
        return web, sandbox

    def _refuse_other_customers(self) -> None:
        """Refuse to pour the demo into a database that somebody works with."""
        if demo_created_at() is None and Customer.objects.exists():
            raise CommandError(
                "This database holds customers already, and the demo does not mix with them.\n"
                "Give it a data folder of its own: BILLING_DATA_DIR=/path make demo"
            )

    def _load(self, console: Console, *, web: Address, sandbox: Address, workers: int) -> Completion:
        """Start web, worker and sandbox for as long as the demo is loaded; their output goes to a file."""
        log = Path(settings.DATA_DIR) / "log" / "demo.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        found = programs(web=web, web_workers=workers, sandbox=sandbox, public_url=web.url)
        hurried = [replace(program, environment={**program.environment, **JOB_PATIENCE}) for program in found]
        connections.close_all()
        with log.open("a") as output:
            supervisor = Supervisor(programs=hurried, say=console.print, output=output)
            supervisor.stop_on_signals()

            def look() -> None:
                supervisor.look()
                if supervisor.is_stopping:
                    raise DemoFailed("Stopped. Start the demo again to go on where it was.")

            def go_on() -> bool:
                look()
                return True

            try:
                supervisor.start()
                if not wait_until_healthy(url=web.url, seconds=ANSWER_WITHIN_SECONDS, go_on=go_on):
                    raise DemoFailed(f"The web does not say that it is well; its output is in {log}.")
                return load_demo(url=web.url, sandbox_url=sandbox.url, console=console, look=look)
            finally:
                supervisor.stop()
