"""What each of Stripe's events does here, by the table that the runbook is made of; and those that never came are fetched."""

from datetime import timedelta
from pathlib import Path

import pytest

from billing_site.kernel.clock import now
from billing_site.sandbox.models import SandboxObject
from invoicing.payments.missed import fetch_missed_news
from invoicing.payments.models import PaymentFailure, StripeCustomer, StripeNotice
from invoicing.payments.news import EVENTS, THIN
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    assert_paid_once,
    deliver,
    receive,
    run_queued_jobs,
)
from tests.invoicing.payments.test_follow_stripe import forget

ROOT = Path(__file__).resolve().parents[3]
# What came of each event, first for an invoice that its card has paid and of which we know nothing yet; in this order.
OUTCOMES = {
    "invoice.finalized": "paid USD 280.00",
    "invoice.paid": "stale: the invoice is paid already",
    "invoice.payment_succeeded": "stale: the invoice is paid already",
    "invoice.payment_failed": "stale: the invoice is paid already",
    "invoice.payment_action_required": "stale: the invoice is paid already",
    "invoice.voided": "stale: the invoice is paid already",
    "invoice.marked_uncollectible": "stale: the invoice is paid already",
    "payment_intent.requires_action": "stale: the invoice is paid already",
    "charge.refunded": "mirrored",
    "customer.updated": "mirrored",
    "payment_method.attached": "mirrored",
    "payment_method.automatically_updated": "mirrored",
    "payment_method.updated": "mirrored",
    "payment_method.detached": "mirrored",
    "customer.subscription.created": "mirrored: it stands for no subscription of ours; link it there if it should",
    "customer.subscription.updated": "mirrored: it stands for no subscription of ours; link it there if it should",
    "customer.subscription.deleted": "mirrored: it stands for no subscription of ours; link it there if it should",
}
# These have files of their own: test_follow_disputes, test_leave_card, test_payouts, meter_reports/test_repairing.
ELSEWHERE = {name for name in EVENTS if name.startswith(("charge.dispute.", "checkout.session.", "payout."))} | set(
    THIN
)


def test_the_runbook_says_what_each_event_does():
    rows = [line for line in (ROOT / "docs" / "stripe-rail.md").read_text().splitlines() if line.startswith("| `")]

    assert rows[: len(EVENTS)] == [f"| `{name}` | {words} |" for name, words in EVENTS.items()]
    assert set(OUTCOMES) | ELSEWHERE == set(EVENTS)


@pytest.mark.requirement("S0-029")
@pytest.mark.requirement("S0-032")
@pytest.mark.requirement("S0-033")
def test_each_event_of_a_customer_of_ours_does_what_the_table_says(sandbox, listener):
    invoice = an_issued_invoice()
    run_queued_jobs()
    owner = StripeCustomer.objects.get().stripe_id
    held = {row.kind: row.body for row in SandboxObject.objects.exclude(kind="event")}
    held["subscription"] = {"object": "subscription", "id": "sub_1", "customer": owner}

    told = {}
    for event_type in OUTCOMES:
        kind = "subscription" if "subscription" in event_type else event_type.partition(".")[0]
        receive(event_type, held[kind], event_id=f"evt_{event_type}")
        run_queued_jobs()
        told[event_type] = StripeNotice.objects.get(event_id=f"evt_{event_type}").outcome

    assert told == OUTCOMES
    assert_paid_once(invoice)


@pytest.mark.requirement("S0-048")
def test_news_of_the_payment_alone_tells_that_a_customer_has_to_confirm_it(sandbox, listener):
    invoice = an_issued_invoice(a_card_customer(card="pm_card_threeDSecure2Required"))
    run_queued_jobs()
    forget(PaymentFailure.objects.get())
    intent = SandboxObject.objects.get(kind="payment_intent").body

    receive("payment_intent.requires_action", intent)
    receive("payment_intent.requires_action", intent | {"id": "pi_other"}, event_id="evt_other")
    run_queued_jobs()

    failure = PaymentFailure.objects.get()
    assert (failure.invoice, failure.code) == (invoice, "authentication_required")
    assert [notice.outcome for notice in StripeNotice.objects.order_by("event_id")] == [
        f"payment refused (authentication_required): {failure.message}",
        "mirrored: it pays no invoice of ours",
    ]


@pytest.mark.requirement("S1-049")
def test_news_that_never_came_is_fetched_once_and_followed(sandbox, listener):
    invoice = an_issued_invoice()
    run_queued_jobs()
    sandbox.wait_until_delivered()
    paid = listener.received[-1]
    listener.received.clear()
    at = now()

    early = fetch_missed_news(at=at + timedelta(minutes=59))
    fetched = [fetch_missed_news(at=at + timedelta(hours=2)) for _ in range(2)]
    run_queued_jobs()
    listener.received.append(paid)
    deliver(sandbox, listener)

    assert_paid_once(invoice)
    notices = StripeNotice.objects.filter(processed_at=None)
    assert (early, fetched[0] > 0, fetched[1], notices.count()) == (0, True, 0, 0)
    assert StripeNotice.objects.get(event_type="invoice.paid").delivery_count == 1
    assert set(StripeNotice.objects.values_list("event_type", flat=True)) <= set(EVENTS)
    assert fetch_missed_news(at=at + timedelta(days=5)) == 0


def test_a_worker_that_was_away_for_ten_days_misses_nothing_that_stripe_still_has(sandbox, listener):
    at = now()
    assert fetch_missed_news(at=at) == 0
    invoice = an_issued_invoice()
    run_queued_jobs()
    sandbox.wait_until_delivered()
    listener.received.clear()

    assert fetch_missed_news(at=at + timedelta(days=10)) > 0
    run_queued_jobs()

    assert_paid_once(invoice)
