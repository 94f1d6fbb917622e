"""Stripe's disputes, whatever news of them comes in whatever order: mirrored as they are, booked once, and looked for where no news came."""

from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from djstripe.models import Dispute as MirroredDispute
from moneyed import Money

from billing_site.kernel.clock import now
from billing_site.sandbox.models import SandboxObject
from invoicing.payments import gateway
from invoicing.payments.dispute import DecisionKind, Dispute, DisputeMovement
from invoicing.payments.disputes import decide_about_dispute
from invoicing.payments.models import Payment, PushIntent, StripeNotice
from invoicing.payments.push import FROZEN, sweep_pushes
from invoicing.payments.remote import GatewayUnavailable
from invoicing.workflows.follow_dispute import look_at_disputes
from invoicing.workflows.follow_stripe import follow_notice
from invoicing.workflows.verify import verify
from tests.invoicing.crediting import credited
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    deliver,
    queued_jobs,
    receive,
    run_queued_jobs,
)
from tests.invoicing.selling import books, item, once

BY = {"actor": "ann", "reason": "the card was stolen"}


@pytest.fixture
def charge(sandbox, listener):
    """The charge at Stripe that paid an invoice over USD 280."""
    an_issued_invoice()
    settled(sandbox, listener)
    return Payment.objects.get().reference


def settled(sandbox, listener, *event_types):
    """Do what is queued, and follow all news until there is none."""
    run_queued_jobs()
    notices = deliver(sandbox, listener, event_types=event_types)
    run_queued_jobs()
    return notices


def question(sandbox, charge, **params):
    return sandbox.post("/_sandbox/disputes", {"charge": charge, **params})


def decide(sandbox, dispute, status):
    return sandbox.post(f"/_sandbox/disputes/{dispute['id']}/decide", {"status": status})


@contextmanager
def another_worker_at(name):
    """Hold a worker's lock in another session."""
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [name])
        yield


def outcomes():
    rows = StripeNotice.objects.filter(event_type__startswith="charge.dispute").order_by("id")
    return [(row.event_type.removeprefix("charge.dispute."), row.outcome) for row in rows]


@pytest.mark.requirement("S0-047")
def test_opened_and_won_the_money_goes_and_comes_back_and_the_fee_stays(sandbox, listener, charge):
    remote = question(sandbox, charge)
    settled(sandbox, listener)
    dispute = Dispute.objects.get()
    assert (dispute.status, dispute.amount, dispute.reason) == ("needs_response", Money("280", "USD"), "fraudulent")
    assert (dispute.charge, dispute.payment, dispute.network_reason_code) == (charge, Payment.objects.get(), "10.4")
    assert dispute.evidence_due_at is not None
    assert books() == {"1100": "-15.00", "1150": "280.00", "4000": "-280.00", "6110": "15.00"}

    evidence = {"evidence[uncategorized_text]": "winning_evidence", "submit": "true"}
    sandbox.post(f"/v1/disputes/{remote['id']}", evidence)
    settled(sandbox, listener)

    dispute.refresh_from_db()
    assert (dispute.status, dispute.has_evidence, dispute.closed_at is not None) == ("won", True, True)
    assert books() == {"1100": "265.00", "4000": "-280.00", "6110": "15.00"}
    assert outcomes() == [
        (
            "created",
            "dispute over USD 280.00 of invoice INV-2026-00001 (needs an answer); withdrawn USD 280.00, fee of the dispute USD 15.00",
        ),
        ("funds_withdrawn", "nothing to do: the dispute is as it was (needs an answer)"),
        ("closed", "dispute (needs an answer before, won now); given back USD 280.00"),
        ("funds_reinstated", "nothing to do: the dispute is as it was (won)"),
    ]
    assert verify() == []


def test_a_dispute_and_its_charge_are_mirrored_for_dj_stripe(sandbox, listener, charge):
    remote = question(sandbox, charge)
    deliver(sandbox, listener)

    run_queued_jobs(mirrors=True)

    mirrored = MirroredDispute.objects.get()
    assert (mirrored.id, mirrored.charge.id, mirrored.status) == (remote["id"], charge, "needs_response")
    assert mirrored.charge.disputed is True


def test_an_inquiry_becomes_a_chargeback_and_is_lost(sandbox, listener, charge):
    remote = question(sandbox, charge, inquiry="true", amount=10000)
    settled(sandbox, listener)
    assert books() == {"1100": "280.00", "4000": "-280.00"}

    decide(sandbox, remote, "needs_response")
    decide(sandbox, remote, "lost")
    settled(sandbox, listener)

    assert books() == {"1100": "165.00", "4000": "-280.00", "6100": "100.00", "6110": "15.00"}
    assert Dispute.objects.get().status == "lost"
    assert verify() == []


@pytest.mark.parametrize(
    "order",
    [
        ("closed", "created", "funds_withdrawn", "updated"),
        ("funds_withdrawn", "closed"),
        ("updated", "updated", "closed", "closed"),
        ("created",),
    ],
)
def test_any_of_its_news_in_any_order_and_number_has_one_outcome(sandbox, listener, charge, order):
    remote = question(sandbox, charge)
    sandbox.post(f"/v1/disputes/{remote['id']}", {"evidence[product_description]": "answers"})
    decide(sandbox, remote, "lost")

    for notice in settled(sandbox, listener, *(f"charge.dispute.{event}" for event in order)):
        follow_notice(notice_id=notice.pk, at=now())

    assert books() == {"1100": "-15.00", "4000": "-280.00", "6100": "280.00", "6110": "15.00"}
    assert sorted(DisputeMovement.objects.values_list("kind", flat=True)) == ["fee", "lost", "withdrawn"]
    assert StripeNotice.objects.filter(processed_at=None).count() == 0
    assert verify() == []


