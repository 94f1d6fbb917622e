"""Credit notes: the only correction of an issued invoice, whole, by line, by quantity, never over more than remains."""

from datetime import timedelta

import pytest
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidFields
from invoicing.credit_notes.models import CreditNote
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.reports.faults import report_faults
from invoicing.subscriptions.cancel import end_subscription
from invoicing.workflows.credit_balance import credit_balance
from invoicing.workflows.credit_invoice import preview_credit
from invoicing.workflows.pay_refund import settle_refund
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, settle_constraints, use
from tests.invoicing.crediting import LATER, credited, given, of_line
from tests.invoicing.late import lines_of
from tests.invoicing.selling import books, item, once, paid, sold
from tests.invoicing.test_commitments import committed
from tests.invoicing.test_credits import grant
from tests.invoicing.test_discounts import a_coupon, redeem
from tests.invoicing.test_fees_in_advance import billed, deferred, fee

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Customer:
    """Owes USD 44.00 for July: 29.00 of fees and 1,500 actions at 0.01."""
    a_plan()
    customer = a_customer(settlement_channel="manual")
    a_subscription(customer)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    return customer


@pytest.fixture
def july(acme: Customer) -> Invoice:
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    return invoice


def all_is_well() -> None:
    settle_constraints()
    assert verify() == []
    assert list(report_faults()) == []


def test_a_whole_credit_of_an_open_invoice_settles_it_and_leaves_the_books_as_before(july: Invoice) -> None:
    note = credited(july)

    july.refresh_from_db()
    assert (note.number, given(note)) == ("CN-2026-00001", ("44.00", "0.00", "0.00"))
    assert (july.status, july.amount_paid.amount, july.amount_due.amount) == ("paid", 0, 0)
    assert books() == {}
    with pytest.raises(Conflict, match="nothing is left"):
        credited(july, of_line(1, amount="0.01"))
    all_is_well()


def test_what_is_open_is_taken_off_first_and_the_rest_is_paid_back_by_hand(july: Invoice) -> None:
    paid(july, "40.00", at=LATER)

    with pytest.raises(InvalidFields, match=r"disposition: only USD 4 are open"):
        credited(july)
    note = credited(july, disposition="refund")

    [refund] = note.refunds.all()
    assert given(note) == ("4.00", "0.00", "40.00")
    assert (refund.channel, refund.status, refund.amount) == ("manual", "pending", Money("40", "USD"))
    assert books() == {"1000": "40.00", "2400": "-40.00"}
    all_is_well()

    for _ in range(2):
        settle_refund(refund_id=refund.pk, channel="manual", reference="back-1", paid_at=LATER, actor="ann")
    assert books() == {}
    all_is_well()
    with pytest.raises(Conflict, match="paid already"):
        settle_refund(refund_id=refund.pk, channel="manual", reference="back-2", paid_at=LATER, actor="ann")


def test_a_balance_is_credit_that_the_next_invoice_draws_by_itself(acme: Customer, july: Invoice) -> None:
    paid(july, at=LATER)

    note = credited(july, of_line(1), disposition="balance")
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    assert given(note) == ("0.00", "29.00", "0.00")
    assert [(grant.name, left) for grant, left in credit_balance(customer=acme, at=LATER).lots] == []
    assert [(line.description, f"{line.amount.amount:.2f}") for line in august.lines.filter(adjustment="credit")] == [
        ("Prepaid credit: Credit note CN-2026-00001", "-29.00")
    ]
    assert books() == {"1000": "44.00", "4000": "-44.00"}
    all_is_well()


def test_a_third_three_times_is_the_whole_line_to_the_cent() -> None:
    workshop = once(a_customer(settlement_channel="manual"), item("33.34", "3"), item("10"))

    notes = [credited(workshop, of_line(1, quantity=1)) for _ in range(3)]

    assert [f"{note.total.amount:.2f}" for note in notes] == ["33.34", "33.34", "33.34"]
    with pytest.raises(InvalidFields, match=r"lines\[0\].position: nothing is left to credit of line 1"):
        credited(workshop, of_line(1, quantity=1))
    assert given(credited(workshop)) == ("10.00", "0.00", "0.00")
    all_is_well()


def test_a_quantity_of_a_discounted_line_is_worth_what_the_discount_left_of_it(acme: Customer) -> None:
    a_coupon()
    redeem(acme)
    [july] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    preview = preview_credit(invoice=july, asked=(), disposition="offset", at=LATER)
    usage = next(one for one in preview.lines if one.line.meter_key)

    for third in range(3):
        credited(july, of_line(usage.line.position, quantity=500), key=f"third-{third}")

    noted = [line.amount for note in CreditNote.objects.order_by("id") for line in note.lines.all()]
    assert preview.total == july.total
    assert sum(one.amount for one in noted) == usage.creditable.amount < usage.line.amount.amount
    all_is_well()


