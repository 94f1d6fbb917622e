"""A storm over the rail to Stripe: 429, 500, answers lost after their effect, webhooks lost, doubled and out of order, and workers killed at random.

    python -m tests.scenarios.stripe_storm --invoices 5000 [--seed 1] [--kills 20]

The product is served as in production, on a database of its own. Afterwards each invoice is in the sandbox once and paid once, each
payment is booked once, nothing is left over and `verify` is content. Only processes that were started here are killed.
"""

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
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
LOOK_EVERY_SECONDS = 8.0


def wait(house: House, *, invoices: int, kills: int, minutes: float) -> list[str]:
    """Wait until everything is paid, killing now and then; returns what was killed."""
    from django.db import Error

    from billing_site.drills import stripe
    from billing_site.kernel.clock import now
    from billing_site.kernel.errors import BillingError
    from invoicing.tasks import sweep_payments

    killed: list[str] = []
    until = time.monotonic() + minutes * 60
    look_at = time.monotonic() + LOOK_EVERY_SECONDS
    kill_at = time.monotonic() + house.dice.uniform(1, 4)
    while time.monotonic() < until:
        time.sleep(0.5)
        if len(killed) < kills and time.monotonic() > kill_at:
            kill_at = time.monotonic() + house.dice.uniform(2, 6)
            killed.append(kill_a_worker(house))
        with contextlib.suppress(Error, BillingError), fresh_connection():
            if stripe.is_over(name=NAME):
                return killed
            # The scheduler does this once a minute and once a day; the scenario waits for neither.
            sweep_payments()
            if time.monotonic() > look_at:
                look_at = time.monotonic() + LOOK_EVERY_SECONDS
                stripe.look_for_lost_news(name=NAME, at=now())
    return killed


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
    killed = wait(house, invoices=invoices, kills=kills, minutes=minutes)
    seconds = time.monotonic() - issued
    stripe.order_faults(percents={})
    with fresh_connection():
        outcomes = dict(count_by(PushAttempt, "outcome"))
        outages = Outage.objects.count()
        checks = stripe.check(name=NAME)
    for one in checks:
        print(f"{'green' if one.holds else 'RED  '}  {one.name}: {one.evidence}", flush=True)
    assert all(one.holds for one in checks), "something does not hold"
    verified = house.manage("verify")
    assert verified.wait(timeout=300) == 0, "`manage.py verify` is content"
    print(
        f"{invoices} invoices (seed {seed}): issued in {issued - began:.0f} s, through the storm in {seconds:.0f} s, "
        f"{len(killed)} kills of workers, attempts {outcomes}, {outages} outages: each once, paid once, verified.",
        flush=True,
    )


def count_by(model: Any, field: str) -> Any:
    """Return how many rows there are of each value of a field."""
    from django.db.models import Count

    return model.objects.values_list(field).annotate(Count("id")).order_by(field)


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
