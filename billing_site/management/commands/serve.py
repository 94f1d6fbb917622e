"""`manage.py serve`: web, worker, scheduler and (where it plays Stripe) the sandbox, in the foreground."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections

from billing_site.kernel.errors import BillingError
from billing_site.serving.programs import Address, programs, public_url_for
from billing_site.serving.readiness import install_schedules_and_roles, migrate_if_needed, wait_until_healthy
from billing_site.serving.supervisor import Supervisor

ANSWER_WITHIN_SECONDS = 60


class Command(BaseCommand):
    """One foreground process that looks after the others; Ctrl-C or SIGTERM ends them all."""

    help = "Run web, worker and scheduler (and the sandbox, where no Stripe key is set) until Ctrl-C or SIGTERM."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--bind", default="127.0.0.1:8000", metavar="HOST:PORT", help="default %(default)s")
        parser.add_argument("--workers", type=int, default=2, metavar="N", help="web processes, default %(default)s")

    def handle(self, *args: Any, bind: str, workers: int, **options: Any) -> None:
        """Check the addresses, migrate, start, wait for the web, look after them, stop."""
        web, sandbox = addresses(bind=bind)
        if workers < 1:
            raise CommandError("--workers must be at least 1")
        try:
            migrate_if_needed(say=self._say)
            install_schedules_and_roles()
        except (DatabaseError, BillingError) as error:
            raise CommandError(f"The database does not do what it should: {error}\nSee `manage.py doctor`.") from error
        connections.close_all()
        public_url = public_url_for(web=web)
        supervisor = Supervisor(
            programs=programs(web=web, web_workers=workers, sandbox=sandbox, public_url=public_url), say=self._say
        )
        supervisor.stop_on_signals()
        try:
            supervisor.start()
            self._tell_where(supervisor, web=web, sandbox=sandbox)
            supervisor.run()
        finally:
            self._say("Stopping ...")
            supervisor.stop()
        self._say("Stopped.")

    def _tell_where(self, supervisor: Supervisor, *, web: Address, sandbox: Address | None) -> None:
        """Wait until the web answers, then say where."""

        def go_on() -> bool:
            supervisor.look()
            return not supervisor.is_stopping

        if not wait_until_healthy(url=web.url, seconds=ANSWER_WITHIN_SECONDS, go_on=go_on):
            if not supervisor.is_stopping:
                self._say("The web does not say that it is well: see /health and `manage.py doctor`.")
            return
        self._say(f"Back office  {web.url}/admin/")
        self._say(f"API          {web.url}/api/docs/")
        if sandbox is not None:
            self._say(f"Stripe       the sandbox, {sandbox.url} (no STRIPE_SECRET_KEY is set)")
        self._say("Ctrl-C stops everything.")

    def _say(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def addresses(*, bind: str) -> tuple[Address, Address | None]:
    """Return where web and sandbox are to listen; raises CommandError where that cannot be."""
    try:
        web = Address.parse(bind)
        sandbox = Address.parse(settings.SANDBOX_BIND) if settings.STRIPE_IS_SANDBOX else None
    except ValueError as error:
        raise CommandError(str(error)) from error
    if web.is_taken():
        raise CommandError(
            f"{web} cannot be listened on: another program does already, or it is not an address of this machine.\n"
            "Choose another with --bind 127.0.0.1:PORT."
        )
    if sandbox is not None and sandbox.is_taken():
        raise CommandError(
            f"The sandbox's address {sandbox} is taken: another `serve` may be running.\n"
            "Choose another with SANDBOX_BIND=127.0.0.1:PORT in the environment."
        )
    return web, sandbox
