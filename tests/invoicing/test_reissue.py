"""Void and re-issue: the difference is shown before, and what later invoices build on stays."""

from datetime import timedelta

import pytest

from billing_site.kernel.errors import Conflict, InvalidInput
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.reports.asking import Question
from invoicing.reports.deferred import deferred_revenue_report
from invoicing.subscriptions.amend import change_quantity
from invoicing.workflows.credit_balance import credit_balance
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.reissue_invoice import preview_reissue, reissue_invoice
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, settle_constraints, use
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.late import lines_of
from tests.invoicing.selling import books, once, paid
from tests.invoicing.test_commitments import committed
from tests.invoicing.test_credits import grant
from tests.invoicing.test_fees_in_advance import billed, fee

pytestmark = pytest.mark.django_db

THIRD = AUGUST + timedelta(days=3)


@pytest.fixture
def acme() -> Customer:
    """Owes USD 44.00 for July, of which prepaid credit of USD 10.00 pays a part."""
    a_plan()
    customer = a_customer(settlement_channel="manual")
    a_subscription(customer)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    grant(customer, "10", "prepaid", kind="prepaid")
    return customer


@pytest.fixture
def july(acme: Customer) -> Invoice:
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    return invoice


def again(invoice: Invoice, **others: str) -> Invoice:
    done = reissue_invoice(invoice_id=invoice.pk, at=THIRD, actor="test", reason="usage was missing", **others)
    assert done.draft is not None
    return done.draft


def test_an_unpaid_invoice_is_made_again_from_what_is_known_now(acme: Customer, july: Invoice) -> None:
    use("cust_acme", "500", at=JULY + timedelta(days=4), key="late")

    shown = preview_reissue(invoice_id=july.pk, at=THIRD)
    july.refresh_from_db()
    assert (july.status, f"{shown.difference.amount:.2f}") == ("issued", "5.00")
    assert [f"{one.difference.amount:.2f}" for one in shown.lines] == ["0.00", "5.00", "0.00"]
    draft = again(july, digest=shown.digest)
    july.refresh_from_db()
    assert (july.status, draft.status, draft.total) == ("void", "draft", shown.total_after)
    assert [left for _, left in credit_balance(customer=acme, at=THIRD).lots] != []
    issued = issue_invoice(invoice_id=draft.pk, at=THIRD, actor="test", reason="looked at")

    assert (july.number, issued.number) == ("INV-2026-00001", "INV-2026-00002")
    assert books() == {"1000": "10.00", "1200": "39.00", "4000": "-49.00"}
    settle_constraints()
    assert verify() == []


def test_what_changed_meanwhile_is_not_done_and_a_reason_is_asked_for(july: Invoice) -> None:
    shown = preview_reissue(invoice_id=july.pk, at=THIRD)
    use("cust_acme", "500", at=JULY + timedelta(days=4), key="late")

    with pytest.raises(Conflict) as refused:
        again(july, digest=shown.digest)
    with pytest.raises(InvalidInput, match="say why"):
        reissue_invoice(invoice_id=july.pk, at=THIRD, actor="test", reason=" ")

    july.refresh_from_db()
    assert (refused.value.code, july.status) == ("outdated", "issued")


def test_what_is_paid_credited_void_or_bills_no_period_is_not_made_again(acme: Customer, july: Invoice) -> None:
    workshop = once(acme)
    with pytest.raises(Conflict, match="bills no period"):
        again(workshop)
    credited(july, of_line(1, amount="1"), at=THIRD)
    with pytest.raises(Conflict, match="credit notes"):
        again(july)
    paid(july, "33.00", at=THIRD)
    with pytest.raises(Conflict, match="credit note"):
        again(july)


def test_an_invoice_whose_corrections_or_fees_are_invoiced_already_is_not_made_again(july: Invoice) -> None:
    use("cust_acme", "500", at=JULY + timedelta(days=4), key="late")
    settle_late_changes(at=THIRD)
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    assert any(name.startswith("Correction") or "July" in name for name, _ in lines_of(august))

    with pytest.raises(Conflict, match=f"invoice {august.number} builds on {july.number}") as refused:
        preview_reissue(invoice_id=july.pk, at=SEPTEMBER)

    assert refused.value.code == "built_on"


def test_fees_in_advance_are_taken_back_as_of_the_day_of_the_void_and_not_once_they_are_settled() -> None:
    a_plan("pro", fee("100"))
    subscription = a_subscription(a_customer(settlement_channel="manual"))
    [opening] = billed(JULY)
    change_quantity(subscription=subscription, quantity=2, at=JULY + timedelta(days=1), actor="test", reason="grew")
    made = reissue_invoice(invoice_id=opening.pk, at=THIRD, actor="test", reason="two seats")
    assert made.draft is not None
    settle_constraints()
    for day in (JULY, THIRD):
        question = Question(as_of=day.date(), start=day.date(), end=day.date())
        assert deferred_revenue_report(question=question).is_tied, day
    issue_invoice(invoice_id=made.draft.pk, at=THIRD, actor="test", reason="looked at")
    [july] = billed(AUGUST)

    with pytest.raises(Conflict, match=f"{july.number} builds on"):
        preview_reissue(invoice_id=made.draft.pk, at=THIRD)
    settle_constraints()
    assert verify() == []


def test_what_a_commitment_has_gone_on_from_is_not_made_again() -> None:
    committed((3, "100"), customer={"settlement_channel": "manual"}, payment="in_arrears")
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    [july] = billed(AUGUST)
    assert preview_reissue(invoice_id=july.pk, at=THIRD).difference.amount == 0
    billed(SEPTEMBER)
    [*_, third] = billed(SEPTEMBER + timedelta(days=30))

    with pytest.raises(Conflict, match=f"{third.number} builds on"):
        preview_reissue(invoice_id=july.pk, at=SEPTEMBER)
