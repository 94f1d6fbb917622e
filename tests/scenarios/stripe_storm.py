"""A storm over the rail to Stripe: 429, 500, answers lost after their effect, webhooks lost, doubled and out of order, and workers killed at random.

    python -m tests.scenarios.stripe_storm --invoices 5000 [--seed 1] [--kills 20]

The product is served as in production, on a database of its own. While the storm lasts all invoices are chased as if they were months late. Afterwards
each invoice is in the sandbox once and paid once, each payment is booked once, nobody was restricted or suspended, nothing is left over and `verify`
is content. Only processes that were started here are killed.
"""

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.scenarios.crash import JOB_RETRY_SECONDS, JOB_TIMEOUT_SECONDS, House, fresh_connection

# Per hundred calls, and per hundred webhooks (20 of which something happens to).
WEATHER = {
    "rate_limit": 10,
    "http_500": 5,
    "timeout_after_effect": 5,
    "drop_webhooks": 7,
    "duplicate_webhooks": 7,
    "reorder_webhooks": 6,
}
NAME = "storm"
LOOK_EVERY_SECONDS = 2.0
CHASE_EVERY_SECONDS = 20.0
SAY_EVERY_SECONDS = 60.0
# Dunning lives so far ahead that all is late, and so much further on each time that a step is due.
CHASED_AHEAD = timedelta(days=60)
CHASED_FURTHER = timedelta(days=4)
# The daily look begins with what was pushed an hour ago.
LATER = timedelta(hours=2)


@dataclass
class Storm:
    """A storm while it lasts: what was killed, and how often everybody was chased."""

    house: House
    invoices: int
    kills: int
    killed: list[str] = field(default_factory=list)
    chased: int = 0
    looked_for: int = 0

    def wait(self, *, minutes: float) -> None:
        """Wait until everything is paid, killing now and then: evenly over what is paid by then."""
        from django.db import Error

        from billing_site.drills import stripe
        from billing_site.kernel.errors import BillingError

        began = time.monotonic()
        chase_at = say_at = began
        while time.monotonic() - began < minutes * 60:
            time.sleep(LOOK_EVERY_SECONDS)
            with contextlib.suppress(Error, BillingError), fresh_connection():
                if stripe.is_over(name=NAME):
                    return
                paid = self._paid()
                if len(self.killed) < self.kills and paid >= self.invoices * 0.95 * len(self.killed) / self.kills:
                    self.killed.append(kill_a_worker(self.house))
                self._sweep()
                if time.monotonic() > chase_at:
                    chase_at = time.monotonic() + CHASE_EVERY_SECONDS
                    self.chase()
                if time.monotonic() > say_at:
                    say_at = time.monotonic() + SAY_EVERY_SECONDS
                    print(f"{time.monotonic() - began:6.0f} s: {paid} paid, {len(self.killed)} kills", flush=True)

    def chase(self) -> None:
        """Chase whoever has not paid, as if it were months late; each time some days later."""
        from billing_site.kernel.clock import now
        from dunning.sweep import sweep_dunning

        sweep_dunning(at=now() + CHASED_AHEAD + self.chased * CHASED_FURTHER)
        self.chased += 1

    def _paid(self) -> int:
        from invoicing.invoices.models import Invoice

        return Invoice.objects.filter(status="paid").count()

    def _sweep(self) -> None:
        """Do what the scheduler does once a minute, and, when all else is done, once a day: the scenario waits for neither."""
        from billing_site.kernel.clock import now
        from invoicing.payments.queries import payment_health
        from invoicing.tasks import sweep_payments
        from invoicing.workflows.follow_stripe import sweep_open_invoices

        sweep_payments()
        health = payment_health()
        if not health.pushes_pending and not health.notices_waiting:
            self.looked_for += sweep_open_invoices(at=now() + LATER)


def kill_a_worker(house: House) -> str:
    """Kill the worker's program, or one process of it."""
    pid = house._worker()
    if pid is None:
        return "worker (was down)"
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)
    return "worker"


