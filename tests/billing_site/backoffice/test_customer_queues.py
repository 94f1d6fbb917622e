"""Customers that need a decision wait on the index: suspended, churned and not closed, with unusual usage."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from moneyed import Money

from billing_site.backoffice.work_queues import WorkQueue, closing_queue, suspended_queue, unusual_queue
from invoicing.core.life_cycle import Driver, State
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.spend.models import AnomalyReview, UsageAnomaly
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.move_life_cycle import move_customer
from invoicing.workflows.offboarding import offboarding_of
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.settle_payment import settle_payment
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, settle_constraints, usd_fee

pytestmark = pytest.mark.django_db
WHO = {"actor": "test", "reason": "asked for it"}
OVERDUE = datetime(2026, 8, 20, tzinfo=UTC)
LIST = "/admin/invoicing/usageanomaly/"


@pytest.fixture
def overdue(db: Any) -> Invoice:
    """Acme's invoice of July, due on the 15th of August and not paid."""
    a_plan("pro", usd_fee("31"))
    customer = a_customer()
    Customer.objects.filter(pk=customer.pk).update(created_at=JULY)
    a_subscription(customer)
    a_subscription(a_customer("cust_other"))
    return issue_billing(as_of=AUGUST, at=AUGUST, customer_key="cust_acme").invoices[0]


def moved(customer: Customer, to: State, at: datetime) -> None:
    move_customer(customer=customer, to=to, driver=Driver.DUNNING, at=at, **WHO)


def pay(invoice: Invoice) -> None:
    settle_payment(
        invoice_id=invoice.pk,
        channel="manual",
        reference=f"transfer {invoice.pk}",
        amount=invoice.total,
        received_at=SEPTEMBER,
        **WHO,
    )


def listed(finance: Client, queue: WorkQueue) -> list[Any]:
    return list(finance.get(queue.link).context["cl"].result_list)


def test_a_suspended_customer_waits_for_somebody_with_what_it_owes(finance: Client, overdue: Invoice) -> None:
    assert suspended_queue().count == 0

    moved(overdue.customer, State.SUSPENDED, OVERDUE)

    queue = suspended_queue()
    assert (queue.count, queue.oldest, queue.money, queue.why) == (1, OVERDUE, (Money(31, "USD"),), "Acme GmbH")
    assert listed(finance, queue) == [overdue.customer]
    assert "Suspended customers" in text_of(finance.get("/admin/"))


def test_a_churned_customer_waits_until_everything_is_invoiced_issued_and_paid(
    finance: Client, overdue: Invoice
) -> None:
    customer = overdue.customer
    moved(customer, State.SUSPENDED, OVERDUE)
    assert closing_queue().count == 0

    def waits() -> bool:
        queue = closing_queue()
        assert queue.count == (not offboarding_of(customer=customer).is_complete)
        assert listed(finance, queue) == [customer] * queue.count
        return bool(queue.count)

    moved(customer, State.CHURNED, datetime(2026, 8, 29, tzinfo=UTC))
    steps = [waits()]
    pay(overdue)
    steps.append(waits())
    [final] = draft_billing(as_of=SEPTEMBER, at=SEPTEMBER, customer_key="cust_acme").invoices
    steps.append(waits())
    issued = issue_invoice(invoice_id=final.pk, at=SEPTEMBER, **WHO)
    steps.append(waits())
    pay(issued)

    assert steps == [True] * 4
    assert not waits()


@pytest.fixture
def unusual(db: Any) -> list[UsageAnomaly]:
    """Two days on which Acme used unusually much."""
    customer = a_customer()
    return [
        UsageAnomaly.objects.create(
            customer=customer,
            meter="actions",
            unit="action",
            day=date(2026, 8, number),
            direction="above",
            quantity=Decimal(900),
            usual_low=Decimal(90),
            usual_high=Decimal(110),
            usual=Decimal(100),
            day_count=20,
            noticed_at=datetime(2026, 8, number, 9, tzinfo=UTC),
        )
        for number in (18, 19)
    ]


@pytest.mark.requirement("S0-142")
def test_an_unusual_day_waits_until_somebody_says_what_was_found(
    finance: Client, support: Client, unusual: list[UsageAnomaly]
) -> None:
    page = reverse("admin:invoicing_usageanomaly_review", args=[unusual[0].pk])
    queue = unusual_queue()
    assert (queue.count, queue.oldest) == (2, unusual[0].noticed_at)
    assert queue.why == "Acme GmbH: more actions; Acme GmbH: more actions"
    assert listed(finance, queue) == unusual[::-1]

    refused = finance.post(page, {"reason": " "})
    finance.post(page, {"reason": "a launch, agreed"})
    finance.post(page, {"reason": "said again"})
    everything = {"action": "review_selected", "_selected_action": [one.pk for one in unusual]}
    asked = finance.post(LIST, everything)
    finance.post(LIST, {**everything, "confirmed": "1", "reason": "the launch went on"})

    assert refused.context["form"].errors["reason"]
    assert "1 unusual day will no longer wait" in text_of(asked)
    assert unusual_queue().count == 0
    found = AnomalyReview.objects.order_by("anomaly").values_list("actor", "reason")
    assert list(found) == [("fiona", "a launch, agreed"), ("fiona", "the launch went on")]
    assert "a launch, agreed (fiona, " in text_of(finance.get(f"{LIST}{unusual[0].pk}/change/"))
    assert "looked into" in text_of(finance.get(reverse("admin:backoffice_changes")))
    assert support.get(page).status_code == 403


def test_what_was_found_stays_whatever_is_sent_to_the_database(unusual: list[UsageAnomaly]) -> None:
    AnomalyReview.objects.create(anomaly=unusual[0], reviewed_at=AUGUST, **WHO)
    settle_constraints()

    for statement in (
        "UPDATE invoicing_anomalyreview SET reason = 'nothing'",
        "DELETE FROM invoicing_anomalyreview",
        "TRUNCATE invoicing_anomalyreview",
        "INSERT INTO invoicing_anomalyreview (anomaly_id, reviewed_at, actor, reason)"
        " SELECT anomaly_id, reviewed_at, actor, reason FROM invoicing_anomalyreview",
        "INSERT INTO invoicing_anomalyreview (anomaly_id, reviewed_at, actor, reason)"
        f" VALUES ({unusual[1].pk}, now(), 'fiona', '')",
    ):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    assert AnomalyReview.objects.count() == 1