def test_a_dispute_that_comes_before_its_payment_waits_for_it(sandbox, listener):
    an_issued_invoice(a_card_customer(card="pm_card_createDispute"))
    run_queued_jobs()
    sandbox.wait_until_delivered()
    received = list(listener.received)
    [early] = deliver(sandbox, listener, event_types=("charge.dispute.created",))
    run_queued_jobs()
    early.refresh_from_db()
    assert (early.processed_at, "is not recorded here yet" in early.last_error) == (None, True)

    listener.received[:] = received
    settled(sandbox, listener, "invoice.paid")
    follow_notice(notice_id=early.pk, at=now())

    assert books()["1150"] == "280.00"
    assert verify() == []


def test_a_charge_of_somebody_else_is_none_of_ours(sandbox, listener):
    invoice = sandbox.open_invoice(sandbox.customer("pm_card_createDisputeInquiry"))
    sandbox.post(f"/v1/invoices/{invoice}/pay")

    settled(sandbox, listener, "charge.dispute.created")

    assert outcomes() == [("created", "ignored: not a charge of ours")]
    assert not Dispute.objects.exists()


def test_while_stripe_cannot_answer_or_another_worker_has_it_the_notice_waits(sandbox, listener, charge):
    remote = question(sandbox, charge)
    [notice] = deliver(sandbox, listener, event_types=("charge.dispute.created",))
    sandbox.fault("http_500", 2)
    run_queued_jobs()
    notice.refresh_from_db()
    assert (notice.processed_at, notice.last_error[:23]) == (None, "Stripe cannot answer no")

    with another_worker_at(f"dispute {remote['id']}"):
        follow_notice(notice_id=notice.pk, at=now())
    notice.refresh_from_db()
    assert (notice.processed_at, notice.last_error) == (None, "The dispute is being looked at at this moment.")
    follow_notice(notice_id=notice.pk, at=now())
    assert Dispute.objects.get().stripe_id == remote["id"]


def test_lost_news_is_made_up_for_by_the_hourly_look(sandbox, listener, charge):
    sandbox.fault("drop_webhooks", 10)
    remote = question(sandbox, charge)
    sandbox.wait_until_delivered()

    assert look_at_disputes(at=now()) == 1
    run_queued_jobs()
    assert Dispute.objects.get().status == "needs_response"
    decide(sandbox, remote, "lost")
    sandbox.wait_until_delivered()
    assert look_at_disputes(at=now()) == 1
    run_queued_jobs()

    assert (Dispute.objects.get().status, look_at_disputes(at=now()), listener.received) == ("lost", 0, [])
    assert verify() == []


def test_an_accepted_loss_is_told_to_stripe_once_however_often_it_is_tried(sandbox, listener, charge, monkeypatch):
    question(sandbox, charge)
    settled(sandbox, listener)
    dispute = Dispute.objects.get()
    for _ in range(2):
        decide_about_dispute(dispute_id=dispute.pk, kind=DecisionKind.ACCEPT, at=now(), **BY)
    close = gateway.close_dispute

    def lost(**named):
        close(**named)
        raise GatewayUnavailable("the line went dead")

    monkeypatch.setattr(gateway, "close_dispute", lost)
    with pytest.raises(GatewayUnavailable):
        run_queued_jobs()
    monkeypatch.setattr(gateway, "close_dispute", close)
    assert look_at_disputes(at=now()) == 1
    run_queued_jobs()

    dispute.refresh_from_db()
    assert (dispute.status, dispute.decisions.get().reason) == ("lost", "the card was stolen")
    assert books()["6100"] == "280.00"
    assert verify() == []


def test_a_refund_of_a_charge_that_is_disputed_meanwhile_is_refused_by_stripe_and_said_so(sandbox, listener, charge):
    invoice = Payment.objects.get().invoice
    note = credited(invoice, disposition="refund", at=now())
    question(sandbox, charge)

    settled(sandbox, listener)

    refund = note.refunds.get()
    assert (refund.status, "has been charged back" in refund.last_error) == ("refused", True)
    assert not SandboxObject.objects.filter(kind="refund").exists()


@pytest.mark.requirement("S0-047")
def test_whose_payment_is_disputed_is_not_charged_by_itself_until_that_is_over(sandbox, listener, charge):
    customer = Payment.objects.get().customer
    remote = question(sandbox, charge)
    settled(sandbox, listener)

    later = once(customer, item("50"), at=now())
    run_queued_jobs()
    push = PushIntent.objects.get(invoice=later)
    assert (push.status, push.last_error) == ("pending", FROZEN)
    assert SandboxObject.objects.filter(kind="charge").count() == 1
    assert sweep_pushes(at=now() + timedelta(hours=1)) == 0

    decide(sandbox, remote, "won")
    settled(sandbox, listener)
    assert sweep_pushes(at=now()) == 1
    settled(sandbox, listener)

    later.refresh_from_db()
    assert (later.status, SandboxObject.objects.filter(kind="charge").count()) == ("paid", 2)


def test_what_is_lost_here_and_won_at_stripe_waits_for_people(sandbox, listener, charge):
    remote = question(sandbox, charge)
    decide(sandbox, remote, "lost")
    settled(sandbox, listener)
    row = SandboxObject.objects.get(id=remote["id"])
    row.body["status"] = "won"
    row.save(update_fields=["body"])

    notice = receive("charge.dispute.closed", row.body)
    run_queued_jobs()

    notice.refresh_from_db()
    assert (notice.processed_at, notice.last_error) == (None, "it is lost here and won at Stripe")
    # It comes again by itself, a few times, in case that Stripe changes its mind.
    assert queued_jobs() == [("invoicing.tasks.follow_notice", (notice.pk,))]
