"""One-off invoices: stated, issued like any other, outside of every period."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError

from billing_site.kernel.errors import BillingError, Conflict
from invoicing.catalog.queries import published_version
from invoicing.customers.models import Customer
from invoicing.invoices.document import render_pdf
from invoicing.invoices.models import Invoice
from invoicing.ledger.queries import trial_balance
from invoicing.payments.models import PushIntent
from invoicing.subscriptions.amend import change_plan
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.find_saving import find_saving
from invoicing.workflows.invoice_document import document_of
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, settle_constraints, use
from tests.invoicing.selling import books, item, once, paid
from tests.invoicing.test_attack_guards import run_sql
from tests.invoicing.test_credits import grant

pytestmark = pytest.mark.django_db

NOON = JULY + timedelta(days=15, hours=12)


@pytest.fixture
def acme() -> Customer:
    a_plan()
    customer = a_customer()
    a_subscription(customer)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    return customer


def previewed() -> list[str]:
    return [f"{one.total.amount:.2f}" for one in preview_billing(as_of=AUGUST).previews]


def test_what_was_stated_is_issued_numbered_sealed_booked_proved_and_printed(acme: Customer) -> None:
    invoice = once(acme, item("99.99", "2.5", unit="hour"), item("0.004", "100", "Cards"), at=NOON)

    assert (invoice.number, invoice.status, f"{invoice.total.amount:.2f}") == ("INV-2026-00001", "issued", "250.38")
    assert [f"{line.amount.amount:.2f}" for line in invoice.lines.order_by("position")] == ["249.98", "0.40"]
    assert books() == {"1200": "250.38", "4000": "-250.38"}
    told = explain_invoice(number="INV-2026-00001")
    assert (told["equal"], told["period"], told["lines"][0]["service_period"]) == (True, None, None)
    assert render_pdf(document=document_of(invoice=invoice)).startswith(b"%PDF")
    settle_constraints()
    assert verify() == []


def test_it_is_outside_of_every_period_and_billing_run(acme: Customer) -> None:
    before = previewed()
    one_off = once(acme, at=NOON)

    previews = previewed()
    [draft] = draft_billing(as_of=AUGUST, at=AUGUST).invoices
    [july] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    assert before == previews == ["44.00"] == [f"{july.total.amount:.2f}"]
    assert draft.pk == july.pk != one_off.pk
    assert issue_billing(as_of=AUGUST, at=AUGUST).invoices == []
    assert july.previous_seal == one_off.seal
    assert one_off.number not in {one.number for one in find_saving(customer=acme, at=AUGUST).invoices}
    assert verify() == []


def test_it_holds_up_no_change_of_what_has_not_been_billed(acme: Customer) -> None:
    a_plan("max")
    once(acme, at=NOON)
    once(acme, key="another", at=NOON)

    change_plan(
        subscription=acme.subscriptions.get(),
        plan_version=published_version(plan_key="max"),
        at=NOON - timedelta(days=1),
        actor="test",
        reason="upgrade",
    )

    assert Invoice.objects.filter(customer=acme).count() == 2


def test_credit_does_not_pay_for_it(acme: Customer) -> None:
    grant(acme, "500")

    invoice = once(acme)

    assert f"{invoice.total.amount:.2f}" == "120.00"


def test_the_same_key_is_the_same_invoice_and_other_content_a_conflict(acme: Customer) -> None:
    first = once(acme)

    assert once(acme, at=NOON) == first
    with pytest.raises(Conflict, match="says something else"):
        once(acme, item("121"))
    with pytest.raises(Conflict, match="another customer"):
        once(a_customer("cust_other"))
    assert Invoice.objects.count() == 1


def test_unpaid_it_can_be_declared_void_and_the_books_are_as_before(acme: Customer) -> None:
    invoice = once(acme)

    for _ in range(2):
        void_invoice(invoice_id=invoice.pk, at=NOON, actor="test", reason="agreed otherwise")

    assert books() == {}
    assert verify() == []


def test_what_is_paid_or_bills_a_period_is_not_declared_void(acme: Customer) -> None:
    part = once(acme)
    paid(part, "20")
    [july] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    for invoice in (part, july):
        with pytest.raises(Conflict):
            void_invoice(invoice_id=invoice.pk, at=NOON, actor="test", reason="by mistake")


def test_stripe_collects_it_like_any_other() -> None:
    invoice = once(a_customer(settlement_channel="stripe", payment_method="pm_card_visa"))

    assert PushIntent.objects.get().invoice == invoice


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"quantity": "0"}, "lines[0].quantity"),
        ({"quantity": "-1"}, "lines[0].quantity"),
        ({"quantity": "NaN"}, "lines[0].quantity"),
        ({"quantity": "0.0000000000001"}, "lines[0].quantity"),
        ({"unit_amount": "-0.01"}, "lines[0].unit_amount"),
        ({"unit_amount": "1", "currency": "EUR"}, "lines[0].unit_amount"),
        ({"description": " "}, "lines[0].description"),
        ({"description": "x" * 301}, "lines[0].description"),
        ({"unit": "\x00"}, "lines[0].unit"),
        ({"quantity": "99999999", "unit_amount": "99999999999"}, "lines"),
    ],
)
def test_what_cannot_be_invoiced_is_refused_by_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(BillingError) as refused:
        once(a_customer(), item(**changes))

    assert [error.field for error in refused.value.field_errors] == [field]
    assert not Invoice.objects.exists()


LINE = "UPDATE invoicing_invoiceline SET"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_invoice SET kind = 'period', key = NULL WHERE kind = 'one_off'",
        "UPDATE invoicing_invoice SET key = 'other' WHERE kind = 'one_off'",
        "UPDATE invoicing_invoice SET kind = 'one_off', key = 'x' WHERE status = 'draft'",
        "UPDATE invoicing_invoice SET period_end = period_start WHERE status = 'draft'",
        f"{LINE} kind = 'one_off' WHERE kind = 'charge'",
        f"{LINE} kind = 'charge' WHERE kind = 'one_off'",
        f"{LINE} amount = 1 WHERE kind = 'one_off'",
        "UPDATE invoicing_invoice SET status = 'void', amount_paid = 1 WHERE kind = 'one_off'",
    ],
)
def test_raw_sql_makes_no_period_of_what_was_stated_once(acme: Customer, statement: str) -> None:
    once(acme)
    draft_billing(as_of=AUGUST, at=AUGUST)
    settle_constraints()

    with pytest.raises(DatabaseError):
        run_sql(statement)
    assert trial_balance()
