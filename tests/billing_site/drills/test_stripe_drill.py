"""A drill runs against the sandbox and nothing else, and says what does not hold."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing_site.drills import stripe
from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict
from billing_site.sandbox.models import SandboxObject
from invoicing.customers.models import Customer
from tests.invoicing.payments.building import deliver, run_queued_jobs
from tests.invoicing.payments.conftest import listener, sandbox

__all__ = ["listener", "sandbox"]


def run(sandbox, listener, *, name="d1", count=4):
    made = stripe.make_invoices(name=name, count=count, at=now())
    run_queued_jobs()
    deliver(sandbox, listener)
    run_queued_jobs()
    stripe.look_for_lost_news(name=name, at=now())
    return made


def test_after_a_drill_everything_holds_and_the_same_drill_makes_no_more_invoices(sandbox, listener):
    made = run(sandbox, listener)

    again = stripe.make_invoices(name="d1", count=4, at=now())

    assert [(one.name, one.holds) for one in stripe.check(name="d1") if not one.holds] == []
    assert stripe.is_over(name="d1")
    assert again == made
    assert Customer.objects.filter(key__startswith="drill_d1_").count() == 4


def test_ordered_faults_strike_until_they_are_called_off(sandbox, listener):
    stripe.order_faults(percents={"drop_webhooks": 100, "http_500": 0}, clock_skew_seconds=5)
    assert sandbox.state()["rates"] == {"drop_webhooks": 100, "clock_skew_seconds": 5}

    run(sandbox, listener)

    assert listener.received == []
    assert stripe.is_over(name="d1")
    stripe.order_faults(percents={})
    assert sandbox.state()["rates"] == {}


def test_what_is_there_twice_or_missing_is_red_with_the_evidence(sandbox, listener):
    run(sandbox, listener)
    twin = SandboxObject.objects.filter(kind="invoice").first()
    SandboxObject.objects.create(
        id="in_twin", kind="invoice", body={**twin.body, "id": "in_twin", "number": "X-1"}, created_at=now()
    )

    red = [one for one in stripe.check(name="d1") if not one.holds]

    assert [(one.name, one.evidence) for one in red] == [
        ("Each invoice is in the sandbox once", "4 here, 4 there under our numbers, 5 there under our keys")
    ]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"STRIPE_IS_SANDBOX": False}, "a key of Stripe's"),
        ({"STRIPE_LIVE_MODE": True}, "a key of Stripe's"),
        ({"STRIPE_API_HOST": "https://api.stripe.com"}, "called at api.stripe.com"),
    ],
)
def test_no_drill_runs_against_stripe(db, settings, changes, why):
    for name, setting in changes.items():
        setattr(settings, name, setting)

    for deed in (
        lambda: stripe.order_faults(percents={}),
        lambda: stripe.make_invoices(name="d1", count=1, at=now()),
        lambda: stripe.check(name="d1"),
    ):
        with pytest.raises(Conflict, match=why):
            deed()
    with pytest.raises(CommandError, match=why):
        call_command("drill", stdout=StringIO())
    assert not Customer.objects.exists()


def test_without_a_sandbox_that_answers_nothing_is_made(db, settings):
    settings.STRIPE_API_HOST = "http://127.0.0.1:9"

    with pytest.raises(CommandError, match="no sandbox answers"):
        call_command("drill", stdout=StringIO())

    assert not Customer.objects.exists()
