"""manage.py drill: let the sandbox fail while invoices go through it, and show that each arrives once."""

import time
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_site.drills import stripe
from billing_site.drills.settings import DEFAULT_PERCENTS
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.tasks import sweep_payments

# How long nothing is looked at again while the worker works.
PAUSE_SECONDS = 1.0
LOOK_EVERY_SECONDS = 10.0


class Command(BaseCommand):
    """Run one drill against the sandbox of a running `serve`; exit 1 if something does not hold."""

    help = "Let the sandbox fail while invoices go through it, and check that each arrives once. Never with a key of Stripe's."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare how many invoices, and which faults in percent."""
        parser.add_argument("--name", default="", help="of the drill; default: the present moment")
        parser.add_argument("--invoices", type=int, default=20)
        parser.add_argument("--minutes", type=int, default=10, help="give up after so long (%(default)s)")
        parser.add_argument("--clock-skew", type=int, default=0, help="seconds by which the sandbox's clock is wrong")
        for kind in stripe.FAULTS:
            parser.add_argument(
                f"--{kind.replace('_', '-')}", type=int, default=DEFAULT_PERCENTS.get(kind, 0), metavar="PERCENT"
            )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the invoices, wait, check, and call the faults off whatever happens."""
        at = now()
        name = options["name"] or f"{at:%Y%m%d%H%M%S}"
        try:
            stripe.require_sandbox()
            stripe.order_faults(
                percents={kind: options[kind] for kind in stripe.FAULTS}, clock_skew_seconds=options["clock_skew"]
            )
            try:
                made = stripe.make_invoices(name=name, count=options["invoices"], at=at)
                self.stdout.write(f"drill {name}: {len(made)} invoices issued")
                self._wait(name, began=at, seconds=options["minutes"] * 60)
            finally:
                stripe.order_faults(percents={})
            checks = stripe.check(name=name)
        except BillingError as problem:
            raise CommandError(problem.message) from problem
        for one in checks:
            style = self.style.SUCCESS if one.holds else self.style.ERROR
            self.stdout.write(style(f"{'green' if one.holds else 'RED  '}  {one.name}: {one.evidence}"))
        if not all(one.holds for one in checks):
            raise CommandError("Something does not hold.")
        self.stdout.write(f"All holds after {(now() - at).total_seconds():.0f} s.")

    def _wait(self, name: str, *, began: datetime, seconds: int) -> None:
        looked_at = time.monotonic()
        while not stripe.is_over(name=name) and (now() - began).total_seconds() < seconds:
            time.sleep(PAUSE_SECONDS)
            # What the scheduler does once a minute and once a day: nobody waits for that here.
            sweep_payments()
            if time.monotonic() - looked_at > LOOK_EVERY_SECONDS:
                looked_at = time.monotonic()
                look(name)


def look(name: str) -> None:
    """Look for news that were lost; what fails meanwhile is looked at the next time."""
    try:
        stripe.look_for_lost_news(name=name, at=now())
    except BillingError:
        return
