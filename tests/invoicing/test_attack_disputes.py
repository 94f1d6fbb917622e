"""Attacks on disputes by raw SQL, and many at once: never more than was paid, along the table only, the money as the status says."""

from typing import Any

import pytest
from django.db import DatabaseError

from invoicing.invoices.models import Invoice
from invoicing.payments.dispute import Dispute
from invoicing.payments.refund import Refund
from invoicing.workflows.verify import verify
from tests.factories import a_customer, settle_constraints
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.disputing import decided, disputed, paid_by_card
from tests.invoicing.selling import item, once, paid
from tests.invoicing.test_attack_guards import behind_the_triggers, run_sql
from tests.races import at_once, unexpected

DISPUTE = (
    "INSERT INTO invoicing_dispute (payment_id, stripe_id, charge, status, reason, network_reason_code, currency, amount,"
    " has_evidence, opened_at, closed_at) VALUES ({payment}, '{key}', 'ch_x', '{status}', 'x', '', '{currency}', {amount},"
    " FALSE, now(), {closed})"
)
MOVE = (
    "INSERT INTO invoicing_disputemovement (dispute_id, kind, reference, currency, amount, occurred_at)"
    " SELECT id, '{kind}', '{reference}', '{currency}', {amount}, now() FROM invoicing_dispute WHERE stripe_id = '{key}'"
)
DECIDE = (
    "INSERT INTO invoicing_disputedecision (dispute_id, kind, decided_at, actor, reason)"
    " SELECT id, '{kind}', now(), '{actor}', 'x' FROM invoicing_dispute WHERE stripe_id = '{key}'"
)


def dispute(
    payment: object, amount: str, status: str = "needs_response", *, currency: str = "USD", closed: str = "NULL"
) -> str:
    return DISPUTE.format(
        payment=payment, key=f"dp_{amount}_{status}", status=status, currency=currency, amount=amount, closed=closed
    )


def move(kind: str, amount: str, *, key: str = "dp_1", currency: str = "USD") -> str:
    return MOVE.format(kind=kind, reference=f"txn_{kind}_{amount}", currency=currency, amount=amount, key=key)


@pytest.fixture
def workshop() -> Invoice:
    """Over USD 100, 60 of them paid by card, 40 by transfer; 50 of the card's are disputed."""
    invoice = once(a_customer(settlement_channel="stripe"), item("10", "10"))
    disputed(paid_by_card(invoice, "60"), "50")
    paid(invoice, "40")
    settle_constraints()
    return invoice


@pytest.mark.django_db
def test_no_more_is_disputed_than_was_paid_by_card(workshop: Invoice) -> None:
    card = workshop.payments.get(channel="stripe").pk
    transfer = workshop.payments.get(channel="manual").pk
    for statement in (
        dispute(card, "11"),
        dispute(card, "61", "won", closed="now()"),
        dispute(card, "10", currency="EUR"),
        dispute(card, "0"),
        dispute(card, "9", "opened"),
        dispute(card, "9", "lost"),
        dispute(card, "9", closed="now()"),
        dispute(transfer, "10"),
        dispute("NULL", "10"),
        "DELETE FROM invoicing_dispute",
        "TRUNCATE invoicing_dispute CASCADE",
        *(
            f"UPDATE invoicing_dispute SET {change}"
            for change in (
                "amount = 1",
                "currency = 'EUR'",
                "charge = 'ch_y'",
                "stripe_id = 'dp_2'",
                f"payment_id = {transfer}",
                "opened_at = now()",
                "status = 'warning_needs_response'",
                "status = 'won'",
                "status = 'lost', closed_at = now()",
            )
        ),
    ):
        with pytest.raises(DatabaseError):
            run_sql(statement)

    run_sql(dispute(card, "10"))
    assert verify() == [], "an inquiry or a chargeback of which no money has moved yet"


@pytest.mark.django_db
def test_the_money_of_a_dispute_moves_as_its_status_says(workshop: Invoice) -> None:
    for statement in (
        move("withdrawn", "1"),
        move("returned", "51"),
        move("returned", "1", currency="EUR"),
        move("lost", "50"),
        move("lost", "1"),
        move("gone", "1"),
        move("fee", "0"),
        "UPDATE invoicing_disputemovement SET amount = 1",
        "DELETE FROM invoicing_disputemovement",
        "TRUNCATE invoicing_disputemovement",
        DECIDE.format(kind="accept", actor="", key="dp_1"),
        DECIDE.format(kind="forgive", actor="x", key="dp_1"),
    ):
        with pytest.raises(DatabaseError):
            run_sql(statement)

    decided(Dispute.objects.get(), "lost")
    settle_constraints()
    for statement in (
        "UPDATE invoicing_dispute SET status = 'won'",
        "UPDATE invoicing_dispute SET reason = 'general'",
        move("withdrawn", "50"),
        move("returned", "50"),
        DECIDE.format(kind="accept", actor="x", key="dp_1"),
    ):
        with pytest.raises(DatabaseError):
            run_sql(statement)
    assert verify() == []

    behind_the_triggers("UPDATE invoicing_disputemovement SET amount = 49 WHERE kind = 'lost'")
    said = {one.message for one in verify()}
    assert any("the books say something else" in one for one in said)
    assert any("are held for disputes" in one for one in said)


@pytest.mark.django_db
def test_a_disputed_payment_is_not_refunded_by_the_database_either(workshop: Invoice) -> None:
    note = credited(workshop, of_line(1, quantity=5), disposition="refund")
    settle_constraints()
    by_card = note.refunds.get(channel="stripe")
    assert (by_card.amount.amount, note.refunds.get(channel="manual").amount.amount) == (10, 40)

    card = by_card.payment_id
    forged = f"UPDATE invoicing_refund SET payment_id = {card}, channel = 'stripe' WHERE payment_id IS NULL"
    copied = (
        "INSERT INTO invoicing_refund (note_id, payment_id, channel, status, currency, amount, key, reference, attempt_count,"
        " last_error, next_attempt_at, planned_at, actor)"
        f" SELECT note_id, {card}, 'stripe', 'pending', currency, 1, gen_random_uuid(), '', 0, '', now(), now(), ''"
        f" FROM invoicing_refund WHERE id = {by_card.pk}"
    )
    for statement in (forged, copied):
        with pytest.raises(DatabaseError):
            run_sql(statement)
    assert Refund.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_disputed_and_refunded_at_once_nothing_is_paid_back_that_the_bank_has_taken() -> None:
    customer = a_customer(settlement_channel="stripe")
    invoices = [once(customer, item("10", "10"), key=f"workshop-{number}") for number in range(3)]
    outcomes: list[Any] = []
    for number, invoice in enumerate(invoices, start=1):
        payment = paid_by_card(invoice)
        outcomes += at_once(
            lambda payment=payment, number=number: disputed(payment, "60", number=number),
            lambda payment=payment, number=number: disputed(payment, "60", number=number),
            lambda payment=payment, number=number: disputed(payment, "60", number=number + 10),
            lambda invoice=invoice, number=number: credited(
                invoice, of_line(1, quantity=6), disposition="refund", key=f"six-{number}"
            ),
        )

    assert unexpected(outcomes) == []
    for number, invoice in enumerate(invoices, start=1):
        payment = invoice.payments.get()
        assert sum(one.amount.amount for one in payment.disputes.all()) == 60, number
    assert verify() == []
