"""A payment is recorded, posted and applied together, once, and never beyond what is due."""

from threading import Thread

import pytest
from django.db import connection
from moneyed import Money

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from invoicing.invoices.models import Invoice
from invoicing.ledger.models import JournalEntry
from invoicing.payments.models import Payment
from invoicing.payments.queries import payment_health, payments_of
from invoicing.workflows.settle_payment import settle_payment
from tests.factories import a_customer
from tests.invoicing.payments.building import an_issued_invoice, assert_books_balance

pytestmark = pytest.mark.django_db(transaction=True)


def transfer(invoice, amount="280", currency="USD", reference="bank-1", **changes):
    return settle_payment(
        **(
            {
                "invoice_id": invoice.pk,
                "channel": "manual",
                "reference": reference,
                "amount": Money(amount, currency),
                "received_at": now(),
                "reason": "statement of July",
                "actor": "ada",
            }
            | changes
        )
    )


def test_a_transfer_pays_an_invoice_and_arrives_at_the_bank():
    invoice = an_issued_invoice(a_customer())

    payment = transfer(invoice)

    invoice.refresh_from_db()
    postings = JournalEntry.objects.get(kind="payment").postings.all()
    assert (invoice.status, invoice.paid_at) == ("paid", payment.received_at)
    assert {posting.account.code: posting.amount.amount for posting in postings} == {"1000": 280, "1200": -280}
    assert list(payments_of(customer=invoice.customer)) == [payment]
    assert "ada: statement of July" in invoice.history.first().history_change_reason
    assert_books_balance()


def test_the_same_transfer_twice_is_one_payment():
    invoice = an_issued_invoice(a_customer())

    first, second = transfer(invoice, "100"), transfer(invoice, "100")

    invoice.refresh_from_db()
    assert (first, invoice.amount_paid, invoice.status) == (second, Money("100", "USD"), "issued")
    assert JournalEntry.objects.filter(kind="payment").count() == 1
    assert_books_balance()


def test_the_same_transfer_from_four_clerks_at_once_is_one_payment():
    invoice = an_issued_invoice(a_customer())

    def clerk():
        transfer(invoice, "100")
        connection.close()

    clerks = [Thread(target=clerk) for _ in range(4)]
    for thread in clerks:
        thread.start()
    for thread in clerks:
        thread.join(timeout=20)

    invoice.refresh_from_db()
    assert (Payment.objects.count(), invoice.amount_paid) == (1, Money("100", "USD"))
    assert_books_balance()


def test_two_parts_pay_an_invoice_in_full():
    invoice = an_issued_invoice(a_customer())

    transfer(invoice, "279.99", reference="bank-1")
    transfer(invoice, "0.01", reference="bank-2")

    invoice.refresh_from_db()
    assert (invoice.status, invoice.amount_paid) == ("paid", invoice.total)


@pytest.mark.parametrize(("amount", "currency", "field"), [("280.01", "USD", "amount"), ("280", "EUR", "currency")])
def test_too_much_or_another_currency_is_refused_and_leaves_no_trace(amount, currency, field):
    invoice = an_issued_invoice(a_customer())

    with pytest.raises(Conflict) as refusal:
        transfer(invoice, amount, currency)

    assert refusal.value.field == field
    assert not Payment.objects.exists()
    assert Invoice.objects.get().amount_paid == Money("0", "USD")
    assert_books_balance()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": "0"}, "amount"),
        ({"amount": "-5"}, "amount"),
        ({"amount": "0.001"}, "amount"),
        ({"reference": ""}, "reference"),
        ({"reference": "x" * 191}, "reference"),
        ({"reference": "nul\x00"}, "reference"),
        ({"channel": "cash"}, "channel"),
    ],
)
def test_what_is_no_payment_is_refused_by_field(changes, field):
    invoice = an_issued_invoice(a_customer())

    with pytest.raises(InvalidInput) as refusal:
        transfer(invoice, **changes)

    assert refusal.value.field == field


def test_the_longest_reference_fits_the_journal_too():
    transfer(an_issued_invoice(a_customer()), reference="x" * 190)

    assert_books_balance()


def test_a_reference_stands_for_one_payment_for_ever():
    invoice, other = an_issued_invoice(a_customer()), an_issued_invoice(a_customer("cust_other"))
    transfer(invoice, "100")

    for changed in (lambda: transfer(invoice, "50"), lambda: transfer(other, "100")):
        with pytest.raises(Conflict, match=r"recorded already, over USD 100\.00 for"):
            changed()

    assert Payment.objects.count() == 1
    assert_books_balance()


def test_an_unknown_invoice_is_told():
    invoice = an_issued_invoice(a_customer())

    with pytest.raises(NotFound):
        transfer(invoice, invoice_id=invoice.pk + 1)


def test_the_health_of_payments_takes_two_queries(django_assert_num_queries):
    an_issued_invoice()

    with django_assert_num_queries(2):
        health = payment_health()

    assert (health.pushes_pending, health.pushes_delayed, health.notices_waiting) == (1, 0, 0)
