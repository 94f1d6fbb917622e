"""What is late beside a promise ends it only if dunning would chase that now: a promise that is kept is kept."""

from datetime import date

import pytest
from moneyed import Money

from dunning.arrangements.models import Promise
from dunning.arrangements.operations import NewInstalment, hold_dunning, promise_to_pay
from dunning.core.policy import STANDARD, terms_stored
from dunning.policies.operations import assign_policy, publish_policy
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.payments import gateway
from invoicing.payments.models import PushIntent
from invoicing.workflows.allocate_bank_line import Share
from tests.dunning.chasing import WHO, case_of, chase, late_customer, local, pay
from tests.dunning.test_payments_under_way import Stripe
from tests.factories import AUGUST
from tests.invoicing.bank.statements import Entry, allocate, one_line
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db


@pytest.fixture
def invoice() -> Invoice:
    return late_customer()


def promised(invoice: Invoice) -> Promise:
    """Who was told on the 16th of August promises all of it by the end of the year."""
    customer = invoice.customer
    chase(local("2026-08-16 09:00", customer))
    return promise_to_pay(
        case_id=case_of(customer).pk,
        instalments=[NewInstalment(date(2026, 12, 31), Money("31", "USD"))],
        at=local("2026-08-16 14:00", customer),
        **WHO,
    )


def other_debt(customer: Customer, amount: str = "10") -> Invoice:
    """Another invoice, due on the 15th of August, too, of which nobody heard when the promise was made."""
    made = once(customer, item(amount), at=AUGUST)
    assert str(made.due_date) == "2026-08-15"
    return made


def outcome(promise: Promise, moment: str = "2026-08-25 09:00") -> str:
    """What has become of a promise after a sweep."""
    chase(local(moment, promise.case.customer))
    promise.refresh_from_db()
    return str(promise.outcome)


def test_a_promise_that_was_kept_is_kept_whatever_else_is_late(invoice: Invoice) -> None:
    promise = promised(invoice)
    other_debt(invoice.customer)
    pay(invoice, local("2026-08-25 08:00", invoice.customer))

    assert outcome(promise) == "kept"


def test_a_trifle_ends_no_promise(invoice: Invoice) -> None:
    customer = invoice.customer
    terms = terms_stored(STANDARD) | {"minimums": {"USD": "20"}}
    publish_policy(key="patient", name="Patient", terms=terms, in_force_from=AUGUST, at=AUGUST, **WHO)
    assign_policy(policy="patient", customer=customer, country="", at=AUGUST, **WHO)
    promise = promised(invoice)
    other_debt(customer, "19.99")
    assert outcome(promise) == ""

    once(customer, item("0.01"), key="trifle", at=AUGUST)
    assert outcome(promise, "2026-08-26 09:00") == "withdrawn"


def test_no_promise_ends_in_a_hold_nor_in_quiet_hours(invoice: Invoice) -> None:
    promise = promised(invoice)
    other_debt(invoice.customer)
    hold_dunning(
        customer=invoice.customer, kind="legal", until=local("2026-08-26 00:00", invoice.customer), at=AUGUST, **WHO
    )
    assert outcome(promise) == ""
    assert outcome(promise, "2026-08-26 03:00") == "", "nobody is up"
    assert outcome(promise, "2026-08-26 09:00") == "withdrawn"


def test_no_promise_ends_while_we_hold_money_of_who_made_it(invoice: Invoice) -> None:
    promise = promised(invoice)
    customer = invoice.customer
    other_debt(customer)
    share = Share("on_account", Money("10", "USD"), customer_id=customer.pk)
    allocate(one_line(Entry("10.00")), share, at=local("2026-08-20 09:00", customer))

    assert outcome(promise) == ""


def test_no_promise_ends_by_an_invoice_whose_card_we_never_charged() -> None:
    invoice = late_customer(settlement_channel="stripe")
    promise = promised(invoice)
    other_debt(invoice.customer)
    Customer.objects.filter(pk=invoice.customer_id).update(payment_method="pm_1")

    assert outcome(promise) == ""


def test_what_stripe_was_paid_for_ends_no_promise_though_its_news_was_lost(invoice: Invoice, monkeypatch) -> None:
    promise = promised(invoice)
    other = other_debt(invoice.customer)
    PushIntent.objects.create(
        invoice=other, status="pushed", stripe_invoice_id="in_2", pushed_at=AUGUST, next_attempt_at=AUGUST
    )
    stripe = Stripe(other)
    stripe.says(status="paid", amount_paid=other.total)
    monkeypatch.setattr(gateway, "retrieve_invoice", lambda _: stripe.now)

    assert outcome(promise) == ""
    other.refresh_from_db()
    assert other.status == "paid"