def test_what_prepaid_credit_paid_goes_back_as_credit_and_promotional_credit_does_not(acme: Customer) -> None:
    grant(acme, "10")
    grant(acme, "20", "prepaid", kind="prepaid")
    [july] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    paid(july, at=LATER)
    assert f"{july.total.amount:.2f}" == "14.00"

    with pytest.raises(InvalidFields, match=r"disposition: only USD 14 were paid in money"):
        credited(july, disposition="refund")
    note = credited(july, disposition="balance")

    assert given(note) == ("0.00", "34.00", "0.00")
    all_is_well()


def test_the_same_key_is_the_same_note_and_another_request_under_it_is_refused(july: Invoice) -> None:
    first = credited(july, of_line(1, amount="1"), key="again")

    assert credited(july, of_line(1, amount="1"), key="again") == first
    with pytest.raises(Conflict, match="says something else"):
        credited(july, of_line(1, amount="2"), key="again")
    assert CreditNote.objects.count() == 1


def test_a_note_is_written_only_as_it_was_shown(july: Invoice) -> None:
    shown = preview_credit(invoice=july, asked=(), disposition="offset", at=LATER)
    credited(july, of_line(1, amount="1"))

    with pytest.raises(Conflict) as refused:
        credited(july, digest=shown.digest)

    assert refused.value.code == "outdated"


def test_each_field_that_cannot_be_accepted_is_named(july: Invoice) -> None:
    with pytest.raises(InvalidFields) as refused:
        credited(
            july,
            of_line(9),
            of_line(1, amount="1000"),
            of_line(2, quantity="1", amount="1"),
            of_line(1, amount="1", currency="EUR"),
            of_line(2, quantity="-1"),
        )

    assert [error.field for error in refused.value.errors] == [
        "lines[0].position",
        "lines[1].amount",
        "lines[2].amount",
        "lines[3].amount",
        "lines[4].quantity",
    ]
    with pytest.raises(InvalidFields, match="disposition"):
        credited(july, disposition="gift")
    assert CreditNote.objects.count() == 0


def test_a_void_invoice_a_draft_and_credit_that_was_sold_are_not_credited(acme: Customer) -> None:
    top_up = sold(acme, "100")
    with pytest.raises(InvalidFields, match="sells prepaid credit"):
        credited(top_up.invoice)
    void_invoice(invoice_id=top_up.invoice_id, at=LATER, actor="test", reason="mistake")

    with pytest.raises(Conflict, match="is void"):
        credited(top_up.invoice)
    all_is_well()


def test_an_invoice_with_a_credit_note_is_not_declared_void() -> None:
    workshop = once(a_customer(settlement_channel="manual"))
    credited(workshop, of_line(1, amount="1"))

    with pytest.raises(Conflict, match="credit notes"):
        void_invoice(invoice_id=workshop.pk, at=LATER, actor="test", reason="mistake")
    paid(workshop, "119.00", at=LATER)

    workshop.refresh_from_db()
    assert workshop.status == "paid"
    all_is_well()


def test_a_fee_in_advance_that_nobody_will_be_served_for_is_given_back_once() -> None:
    a_plan("pro", fee("100"))
    subscription = a_subscription(a_customer(settlement_channel="manual"))
    [opening] = billed(JULY)
    paid(opening, at=JULY + timedelta(days=1))
    concession = credited(opening, of_line(1, amount="10"), disposition="refund", at=JULY + timedelta(days=2))
    end_subscription(
        subscription=subscription, ended_at=JULY + timedelta(days=15, hours=12), actor="test", reason="left"
    )
    assert (deferred(), [line.released.amount for line in concession.lines.all()]) == (100, [0])

    note = credited(opening, of_line(1, amount="50"), disposition="refund", at=JULY + timedelta(days=20))
    july = billed(AUGUST)[-1]

    assert [line.released for line in note.lines.all()] == [Money("50", "USD")]
    assert lines_of(july) == [("Base fee", "50.00"), ("Invoiced in advance", "-50.00")]
    assert (july.total.amount, deferred()) == (0, 0)
    all_is_well()


def test_a_commitment_that_is_paid_in_advance_is_not_credited_and_says_why() -> None:
    committed((1, "100"), customer={"settlement_channel": "manual"})
    [opening] = billed(AUGUST)

    with pytest.raises(InvalidFields, match="about a commitment that is paid in advance"):
        credited(opening)
    all_is_well()