def run(*, invoices: int, seed: int, kills: int, minutes: float) -> None:
    """Let the storm pass over a data folder of its own."""
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        os.environ |= {
            "BILLING_DATA_DIR": folder,
            "DJANGO_SETTINGS_MODULE": "billing_site.settings",
            "JOB_TIMEOUT_SECONDS": JOB_TIMEOUT_SECONDS,
            "JOB_RETRY_SECONDS": JOB_RETRY_SECONDS,
            "JOB_WORKERS": "4",
            "PYTHONWARNINGS": "ignore",
        }
        for name in ("DATABASE_URL", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "PUBLIC_URL", "SANDBOX_WEBHOOK_URL"):
            os.environ.pop(name, None)
        from billing_site.serving.programs import Address

        sandbox = Address.free()
        os.environ["SANDBOX_BIND"] = str(sandbox)
        import django

        django.setup()
        house = House(data_dir=Path(folder), dice=random.Random(seed))
        house.sandbox = sandbox
        try:
            play(house, invoices=invoices, kills=kills, minutes=minutes, seed=seed)
        except BaseException:
            sys.stdout.write("".join(Path(house.log.name).read_text().splitlines(keepends=True)[-40:]))
            raise
        finally:
            house.stop()


def play(house: House, *, invoices: int, kills: int, minutes: float, seed: int) -> None:
    """Issue under the storm, wait, and check."""
    from billing_site.drills import stripe
    from billing_site.kernel.clock import now
    from invoicing.payments.attempts import PushAttempt
    from invoicing.payments.outage import Outage

    # On a busy machine the tables take their time; `serve` is waited for less long.
    assert house.manage("migrate").wait(timeout=600) == 0, f"the tables could not be made; see {house.log.name}"
    house.start()
    stripe.order_faults(percents=WEATHER)
    began = time.monotonic()
    with fresh_connection():
        stripe.make_invoices(name=NAME, count=invoices, at=now())
    issued = time.monotonic()
    storm = Storm(house, invoices=invoices, kills=kills)
    storm.wait(minutes=minutes)
    paid = time.monotonic()
    stripe.order_faults(percents={})
    with fresh_connection():
        storm.chase()
        outcomes = dict(count_by(PushAttempt, "outcome"))
        outages = Outage.objects.count()
        checks = [*stripe.check(name=NAME), nobody_suspended()]
    for one in checks:
        print(f"{'green' if one.holds else 'RED  '}  {one.name}: {one.evidence}", flush=True)
    assert all(one.holds for one in checks), "something does not hold"
    verified = house.manage("verify")
    assert verified.wait(timeout=600) == 0, "`manage.py verify` is content"
    print(
        f"{invoices} invoices (seed {seed}): issued in {issued - began:.0f} s, through the storm in {paid - issued:.0f} s, "
        f"verified in {time.monotonic() - paid:.0f} s, {len(storm.killed)} kills of workers, attempts {outcomes}, "
        f"{storm.looked_for} looks for lost news, chased {storm.chased} times, {outages} outages: "
        "each once, paid once, nobody suspended, verified.",
        flush=True,
    )


def nobody_suspended() -> Any:
    """Say whether a customer was restricted or suspended: all had a card that pays, and none was asked by a grave step."""
    from billing_site.drills.stripe import Check
    from dunning.cases.models import CaseStep, DunningCase
    from dunning.core.case_life import LIVE
    from dunning.core.policy import GRAVE
    from invoicing.customers.restrictions import restricted_customers

    grave = CaseStep.objects.filter(act__in=GRAVE, outcome="done").count()
    live = DunningCase.objects.filter(state__in=LIVE).count()
    restricted = restricted_customers()
    return Check(
        "Nobody who has paid is restricted or suspended",
        not grave and not live and not restricted,
        f"{DunningCase.objects.count()} cases, {live} of them live, {grave} grave steps, {len(restricted)} restricted",
    )


def count_by(model: Any, name: str) -> Any:
    """Return how many rows there are of each value of a field."""
    from django.db.models import Count

    return model.objects.values_list(name).annotate(Count("id")).order_by(name)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--invoices", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=240)
    given = parser.parse_args()
    run(invoices=given.invoices, seed=given.seed, kills=given.kills, minutes=given.minutes)


if __name__ == "__main__":
    main()
