"""Half a year of a customer whose events come late: within the grace, after the invoice, too small, and by mistake."""

from datetime import UTC, datetime, timedelta

import pytest
from moneyed import Money

from invoicing.customers.models import Customer
from invoicing.ledger.queries import trial_balance
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_late_usage import decide_late_change, settle_late_changes
from invoicing.workflows.unbilled_usage import unbilled_usage
from invoicing.workflows.verify import verify
from metering.models import UsageEvent
from tests.billing_site.api.caller import Caller
from tests.factories import a_plan, a_subscription, usd_fee, usd_per_action

pytestmark = [pytest.mark.django_db, pytest.mark.requirement("S0-060", "S0-061", "S0-062")]

JUNE, JULY, AUGUST, SEPTEMBER, OCTOBER = (datetime(2026, month, 1, tzinfo=UTC) for month in (6, 7, 8, 9, 10))
GRACE = timedelta(hours=48)


@pytest.fixture
def caller() -> Caller:
    """A service that sends events and changes customers; the customer is there."""
    a_plan("pro", usd_fee("20"), usd_per_action("0.01"))
    caller = Caller()
    terms = {
        "key": "cust_acme",
        "name": "Acme GmbH",
        "email": "ap@acme.example",
        "currency": "USD",
        "settlement_channel": "manual",
        "grace_hours": 48,
        "late_usage_policy": "next_invoice",
        "late_materiality": {"amount": "1.00", "currency": "USD"},
    }
    assert caller.post("/api/v1/customers", terms).status_code == 201
    a_subscription(Customer.objects.get(), started_at=JUNE)
    return caller


def send(caller: Caller, key: str, quantity: str, *, at: datetime) -> None:
    """One event over the API."""
    event = {
        "event_id": key,
        "idempotency_key": key,
        "event_type": "action.consumed",
        "timestamp": at.isoformat(),
        "customer_id": "cust_acme",
        "quantity": quantity,
    }
    assert caller.post("/api/v1/events", event).json()["accepted"] == 1


def billed(at: datetime) -> list[tuple[str, str, list[str]]]:
    """Bill at a moment; state, total, and the amounts of the corrections on each invoice."""
    report = issue_billing(as_of=at, at=at)
    return [
        (
            str(invoice.status),
            f"{invoice.total.amount:.2f}",
            [f"{line.amount.amount:.2f}" for line in invoice.lines.filter(kind="correction").order_by("position")],
        )
        for invoice in report.invoices
    ]


def test_half_a_year_of_late_events(caller: Caller) -> None:
    send(caller, "june", "1000", at=JUNE + timedelta(days=3))
    assert billed(JULY + timedelta(hours=1)) == [("draft", "30.00", [])]

    send(caller, "june, a day late", "500", at=JUNE + timedelta(days=29))
    assert billed(JULY + GRACE) == [("issued", "35.00", [])], "within the grace it joins the draft"

    send(caller, "june, after the invoice", "700", at=JUNE + timedelta(days=29))
    send(caller, "june, a trifle", "50", at=JUNE)
    send(caller, "july", "100", at=JULY + timedelta(days=5))
    assert [str(change.effect.amount) for change in late_changes(at=JULY + GRACE).changes] == ["7.50"]
    assert billed(AUGUST + GRACE) == [("issued", "28.50", ["7.50"])]

    send(caller, "june, another trifle", "60", at=JUNE + timedelta(days=1))
    assert billed(SEPTEMBER + GRACE) == [("issued", "20.00", [])], "0.60 is below the materiality of 1.00"

    named = {"customer_id": "cust_acme", "idempotency_key": "june"}
    correction = {"action": "cancel", **named, "reason": "the collector counted twice"}
    assert caller.post("/api/v1/events/corrections", correction).status_code in (200, 201)
    assert caller.patch("/api/v1/customers/cust_acme", {"late_usage_policy": "ask"}).status_code == 200
    report = settle_late_changes(at=SEPTEMBER + GRACE)
    assert (report.settled, report.asked) == ([], 1)
    [change] = late_changes(at=SEPTEMBER + GRACE).changes
    assert (change.effect, change.events_cancelled) == (Money("-10.00", "USD"), 1)
    decide_late_change(
        line_id=change.line.pk,
        decision="next_invoice",
        mark=change.mark,
        at=SEPTEMBER + GRACE,
        actor="fiona",
        reason="the customer is right",
    )
    assert billed(OCTOBER + GRACE) == [("issued", "10.00", ["-10.00"])]

    assert billed(OCTOBER + GRACE) == []
    assert unbilled_usage(at=OCTOBER) == []
    assert verify() == []
    revenue = {balance.name: balance.amount for balance in trial_balance()}["Revenue"]
    assert revenue == Money("-93.50", "USD"), "35.00 + 28.50 + 20.00 + 10.00"
    assert UsageEvent.objects.count() == 6
