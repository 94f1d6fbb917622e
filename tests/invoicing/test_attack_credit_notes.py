"""Attacks on credit notes by raw SQL, and many at once: never over more than remains, of a line or of the invoice."""

from datetime import timedelta

import pytest
from django.db import DatabaseError

from billing_site.kernel.errors import BillingError
from invoicing.credit_notes.models import CreditNote
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.workflows.verify import verify, verify_chains
from invoicing.workflows.void_invoice import void_invoice
from tests.factories import AUGUST, JULY, a_customer, settle_constraints
from tests.invoicing.crediting import LATER, credited, of_line
from tests.invoicing.selling import item, once, paid
from tests.invoicing.test_attack_guards import behind_the_triggers, run_sql
from tests.races import at_once, unexpected

NOTE = (
    "INSERT INTO invoicing_creditnote (series_id, number, key, customer_id, invoice_id, disposition, currency, total, offset_amount,"
    " balance_amount, refund_amount, issued_at, actor, reason, asked_digest, previous_seal, seal)"
    " SELECT series.id, 'CN-2026-00002', 'forged', invoice.customer_id, invoice.id, '{disposition}', '{currency}', {total}, {offset},"
    " 0, {refund}, invoice.issued_at, 'x', 'x', '', series.last_seal, 'x' FROM invoicing_invoiceseries series, invoicing_invoice invoice"
    " WHERE series.prefix = 'CN-2026' AND invoice.id = {invoice}"
)
LINE = (
    "INSERT INTO invoicing_creditnoteline (note_id, line_id, quantity, currency, amount, creditable, released)"
    " SELECT note.id, line.id, {quantity}, 'USD', {amount}, {creditable}, {released}"
    " FROM invoicing_creditnote note, invoicing_invoiceline line"
    " WHERE note.number = '{number}' AND line.position = 1 AND line.invoice_id = {invoice}"
)
COUNT = "UPDATE invoicing_invoiceseries SET next_number = 3, last_seal = 'x' WHERE prefix = 'CN-2026'"


@pytest.fixture
def workshop() -> Invoice:
    """Over USD 100, 60 of them paid, 10 of them credited."""
    invoice = once(a_customer(settlement_channel="manual"), item("10", "10"))
    credited(invoice, of_line(1, quantity=1))
    paid(invoice, "60", at=LATER)
    settle_constraints()
    return invoice


def forged(invoice: Invoice, *, total: str = "10", offset: str = "10", refund: str = "0", **others: str) -> str:
    named = {"disposition": "refund", "currency": "USD"} | others
    return NOTE.format(total=total, offset=offset, refund=refund, invoice=invoice.pk, **named)


def a_line(
    invoice: Invoice,
    *,
    number: str = "CN-2026-00002",
    amount: str = "10",
    creditable: str = "100",
    quantity: str = "NULL",
    released: str = "0",
) -> str:
    return LINE.format(
        number=number, invoice=invoice.pk, amount=amount, creditable=creditable, quantity=quantity, released=released
    )


@pytest.mark.django_db
@pytest.mark.requirement("S0-112")
def test_no_note_is_written_over_more_than_remains_nor_in_parts(workshop: Invoice) -> None:
    offset = f"UPDATE invoicing_invoice SET amount_credited = 20 WHERE id = {workshop.pk}"
    attacks = [
        # More than the invoice has left, than is open, than was paid.
        (forged(workshop, total="91", offset="30", refund="61"),),
        (forged(workshop, total="31", offset="31"),),
        (forged(workshop, total="61", offset="0", refund="61"),),
        # Without lines, without its offset, without its refund, not counted by its series, in another currency.
        (forged(workshop), offset, COUNT),
        (forged(workshop), a_line(workshop), COUNT),
        (forged(workshop, offset="0", refund="10"), a_line(workshop), COUNT),
        (forged(workshop), a_line(workshop), offset),
        (forged(workshop, currency="EUR"), COUNT),
        # A line over more than it has left, by quantity or amount, with another figure of what it asked for, held by nobody.
        (forged(workshop), a_line(workshop, quantity="9.5"), offset, COUNT),
        (forged(workshop), a_line(workshop, creditable="50"), offset, COUNT),
        (forged(workshop), a_line(workshop, released="1"), offset, COUNT),
        # An offset that no note says, and a line for an issued note.
        (offset,),
        (a_line(workshop, number="CN-2026-00001", amount="1"),),
    ]

    for statements in attacks:
        with pytest.raises(DatabaseError):
            run_sql(*statements)

    workshop.refresh_from_db()
    assert CreditNote.objects.count() == 1
    assert workshop.amount_credited.amount == 10
    assert verify() == []
    # The same by the right figures goes through: each refusal above was about what it says.
    run_sql(forged(workshop), a_line(workshop), offset, COUNT)


@pytest.mark.django_db
def test_what_is_issued_is_carved_in_stone_and_a_superusers_change_is_named(workshop: Invoice) -> None:
    note = credited(workshop, of_line(1, amount="40"), disposition="refund")
    settle_constraints()
    for statement in (
        "UPDATE invoicing_creditnote SET reason = 'other'",
        "DELETE FROM invoicing_creditnote",
        "UPDATE invoicing_creditnoteline SET amount = 1",
        "DELETE FROM invoicing_creditnoteline",
        "DELETE FROM invoicing_refund",
        "UPDATE invoicing_refund SET amount = 1",
        "UPDATE invoicing_refund SET status = 'paid'",
        "TRUNCATE invoicing_refund, invoicing_creditnoteline, invoicing_creditnote CASCADE",
        f"UPDATE invoicing_invoice SET amount_credited = 0 WHERE id = {workshop.pk}",
        f"UPDATE invoicing_invoice SET status = 'void' WHERE id = {workshop.pk}",
    ):
        with pytest.raises(DatabaseError):
            run_sql(statement)
    assert verify_chains() == []

    behind_the_triggers(f"UPDATE invoicing_creditnote SET reason = 'other' WHERE id = {note.pk}")

    assert [(one.subject, one.message) for one in verify_chains()] == [
        (f"credit note {note.number}", "it is not the document that was issued")
    ]


@pytest.mark.django_db(transaction=True)
def test_many_notes_payments_and_voids_at_once_give_back_no_more_than_there_was() -> None:
    customer: Customer = a_customer(settlement_channel="manual")
    workshop = once(customer, item("10", "10"), at=JULY)

    outcomes = at_once(
        *[lambda n=n: credited(workshop, of_line(1, quantity=4), key=f"four-{n}") for n in range(3)],
        lambda: credited(workshop, key="all", disposition="balance"),
        lambda: paid(workshop, "50", at=AUGUST + timedelta(days=11)),
        lambda: void_invoice(invoice_id=workshop.pk, at=AUGUST + timedelta(days=12), actor="test", reason="mistake"),
    )

    workshop.refresh_from_db()
    given_back = sum(note.total.amount for note in CreditNote.objects.all())
    assert all(isinstance(outcome, BillingError) for outcome in outcomes if isinstance(outcome, Exception))
    assert unexpected(outcomes) == []
    assert given_back <= 100
    assert workshop.amount_paid.amount + workshop.amount_credited.amount <= 100
    assert verify() == []
