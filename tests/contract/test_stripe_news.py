"""Stripe's published objects, delivered as news of ours: whatever they say, in whatever order and number, what is true at Stripe comes out, once."""

import json
import os
import random
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from djstripe import models as mirrored
from moneyed import Money

from billing_site.kernel.clock import now
from billing_site.sandbox.models import SandboxObject
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.ledger.models import JournalEntry
from invoicing.payments.dispute import Dispute, DisputeMovement
from invoicing.payments.intake import sweep_notices
from invoicing.payments.models import Payment, PaymentFailure, StripeCustomer, StripeNotice
from invoicing.stripe_subscriptions.models import SubscriptionMismatch
from invoicing.workflows.follow_subscription import link_to_stripe
from invoicing.workflows.verify import verify
from tests.invoicing.payments.building import a_card_customer, an_event, an_issued_invoice, run_queued_jobs
from tests.invoicing.payments.conftest import listener, sandbox
from tests.invoicing.selling import books
from tests.invoicing.test_stripe_subscriptions import at_stripe

__all__ = ["listener", "sandbox"]
pytestmark = pytest.mark.contract
SEED = int(os.environ.get("NEWS_SEED", "1"))
ORDERS = 3
# What each customer's bank says, and what has to come of its invoice whatever is told.
CARDS = {
    "paid": "pm_card_visa",
    "refused": "pm_card_chargeCustomerFail",
    "confirmed": "pm_card_threeDSecure2Required",
    "disputed": "pm_card_createDispute",
}
# Every event that we follow, by the object that it brings; true or not at this moment.
NEWS = {
    "charge": ("succeeded", "failed", "updated", "refunded"),
    "customer": ("created", "updated"),
    "dispute": ("created", "updated", "funds_withdrawn", "funds_reinstated", "closed"),
    "invoice": [
        "created",
        "finalized",
        "paid",
        "payment_succeeded",
        "payment_failed",
        "payment_action_required",
        "voided",
        "marked_uncollectible",
        "updated",
        "sent",
    ],
    "payment_intent": ("created", "succeeded", "requires_action", "payment_failed", "canceled"),
    "subscription": ("created", "updated", "deleted", "paused", "trial_will_end"),
    "payment_method": ("attached", "detached", "updated", "automatically_updated"),
}
PREFIXES = {"dispute": "charge.dispute", "subscription": "customer.subscription"}
# What is true at Stripe, and so here, after all orders; by customer. Books are those of all four together.
OUTCOME = {
    "paid": {"status": "paid", "paid": Money("280", "USD"), "refusals": []},
    "refused": {"status": "issued", "paid": Money("0", "USD"), "refusals": ["generic_decline"]},
    "confirmed": {"status": "issued", "paid": Money("0", "USD"), "refusals": ["authentication_required"]},
    "disputed": {"status": "paid", "paid": Money("280", "USD"), "refusals": []},
}
ENTRIES = {"issue": 4, "payment": 2, "dispute": 1, "dispute_fee": 1}
BOOKS = {"1100": "265.00", "1150": "280.00", "1200": "560.00", "4000": "-1120.00", "6110": "15.00"}
MIRRORS = {
    "Customer": 4,
    "Invoice": 4,
    "PaymentIntent": 4,
    "PaymentMethod": 4,
    "Charge": 3,
    "Dispute": 1,
    "Subscription": 4,
    "Price": 4,
}


@pytest.fixture
def examples(shared: Path) -> dict[str, dict[str, Any]]:
    """Return Stripe's published objects by their kind."""
    resources: dict[str, dict[str, Any]] = json.loads((shared / "contracts/stripe/fixtures.json").read_text())[
        "resources"
    ]
    return resources


def world(sandbox: Any, number: int) -> dict[str, Customer]:
    """Four customers whose invoices were pushed, each with a subscription at Stripe, and of whom no news has come; that of the refused one is cancelled there."""
    customers = {name: a_card_customer(f"{name}_{number}", card) for name, card in CARDS.items()}
    for customer in customers.values():
        an_issued_invoice(customer)
    run_queued_jobs()
    for name, customer in customers.items():
        owner = StripeCustomer.objects.get(customer=customer).stripe_id
        stripe_id = at_stripe(sandbox, customer=owner)
        link_to_stripe(
            subscription=customer.subscriptions.get(), stripe_id=stripe_id, at=now(), actor="ann", reason="agreed"
        )
        if name == "refused":
            sandbox.call("DELETE", f"/v1/subscriptions/{stripe_id}")
    return customers


