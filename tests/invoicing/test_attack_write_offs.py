"""Attacks on write-offs by raw SQL, and many at once: never more than is open, never without its record, undone by nothing but a recovery."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError

from invoicing.invoices.models import Invoice
from invoicing.workflows.verify import verify, verify_chains
from invoicing.workflows.void_invoice import void_invoice
from invoicing.workflows.write_off_invoice import take_back_write_off, write_off_invoice
from invoicing.write_offs.models import Recovery, WriteOff
from tests.factories import AUGUST, a_customer, settle_constraints
from tests.invoicing.crediting import LATER, credited, of_line
from tests.invoicing.selling import item, once, paid, sold
from tests.invoicing.test_attack_guards import behind_the_triggers, run_sql
from tests.races import at_once, unexpected

WHO: dict[str, Any] = {"actor": "ann", "reason": "insolvency"}
GIVE_UP = (
    "INSERT INTO invoicing_writeoff (invoice_id, number, reference, currency, amount, written_off_at, actor, reason)"
    " SELECT id, {number}, number || '/{number}', '{currency}', {amount}, now(), 'x', 'x' FROM invoicing_invoice WHERE id = {invoice}"
)
BRING_BACK = (
    "INSERT INTO invoicing_recovery (write_off_id, number, reference, cause, payment_id, currency, amount, recovered_at, actor, reason)"
    " SELECT id, {number}, reference || '/{number}', '{cause}', {payment}, 'USD', {amount}, now(), 'x', 'x'"
    " FROM invoicing_writeoff WHERE invoice_id = {invoice} AND number = 1"
)
SAYS = "UPDATE invoicing_invoice SET status = '{status}', amount_written_off = {amount} WHERE id = {invoice}"


@pytest.fixture
def workshop() -> Invoice:
    """Over USD 100, 60 of them paid."""
    invoice = once(a_customer(settlement_channel="manual"), item("10", "10"))
    paid(invoice, "60")
    settle_constraints()
    return invoice


def give_up(invoice: Invoice, amount: str = "40", *, number: int = 1, currency: str = "USD") -> str:
    return GIVE_UP.format(invoice=invoice.pk, amount=amount, number=number, currency=currency)


def bring_back(
    invoice: Invoice, amount: str = "40", *, number: int = 1, cause: str = "reversal", payment: str = "NULL"
) -> str:
    return BRING_BACK.format(invoice=invoice.pk, amount=amount, number=number, cause=cause, payment=payment)


def says(invoice: Invoice, amount: str = "40", status: str = "written_off") -> str:
    return SAYS.format(invoice=invoice.pk, amount=amount, status=status)


@pytest.mark.django_db
@pytest.mark.requirement("S0-112")
def test_nothing_is_given_up_but_all_that_is_open_with_its_record(workshop: Invoice) -> None:
    credit = sold(workshop.customer).invoice
    settle_constraints()
    for statements in (
        # The word without the record, the record without the word, more or less than is open, in another currency, the second first.
        (says(workshop),),
        (give_up(workshop),),
        (give_up(workshop, "41"), says(workshop, "41")),
        (give_up(workshop, "39"), says(workshop, "39")),
        (give_up(workshop, currency="EUR"), says(workshop)),
        (give_up(workshop, number=2), says(workshop)),
        (give_up(workshop), says(workshop, "40", "issued")),
        (give_up(workshop), says(workshop, "0", "paid")),
        # Credit that nobody has delivered.
        (give_up(credit, "100"), says(credit, "100")),
    ):
        with pytest.raises(DatabaseError):
            run_sql(*statements)

    assert WriteOff.objects.count() == 0
    assert verify() == []
    # The same by the right figures goes through, and the books, which were left out, are missed.
    run_sql(give_up(workshop), says(workshop))
    found = {one.message for one in verify()}
    assert "it moves the loss by USD 40.00, the books say something else" in found


@pytest.mark.django_db
@pytest.mark.requirement("S0-112")
def test_it_is_undone_by_nothing_but_a_recovery_of_what_came(workshop: Invoice) -> None:
    write_off_invoice(invoice_id=workshop.pk, at=LATER, **WHO)
    settle_constraints()
    earlier = workshop.payments.get().pk
    for statements in (
        (says(workshop, "0", "issued"),),
        (says(workshop, "0", "paid"),),
        (says(workshop, "0", "void"),),
        (f"UPDATE invoicing_invoice SET amount_written_off = 30, amount_paid = 70 WHERE id = {workshop.pk}",),
        (bring_back(workshop),),
        (bring_back(workshop, "30"), says(workshop, "0", "issued")),
        (bring_back(workshop, "41"), says(workshop, "0", "issued")),
        # A payment that came before, and of another amount.
        (bring_back(workshop, "60", cause="payment", payment=str(earlier)), says(workshop, "0", "issued")),
        (bring_back(workshop, "40", cause="payment", payment=str(earlier)), says(workshop, "0", "issued")),
        (bring_back(workshop, "40", cause="payment"), says(workshop, "0", "issued")),
        ("UPDATE invoicing_writeoff SET amount = 1",),
        ("DELETE FROM invoicing_writeoff",),
        ("TRUNCATE invoicing_writeoff, invoicing_recovery",),
    ):
        with pytest.raises(DatabaseError):
            run_sql(*statements)

    take_back_write_off(invoice_id=workshop.pk, at=LATER + timedelta(days=1), **WHO)
    settle_constraints()
    for statement in (
        "UPDATE invoicing_recovery SET amount = 1",
        "DELETE FROM invoicing_recovery",
        give_up(workshop, "40"),
    ):
        with pytest.raises(DatabaseError):
            run_sql(statement)
    assert verify() == []

    behind_the_triggers(
        f"UPDATE invoicing_invoice SET status = 'written_off', amount_written_off = 40 WHERE id = {workshop.pk}"
    )
    assert f"invoice {workshop.number}" in {one.subject for one in verify_chains()}


@pytest.mark.django_db(transaction=True)
def test_paid_credited_void_and_given_up_at_once_comes_to_what_was_owed() -> None:
    customer = a_customer(settlement_channel="manual")
    workshops = [once(customer, item("10", "10"), key=f"workshop-{number}") for number in range(3)]
    later = AUGUST + timedelta(days=12)

    outcomes = [
        outcome
        for workshop in workshops
        for outcome in at_once(
            lambda workshop=workshop: write_off_invoice(invoice_id=workshop.pk, at=later, **WHO),
            lambda workshop=workshop: write_off_invoice(invoice_id=workshop.pk, at=later, **WHO),
            lambda workshop=workshop: paid(workshop, "70", at=later),
            lambda workshop=workshop: credited(workshop, of_line(1, quantity=4), key=f"four-{workshop.pk}", at=later),
            lambda workshop=workshop: void_invoice(invoice_id=workshop.pk, at=later, actor="test", reason="mistake"),
        )
    ]

    assert unexpected(outcomes) == []
    for workshop in workshops:
        workshop.refresh_from_db()
        open_ = workshop.amount_paid + workshop.amount_credited + workshop.amount_written_off + workshop.amount_due
        assert workshop.status == "void" or open_ == workshop.total
    assert all(one.amount.amount > 0 for one in (*WriteOff.objects.all(), *Recovery.objects.all()))
    assert verify() == []
