"""Many at once: a top-up is paid, granted and made once."""

from datetime import timedelta

import pytest

from invoicing.credits.models import CreditGrant
from invoicing.invoices.models import Invoice
from invoicing.top_ups.models import TopUp
from invoicing.workflows.top_up_automatically import sweep_top_ups
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from tests.factories import JULY, a_customer, a_plan, a_subscription, usd_per_action
from tests.invoicing.selling import once, paid, sold
from tests.invoicing.test_automatic_top_ups import rule
from tests.races import at_once, unexpected

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_payments_of_one_top_up_at_once_grant_once() -> None:
    invoice = sold(a_customer()).invoice

    outcomes = at_once(
        *[lambda: paid(invoice, reference="the same")] * 2,
        lambda: paid(invoice, reference="another"),
        lambda: void_invoice(invoice_id=invoice.pk, at=JULY, actor="test", reason="meanwhile"),
    )

    invoice.refresh_from_db()
    assert unexpected(outcomes) == []
    assert CreditGrant.objects.count() == (invoice.status == "paid")
    assert TopUp.objects.get().status == ("paid" if invoice.status == "paid" else "closed")
    assert verify() == []


def test_four_workers_that_sweep_at_once_make_one_top_up_and_the_cap_holds() -> None:
    a_plan("pro", usd_per_action("1"))
    customer = a_customer()
    a_subscription(customer)
    rule(customer, max_per_month=2, threshold="500")

    for number in range(3):
        moment = JULY + timedelta(hours=number)
        outcomes = at_once(*[lambda moment=moment: sweep_top_ups(at=moment)] * 4)
        assert unexpected(outcomes) == []
        assert TopUp.objects.count() == min(number + 1, 2)
        for top_up in TopUp.objects.filter(status="open"):
            paid(top_up.invoice)

    assert verify() == []


def test_one_key_sent_four_times_at_once_is_one_invoice() -> None:
    customer = a_customer()

    outcomes = at_once(*[lambda: once(customer)] * 4)

    assert {outcome.number for outcome in outcomes} == {"INV-2026-00001"}
    assert Invoice.objects.count() == 1
