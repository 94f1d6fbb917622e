"""A billing run in several processes issues what one process would: each period once, in the order of each customer, without a gap."""

from datetime import timedelta

import pytest

from invoicing.invoices.models import Invoice, InvoiceSeries
from invoicing.workflows import run_billing
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from tests.factories import (
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    nothing_is_checked_before_issue,
    usd_fee,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.requirement("S0-131")
def test_two_processes_issue_each_period_of_each_customer_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_is_checked_before_issue()
    a_plan("base", usd_fee("29"))
    for number in range(7):
        a_subscription(a_customer(f"cust_{number}"), plan="base", started_at=JULY)
    monkeypatch.setattr(run_billing, "BATCH_INVOICES", 2)
    told: list[tuple[int, int]] = []

    report = issue_billing(
        as_of=SEPTEMBER,
        at=SEPTEMBER + timedelta(hours=1),
        progress=lambda done, total: told.append((done, total)),
        processes=2,
    )

    assert (report.failures, len(report.invoice_keys), told[-1]) == ([], 14, (14, 14))
    numbers = list(Invoice.objects.order_by("number").values_list("number", flat=True))
    assert numbers == [f"INV-2026-{ordinal:05d}" for ordinal in range(1, 15)]
    assert InvoiceSeries.objects.get().next_number == 15
    for number in range(7):
        own = Invoice.objects.filter(customer__key=f"cust_{number}").order_by("number")
        assert list(own.values_list("period_start", flat=True)) == sorted(own.values_list("period_start", flat=True))
        assert own.count() == 2
    assert verify() == []

    again = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER + timedelta(hours=2), processes=2)
    assert (again.invoice_keys, again.failures) == ([], [])
