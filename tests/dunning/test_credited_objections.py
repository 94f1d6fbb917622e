"""A credit note decides an objection by what it takes off: nothing is taken off twice, and what nobody objects to is chased."""

import pytest
from moneyed import Money

from dunning.arrangements.operations import object_to
from dunning.cases.arrears import all_debts
from invoicing.invoices.models import Invoice, Objection
from invoicing.invoices.queries import not_paid
from tests.dunning.chasing import WHO, by_policy, case_of, chase, late_customer, local, told
from tests.factories import settle_constraints
from tests.invoicing.crediting import credited, of_line

pytestmark = pytest.mark.django_db


@pytest.fixture
def invoice() -> Invoice:
    """Of 100 dollars, 50 of which are objected to since the 17th of August."""
    invoice = late_customer(fee="100")
    by_policy("short", invoice.customer)
    chase(local("2026-08-16 09:00", invoice.customer))
    object_to(invoice_id=invoice.pk, amount=Money("50", "USD"), at=local("2026-08-17 08:00", invoice.customer), **WHO)
    return invoice


def test_what_nobody_objects_to_is_chased_once_the_objection_is_credited(invoice: Invoice) -> None:
    customer = invoice.customer
    at = local("2026-08-17 08:30", customer)

    credited(invoice, of_line(1, amount="50"), at=at)

    objection = Objection.objects.get()
    assert (objection.ended_at, objection.ended_by) == (at, "test")
    assert objection.ended_because.startswith("credit note CN-") and "agreed by phone" in objection.ended_because
    later = local("2026-08-19 09:00", customer)
    assert [debt.amount for debt in all_debts(at=later)[customer.pk]] == [Money("50", "USD")]
    assert list(not_paid(at=later)) == [invoice]
    steps = chase(later).steps
    assert told(steps, customer) == [("08-19 09:00", "notice", "warning")] and steps[0].amount == Money("50", "USD")
    assert case_of(customer).state == "open"


def test_what_is_left_of_an_objection_goes_on_and_ends_with_the_last_credit(invoice: Invoice) -> None:
    customer = invoice.customer
    at = local("2026-08-17 08:30", customer)

    credited(invoice, of_line(1, amount="30"), at=at)

    rest = Objection.objects.get(ended_at=None)
    assert (rest.amount, rest.opened_at) == (Money("20", "USD"), at)
    assert rest.reason == "what is left of it: as we agreed by phone"
    assert [debt.amount for debt in all_debts(at=at)[customer.pk]] == [Money("50", "USD")]
    credited(invoice, at=at)
    settle_constraints()
    invoice.refresh_from_db()
    assert (invoice.status, Objection.objects.filter(ended_at=None).exists()) == ("paid", False)
