"""Write-offs: what is open is given up once, with a reason, as a loss; late money, credit notes and taking it back undo that, and nothing is lost."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from moneyed import Money

from billing_site.kernel.errors import BillingError, Conflict, InvalidInput
from invoicing.core.invoice_life import INVOICE_MOVES, STATUS_OF, InvoiceStage, invoice_life_page, stage_of
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.queries import overdue
from invoicing.ledger.models import JournalEntry
from invoicing.reports.aged_receivables import open_invoices_report
from invoicing.reports.asking import Question
from invoicing.reports.statement import statement_report
from invoicing.tax.operations import set_customer_tax
from invoicing.workflows.customer_standing import standing_of
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from invoicing.workflows.write_off_invoice import take_back_write_off, write_off_invoice
from invoicing.write_offs.models import Recovery, WriteOff
from tests.factories import AUGUST, JULY, a_customer, settle_constraints
from tests.invoicing.crediting import LATER, credited, of_line
from tests.invoicing.selling import books, item, once, paid, sold
from tests.invoicing.test_taxes import BY, germany

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[2]
WHO: dict[str, Any] = {"actor": "ann", "reason": "insolvency, file 12 IN 34/27"}


@pytest.fixture
def acme() -> Customer:
    return a_customer(settlement_channel="manual")


@pytest.fixture
def workshop(acme: Customer) -> Invoice:
    """Over USD 100, 60 of them paid."""
    invoice = once(acme, item("10", "10"))
    paid(invoice, "60")
    return invoice


def written_off(invoice: Invoice) -> WriteOff:
    write_off = write_off_invoice(invoice_id=invoice.pk, at=LATER, **WHO)
    invoice.refresh_from_db()
    return write_off


def all_is_well() -> None:
    settle_constraints()
    assert verify() == []


def figures(invoice: Invoice) -> tuple[str, str, str, str]:
    """Its stage, and what is paid, given up and due of it."""
    invoice.refresh_from_db()
    amounts = (invoice.amount_paid, invoice.amount_written_off, invoice.amount_due)
    return (invoice.stage.value, *(f"{one.amount:.2f}" for one in amounts))  # type: ignore[return-value]


def test_the_page_of_the_table_is_what_the_code_says() -> None:
    page = (ROOT / "docs/invoice-life.md").read_text()

    assert page == invoice_life_page(), "manage.py invoice_life > docs/invoice-life.md"
    assert set(STATUS_OF.values()) == set(InvoiceStatus.values)
    assert {one.start for one in INVOICE_MOVES} | {one.to for one in INVOICE_MOVES} == set(InvoiceStage)


def test_what_is_derived_follows_from_amounts_and_holds() -> None:
    told = [
        stage_of(status="draft", is_touched=False),
        stage_of(status="draft", is_touched=False, gate_state="held"),
        stage_of(status="issued", is_touched=False),
        stage_of(status="issued", is_touched=True),
        stage_of(status="written_off", is_touched=True),
    ]

    assert told == ["draft", "held", "issued", "part_paid", "written_off"]


def test_what_is_open_is_given_up_once_with_a_reason_and_is_a_loss(workshop: Invoice) -> None:
    with pytest.raises(InvalidInput, match="say why"):
        write_off_invoice(invoice_id=workshop.pk, at=LATER, actor="ann", reason=" ")
    first, again = written_off(workshop), written_off(workshop)

    assert first == again
    assert (first.reference, f"{first.amount.amount:.2f}", first.reason) == (
        f"{workshop.number}/1",
        "40.00",
        WHO["reason"],
    )
    assert figures(workshop) == ("written_off", "60.00", "40.00", "0.00")
    assert books() == {"1000": "60.00", "4000": "-100.00", "6000": "40.00"}
    all_is_well()


def test_tax_stays_owed_the_loss_is_with_tax() -> None:
    germany()
    customer = a_customer(settlement_channel="manual", currency="EUR")
    set_customer_tax(customer=customer, country="DE", **BY)
    invoice = once(customer, item("100", currency="EUR"))

    written_off(invoice)

    assert books() == {"2300": "-19.00", "4000": "-100.00", "6000": "119.00"}
    all_is_well()


def test_a_late_payment_is_booked_recovers_its_amount_and_the_last_makes_it_paid(workshop: Invoice) -> None:
    written_off(workshop)

    late = paid(workshop, "15", reference="administrator-1", at=LATER + timedelta(days=90))
    assert figures(workshop) == ("written_off", "75.00", "25.00", "0.00")
    assert books() == {"1000": "75.00", "4000": "-100.00", "6000": "25.00"}
    with pytest.raises(Conflict, match="less than"):
        paid(workshop, "25.01", reference="too-much", at=LATER + timedelta(days=91))
    paid(workshop, "15", reference="administrator-1", at=LATER + timedelta(days=90))
    # The last of it was on the bank's list before it was given up: until then nothing was lost.
    paid(workshop, "25", reference="overlooked", at=LATER - timedelta(days=2))

    assert figures(workshop) == ("paid", "100.00", "0.00", "0.00")
    assert books() == {"1000": "100.00", "4000": "-100.00"}
    first, last = Recovery.objects.order_by("id")
    assert (first.cause, first.payment, first.recovered_at) == ("payment", late, LATER + timedelta(days=90))
    assert (f"{last.amount.amount:.2f}", last.recovered_at) == ("25.00", LATER)
    all_is_well()


def test_it_is_taken_back_is_open_again_and_can_be_given_up_anew(workshop: Invoice) -> None:
    written_off(workshop)
    paid(workshop, "10", reference="part", at=LATER + timedelta(days=3))

    for _ in range(2):
        take_back_write_off(
            invoice_id=workshop.pk, at=LATER + timedelta(days=5), actor="ben", reason="they pay after all"
        )
    assert figures(workshop) == ("part_paid", "70.00", "0.00", "30.00")
    assert books() == {"1000": "70.00", "1200": "30.00", "4000": "-100.00"}
    anew = write_off_invoice(invoice_id=workshop.pk, at=LATER + timedelta(days=9), **WHO)

    assert (anew.reference, f"{anew.amount.amount:.2f}") == (f"{workshop.number}/2", "30.00")
    assert [one.cause for one in Recovery.objects.order_by("id")] == ["payment", "reversal"]
    with pytest.raises(Conflict, match="nothing is given up"):
        take_back_write_off(invoice_id=once(workshop.customer, key="other").pk, at=LATER, actor="ben", reason="why not")
    all_is_well()


def test_a_credit_note_takes_what_was_given_up_off_first_and_gives_its_tax_and_revenue_back(workshop: Invoice) -> None:
    written_off(workshop)

    part = credited(workshop, of_line(1, amount="15"))
    assert f"{part.offset_amount.amount:.2f}" == "15.00"
    assert figures(workshop) == ("written_off", "60.00", "25.00", "0.00")
    whole = credited(workshop, disposition="refund", key="all")

    assert (f"{whole.offset_amount.amount:.2f}", f"{whole.refund_amount.amount:.2f}") == ("25.00", "60.00")
    assert figures(workshop) == ("paid", "60.00", "0.00", "0.00")
    assert books() == {"1000": "60.00", "2400": "-60.00"}
    all_is_well()


def test_only_what_is_open_of_an_issued_invoice_is_given_up_and_nothing_that_was_not_delivered(acme: Customer) -> None:
    settled, void, credit = once(acme, key="paid"), once(acme, key="void"), sold(acme).invoice
    paid(settled)
    void_invoice(invoice_id=void.pk, at=LATER, **WHO)

    for invoice, why in ((settled, "is paid"), (void, "is void"), (credit, "sells credit")):
        with pytest.raises(Conflict, match=why):
            write_off_invoice(invoice_id=invoice.pk, at=LATER, **WHO)
    open_ = once(acme, key="open")
    with pytest.raises(Conflict, match="not issued yet"):
        write_off_invoice(invoice_id=open_.pk, at=JULY - timedelta(days=1), **WHO)
    written_off(open_)
    with pytest.raises(BillingError, match="written off and cannot become void"):
        void_invoice(invoice_id=open_.pk, at=LATER, **WHO)

    take_back_write_off(invoice_id=open_.pk, at=LATER, **WHO)
    void_invoice(invoice_id=open_.pk, at=LATER, **WHO)
    assert books().get("6000") is None
    all_is_well()


def test_it_is_chased_no_more_and_yet_nobody_is_served_again_for_it(workshop: Invoice) -> None:
    late = AUGUST + timedelta(days=60)
    assert list(overdue(at=late)) == [workshop]

    written_off(workshop)

    standing = standing_of(customer_key="cust_acme", at=late)
    assert list(overdue(at=late)) == []
    assert standing is not None
    assert (standing.overdue_since, standing.circumstances.owes) == (workshop.due_date, True)
    paid(workshop, "40", reference="after all", at=late)
    settled = standing_of(customer_key="cust_acme", at=late)
    assert settled is not None
    assert settled.circumstances.owes is False


def test_reports_say_it_from_its_day_on(workshop: Invoice, acme: Customer) -> None:
    written_off(workshop)
    before, after = (LATER - timedelta(days=1)).date(), LATER.date()

    def asked(day: Any) -> Question:
        return Question(as_of=day, start=JULY.date(), end=day, customer=acme)

    open_before, open_after = (open_invoices_report(question=asked(day)) for day in (before, after))
    [section] = statement_report(question=asked(after)).sections

    assert [one.totals["open"] for one in open_before.sections] == [Money("40", "USD")]
    assert [one.rows for one in open_after.sections] == []
    assert section.totals["balance"] == Money("0", "USD")
    assert f"Written off, invoice {workshop.number}" in [row.cells["document"] for row in section.rows]
    assert all(report.is_tied for report in (open_before, open_after))
    assert JournalEntry.objects.get(kind="write_off").reference == f"{workshop.number}/1"
