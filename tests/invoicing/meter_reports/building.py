"""What the tests of reports to Stripe's meters need: a customer at Stripe whose usage Stripe settles, and what stands there."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from billing_site.kernel.clock import now
from billing_site.kernel.period import hour_of
from billing_site.sandbox.models import SandboxObject
from invoicing.customers.models import Customer
from invoicing.meter_reports.plan import plan_reports
from invoicing.meter_reports.send import sweep_reports
from invoicing.payments.models import StripeCustomer
from invoicing.subscriptions.metered_at_stripe import MeterReporting
from invoicing.workflows.report_usage import begin_reporting
from metering.models import Meter
from metering.rollup import roll_up
from tests.factories import a_plan, a_subscription, usd_fee
from tests.invoicing.payments.building import a_card_customer, run_queued_jobs

HOUR = timedelta(hours=1)
EVENT_NAME = "actions_at_stripe"


def hours_ago(count: int) -> datetime:
    """The start of an hour that is over."""
    return hour_of(now()) - count * HOUR


def a_meter_at_stripe(sandbox: Any, **terms: str) -> str:
    """Stripe's meter, as ours needs it."""
    return sandbox.post(
        "/v1/billing/meters",
        {"display_name": "Actions", "event_name": EVENT_NAME, "default_aggregation[formula]": "sum"} | terms,
    )["id"]


def a_subscriber(key: str = "cust_acme", sandbox: Any = None) -> Customer:
    """A customer with a plan that prices no usage; known at Stripe where a sandbox is given."""
    a_plan("flat", usd_fee())
    customer = a_card_customer(key)
    a_subscription(customer, plan="flat")
    if sandbox is not None:
        StripeCustomer.objects.create(customer=customer, stripe_id=sandbox.customer())
    return customer


def a_reporting(customer: Customer, *, mode: str = "windows", since: datetime | None = None) -> MeterReporting:
    """Stripe settles the customer's actions from five days ago on."""
    return begin_reporting(
        subscription=customer.subscriptions.get(),
        meter=Meter.objects.get(key="actions"),
        mode=mode,
        event_name=EVENT_NAME,
        starts_at=since or hours_ago(5 * 24),
        at=now(),
        actor="test",
        reason="set up",
    )


def report(*, at: datetime | None = None) -> int:
    """Do what the scheduler and the workers do."""
    roll_up()
    at = at or now() + timedelta(minutes=10)
    planned = plan_reports(at=at)
    run_queued_jobs()
    return planned


def finish() -> None:
    """Sweep what has to be tried again, until nothing has to."""
    for step in range(1, 30):
        if not sweep_reports(at=now() + timedelta(minutes=3 * step)):
            return
        run_queued_jobs()
    raise AssertionError("some reports are never sent")


def at_stripe() -> dict[str, Decimal]:
    """What stands in the sandbox, by identifier."""
    events = SandboxObject.objects.filter(kind="billing.meter_event", body___counts=True).order_by("position")
    return {event.body["identifier"]: Decimal(event.body["payload"]["value"]) for event in events}
