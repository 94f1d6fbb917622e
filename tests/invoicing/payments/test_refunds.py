"""Refunds of credit notes go back through Stripe once, and say in words what stands in the way."""

from datetime import timedelta

import pytest
from django_q.models import OrmQ

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict, NotFound
from billing_site.sandbox.models import SandboxObject
from invoicing.payments import gateway
from invoicing.payments.models import Payment, PushIntent
from invoicing.payments.patience import DATABASE_AWAY, GAPS, UNFORESEEN
from invoicing.payments.queries import refunds_to_transfer
from invoicing.payments.rail import CallBucket
from invoicing.payments.refund import Refund
from invoicing.payments.refunds import retry_refunds, sweep_refunds
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable
from invoicing.workflows.pay_refund import push_refund, settle_refund
from invoicing.workflows.settle_payment import settle_payment
from invoicing.workflows.verify import verify
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    database_is_away,
    deliver,
    remote_invoices,
    run_queued_jobs,
)
from tests.invoicing.selling import books


@pytest.fixture
def paid_invoice(sandbox, listener):
    invoice = an_issued_invoice()
    run_queued_jobs()
    deliver(sandbox, listener)
    run_queued_jobs()
    invoice.refresh_from_db()
    assert invoice.status == "paid"
    return invoice


def refunds_at_stripe():
    return [row.body for row in SandboxObject.objects.filter(kind="refund").order_by("position")]


def test_what_came_through_stripe_goes_back_there_and_no_more(paid_invoice):
    first = credited(paid_invoice, of_line(1, amount="80"), disposition="refund", at=now())
    second = credited(paid_invoice, disposition="refund", at=now())
    assert books() == {"1100": "280.00", "2400": "-280.00"}

    run_queued_jobs()

    [charge] = [row.body for row in SandboxObject.objects.filter(kind="charge")]
    assert [(one["amount"], one["status"], one["charge"]) for one in refunds_at_stripe()] == [
        (8000, "succeeded", Payment.objects.get().reference),
        (20000, "succeeded", Payment.objects.get().reference),
    ]
    assert (charge["amount_refunded"], charge["refunded"]) == (28000, True)
    assert [one.status for note in (first, second) for one in note.refunds.all()] == ["paid", "paid"]
    assert books() == {}
    assert verify() == []


def test_an_answer_that_was_lost_pays_back_once(paid_invoice, monkeypatch):
    note = credited(paid_invoice, disposition="refund", at=now())
    create = gateway.create_refund

    def lost(**named):
        create(**named)
        raise GatewayUnavailable("the line went dead")

    monkeypatch.setattr(gateway, "create_refund", lost)
    run_queued_jobs()
    refund = note.refunds.get()
    assert (refund.status, refund.last_error) == ("pending", "the line went dead")
    with pytest.raises(Conflict, match="Stripe is paying it back"):
        settle_refund(refund_id=refund.pk, channel="manual", reference="x", paid_at=now(), actor="ann")

    later = now() + timedelta(days=2)
    assert sweep_refunds(at=later) == 1
    push_refund(refund_id=refund.pk, at=later)

    refund.refresh_from_db()
    assert (refund.status, len(refunds_at_stripe())) == ("paid", 1)
    assert verify() == []


def test_what_stripe_refuses_is_transferred_by_hand(paid_invoice, monkeypatch):
    note = credited(paid_invoice, disposition="refund", at=now())

    def refused(**named):
        raise GatewayRefused("The charge is too old.")

    monkeypatch.setattr(gateway, "create_refund", refused)
    run_queued_jobs()
    refund = note.refunds.get()
    assert (refund.status, refund.last_error) == ("refused", "The charge is too old.")

    settle_refund(refund_id=refund.pk, channel="manual", reference="SEPA 1", paid_at=now(), actor="ann")

    assert (Refund.objects.get().status, Refund.objects.get().channel) == ("paid", "manual")
    assert books() == {"1000": "-280.00", "1100": "280.00"}
    assert verify() == []


def test_a_refund_that_fails_as_nobody_foresaw_waits_for_people(paid_invoice, monkeypatch):
    note = credited(paid_invoice, disposition="refund", at=now())
    monkeypatch.setattr(gateway, "create_refund", lambda **named: {}["status"])

    run_queued_jobs()

    refund = note.refunds.get()
    assert (refund.status, refund.last_error) == ("failed", UNFORESEEN.format("'status'"))
    assert sweep_refunds(at=refund.next_attempt_at) == 0


def test_a_refund_in_whose_middle_our_database_went_away_comes_again(paid_invoice, monkeypatch):
    note = credited(paid_invoice, disposition="refund", at=now())
    monkeypatch.setattr(gateway, "create_refund", database_is_away)

    run_queued_jobs()

    refund = note.refunds.get()
    assert (refund.status, refund.last_error) == ("pending", DATABASE_AWAY)


@pytest.mark.requirement("S2-013")
def test_a_refund_that_fails_too_often_waits_for_people_and_is_paid_once_when_it_is_tried_again(paid_invoice, sandbox):
    note = credited(paid_invoice, of_line(1, amount="80"), disposition="refund", at=now())
    [refund] = note.refunds.all()
    OrmQ.objects.all().delete()
    sandbox.fault("rate_limit", 1)
    assert push_refund(refund_id=refund.pk, at=now()).failure_count == 0
    CallBucket.objects.update(closed_until=None)
    Refund.objects.update(failure_count=len(GAPS))
    # The money leaves, and we never hear of it.
    sandbox.fault("timeout_after_effect", 2)
    failed = push_refund(refund_id=refund.pk, at=now())
    assert (failed.status, failed.last_error[:34]) == ("failed", "Given up after 11 failures in a ro")
    assert list(refunds_to_transfer()) == []
    with pytest.raises(Conflict, match="nobody knows whether Stripe has paid it back"):
        settle_refund(refund_id=refund.pk, channel="manual", reference="bank-1", paid_at=now(), actor="ada")

    asked = {"refund_ids": [refund.pk], "at": now(), "actor": "ada", "reason": "Stripe is back"}
    assert len(retry_refunds(**asked)) == 1
    with pytest.raises(NotFound):
        retry_refunds(**asked)
    run_queued_jobs()

    assert Refund.objects.get().status == "paid"
    assert [one["amount"] for one in refunds_at_stripe()] == [8000]


def test_a_part_of_what_stripe_collects_is_not_taken_off_but_all_of_it_withdraws_the_invoice(sandbox):
    invoice = an_issued_invoice(a_card_customer(card=""))
    run_queued_jobs()
    assert PushIntent.objects.get().status == "pushed"
    with pytest.raises(Conflict) as conflict:
        credited(invoice, of_line(1, amount="80"), at=now())
    assert conflict.value.code == "open_at_stripe"

    credited(invoice, at=now())
    run_queued_jobs()

    [remote] = remote_invoices(invoice)
    assert remote["status"] == "void"
    with pytest.raises(Conflict, match="less than"):
        settle_payment(
            invoice_id=invoice.pk, channel="manual", reference="late", amount=invoice.total, received_at=now()
        )
    assert verify() == []