def news_of(customer: Customer, examples: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return every event about everything that Stripe has of a customer; only the names in it are of ours, all else is the example's."""
    owner = StripeCustomer.objects.get(customer=customer).stripe_id
    charges = set(SandboxObject.objects.filter(kind="charge", body__customer=owner).values_list("id", flat=True))
    events = []
    for kind, words in NEWS.items():
        owned = SandboxObject.objects.filter(kind=kind)
        if kind == "customer":
            owned = owned.filter(id=owner)
        elif kind == "dispute":
            owned = owned.filter(body__charge__in=charges)
        else:
            owned = owned.filter(body__customer=owner)
        for held in owned:
            named = {"id": held.id}
            if kind != "customer" and "customer" in examples[kind]:
                named["customer"] = owner
            if kind == "dispute":
                named |= {"charge": held.body["charge"], "payment_intent": held.body["payment_intent"]}
            prefix = PREFIXES.get(kind, kind)
            events += [(f"{prefix}.{word}", examples[kind] | named) for word in words]
    return events


def deliver_all(
    client: Client, events: list[tuple[str, dict[str, Any]]], chance: random.Random, run: int, *, mirrors: bool = False
) -> None:
    """Deliver events in a random order, a third of them twice or more, while a worker follows some of them now and then."""
    numbered = [(f"evt_{run}_{number}", *event) for number, event in enumerate(events)]
    deliveries = numbered + chance.choices(numbered, k=len(numbered) // 3)
    chance.shuffle(deliveries)
    for event_id, event_type, subject in deliveries:
        payload, signature = an_event(event_type, subject, event_id=event_id)
        headers = {"Stripe-Signature": signature}
        answer = client.post("/webhooks/stripe", payload, content_type="application/json", headers=headers)
        assert answer.status_code == 200, (event_type, answer.content)
        if chance.random() < 0.05:
            run_queued_jobs(mirrors=mirrors)
    run_queued_jobs(mirrors=mirrors)
    # News of a dispute that came before the news of its payment waits and comes again.
    sweep_notices(at=now() + timedelta(hours=1))
    run_queued_jobs(mirrors=mirrors)


def state_of(customer: Customer) -> dict[str, Any]:
    invoice = Invoice.objects.get(customer=customer)
    payments = Payment.objects.filter(invoice=invoice)
    failures = PaymentFailure.objects.filter(invoice=invoice)
    return {
        "status": invoice.status,
        "paid": sum((payment.amount for payment in payments), Money(0, "USD")),
        "refusals": list(failures.values_list("code", flat=True)),
    }


@pytest.mark.requirement("S1-045")
def test_every_published_object_of_ours_in_any_order_has_one_outcome(client, sandbox, listener, examples, capsys):
    with capsys.disabled():
        print(f"\nNEWS_SEED={SEED}, {ORDERS} orders")
    missing = set(NEWS) - set(examples)
    assert not missing, missing

    for run in range(ORDERS):
        customers = world(sandbox, run)
        events = [event for customer in customers.values() for event in news_of(customer, examples)]
        assert {subject["object"] for _, subject in events} == set(NEWS)
        deliver_all(client, events, random.Random(f"{SEED}-{run}"), run, mirrors=run == 0)

        assert {name: state_of(customer) for name, customer in customers.items()} == OUTCOME, (SEED, run)
        notices = StripeNotice.objects.filter(event_id__startswith=f"evt_{run}_")
        assert notices.count() == len(events)
        assert not notices.filter(processed_at=None).exists(), list(
            notices.filter(processed_at=None).values("event_type", "last_error")
        )
        if run == 0:
            assert {name: getattr(mirrored, name).objects.count() for name in MIRRORS} == MIRRORS
            assert Counter(row.status for row in mirrored.Invoice.objects.all()) == {"paid": 2, "open": 2}

    assert Counter(JournalEntry.objects.values_list("kind", flat=True)) == {k: v * ORDERS for k, v in ENTRIES.items()}
    assert books() == {code: f"{Money(amount, 'USD').amount * ORDERS:.2f}" for code, amount in BOOKS.items()}
    assert list(Dispute.objects.values_list("status", flat=True)) == ["needs_response"] * ORDERS
    # The card of the one that has to be confirmed does not pay: 23 hours are not over.
    contradicting = SubscriptionMismatch.objects.filter(closed_at=None).values_list("here", "there")
    assert list(contradicting) == [("running", "canceled")] * ORDERS
    assert DisputeMovement.objects.count() == 2 * ORDERS
    assert verify() == []


def test_every_published_object_of_nobody_is_kept_and_harmless(client, sandbox, listener, examples):
    invoice = an_issued_invoice()
    run_queued_jobs()
    events = [(f"{kind}.updated", body) for kind, body in examples.items()]
    events += [(f"{kind}.{word}", examples[kind]) for kind, words in NEWS.items() for word in words]

    deliver_all(client, events, random.Random(SEED), 0)

    notices = StripeNotice.objects.all()
    assert notices.count() == len(events)
    assert {notice.outcome.partition(":")[0] for notice in notices} == {"ignored"}, [
        (notice.event_type, notice.outcome, notice.last_error) for notice in notices if "ignored" not in notice.outcome
    ]
    invoice.refresh_from_db()
    assert (invoice.status, Payment.objects.count(), PaymentFailure.objects.count()) == ("issued", 0, 0)
    assert Counter(JournalEntry.objects.values_list("kind", flat=True)) == {"issue": 1}
