"""Subscriptions that stand for one at Stripe: compared at its news and every day, each contradiction told once, closed when it is gone."""

from datetime import timedelta

import pytest
from django.core import mail
from django.db import InternalError, connection, transaction
from django.db.utils import IntegrityError
from django_q.models import OrmQ
from djstripe.models import Subscription as MirroredSubscription

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict, NotFound
from invoicing.payments import breaker
from invoicing.payments.models import StripeCustomer, StripeNotice
from invoicing.stripe_subscriptions.models import StripeSubscription, SubscriptionMismatch
from invoicing.stripe_subscriptions.operations import unlink
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.models import Subscription
from invoicing.workflows.follow_subscription import link_to_stripe, look_at_subscription, sync_subscription_states
from tests.factories import a_plan, a_subscription
from tests.invoicing.payments.building import a_card_customer, deliver, run_queued_jobs
from tests.invoicing.payments.conftest import listener, sandbox

__all__ = ["listener", "sandbox"]
ATTACKS = (
    "UPDATE invoicing_stripesubscription SET stripe_id = 'sub_other'",
    "UPDATE invoicing_stripesubscription SET stripe_customer_id = 'cus_other'",
    "DELETE FROM invoicing_stripesubscription",
    "TRUNCATE invoicing_stripesubscription CASCADE",
    "UPDATE invoicing_subscriptionmismatch SET message = 'nothing'",
    "UPDATE invoicing_subscriptionmismatch SET closed_at = now()",
    "DELETE FROM invoicing_subscriptionmismatch",
    "INSERT INTO invoicing_subscriptionmismatch (link_id, here, there, message, opened_at, closed_by, closed_because)"
    " SELECT link_id, here, there, message, opened_at, '', '' FROM invoicing_subscriptionmismatch",
    "INSERT INTO invoicing_stripesubscription (subscription_id, stripe_id, stripe_customer_id, status, status_since, seen_at)"
    " SELECT subscription_id, 'sub_x', 'cus_x', 'active', now(), now() FROM invoicing_stripesubscription",
)
BY = {"actor": "ann", "reason": "agreed at Stripe"}


@pytest.fixture(autouse=True)
def alerted(settings):
    settings.ALERT_EMAIL = ["staff@example.com"]


@pytest.fixture
def ours(transactional_db):
    """A subscription that runs."""
    a_plan()
    return a_subscription(a_card_customer())


def at_stripe(sandbox, *, card="pm_card_visa", customer="", **terms):
    """A subscription that Stripe keeps, of a new customer there or the given one; its state follows from the card."""
    product = sandbox.post("/v1/products", {"name": "Support"})["id"]
    price = sandbox.post("/v1/prices", {"product": product, "unit_amount": 900, "recurring[interval]": "month"})["id"]
    body = {"items[0][price]": price, "customer": customer or sandbox.customer(card), **terms}
    return sandbox.post("/v1/subscriptions", body)["id"]


def moves(sandbox, stripe_id, status):
    sandbox.post(f"/_sandbox/subscriptions/{stripe_id}/move", {"status": status})


def linked(ours, stripe_id, **changed):
    return link_to_stripe(subscription=ours, stripe_id=stripe_id, at=now(), **{**BY, **changed})


def followed(sandbox, listener):
    """Follow all news, and do what is queued."""
    notices = deliver(sandbox, listener)
    run_queued_jobs()
    return [StripeNotice.objects.get(pk=notice.pk).outcome for notice in notices]


@pytest.mark.requirement("S1-048")
@pytest.mark.requirement("S1-051")
@pytest.mark.requirement("S0-046")
def test_what_is_cancelled_at_stripe_and_served_here_is_told_at_once_and_closed_when_it_ends_here(
    sandbox, listener, ours
):
    link = linked(ours, at_stripe(sandbox))
    assert (link.status, SubscriptionMismatch.objects.count()) == ("active", 0)
    followed(sandbox, listener)

    sandbox.call("DELETE", f"/v1/subscriptions/{link}")
    [outcome] = followed(sandbox, listener)

    mismatch = SubscriptionMismatch.objects.get()
    assert outcome == mismatch.message
    assert mismatch.message.startswith("It runs here, but at Stripe it is canceled: the customer is served.")
    [told] = mail.outbox
    assert "sub_cust_acme" in told.subject
    assert mismatch.message in told.body and f"/subscriptionmismatch/{mismatch.pk}/" in told.body

    end_subscription(subscription=Subscription.objects.get(pk=ours.pk), ended_at=now(), **BY)
    assert look_at_subscription(link_id=link.pk, at=now() + timedelta(seconds=1)) == (
        "nothing to do: ended here and canceled at Stripe"
    )
    mismatch.refresh_from_db()
    assert (mismatch.closed_by, mismatch.closed_because) == (
        "comparison with Stripe",
        "ended here and canceled at Stripe now",
    )
    assert len(mail.outbox) == 1


@pytest.mark.requirement("S0-045")
@pytest.mark.requirement("S1-049")
@pytest.mark.requirement("S1-050")
def test_what_no_news_told_of_is_found_by_the_daily_comparison_once(sandbox, listener, ours):
    link = linked(ours, at_stripe(sandbox))
    for status in ("past_due", "unpaid"):
        moves(sandbox, link, status)
    sandbox.wait_until_delivered()
    listener.received.clear()

    for _ in range(3):
        assert sync_subscription_states(at=now()) == 1
        run_queued_jobs()

    [mismatch] = SubscriptionMismatch.objects.all()
    assert (mismatch.here, mismatch.there, len(mail.outbox)) == ("running", "unpaid", 1)
    moves(sandbox, link, "canceled")
    sync_subscription_states(at=now())
    run_queued_jobs()
    assert [(one.there, one.closed_at is None) for one in SubscriptionMismatch.objects.order_by("id")] == [
        ("unpaid", False),
        ("canceled", True),
    ]
    assert len(mail.outbox) == 2


@pytest.mark.requirement("S1-043")
def test_a_first_payment_that_does_not_succeed_is_watched_and_told_after_23_hours(sandbox, listener, ours):
    link = linked(ours, at_stripe(sandbox, card="pm_card_chargeCustomerFail"))
    assert (link.status, SubscriptionMismatch.objects.count()) == ("incomplete", 0)

    almost = look_at_subscription(link_id=link.pk, at=link.status_since + timedelta(hours=23, seconds=-1))
    then = [look_at_subscription(link_id=link.pk, at=link.status_since + timedelta(hours=23 + more)) for more in (0, 1)]

    assert almost == "nothing to do: running here and incomplete at Stripe"
    assert "has not succeeded for 23 hours" in then[0] and then[1] == f"told before: {then[0]}"
    run_queued_jobs()
    assert len(mail.outbox) == 1
    moves(sandbox, link, "active")
    followed(sandbox, listener)
    assert not SubscriptionMismatch.objects.filter(closed_at=None).exists()


@pytest.mark.requirement("S0-030")
@pytest.mark.requirement("S0-031")
def test_news_of_a_subscription_that_stands_for_none_is_kept_beside_its_customer_only(sandbox, listener, ours):
    of_nobody = at_stripe(sandbox)
    assert followed(sandbox, listener) == ["ignored: not a subscription of a customer of ours"]
    linked(ours, of_nobody)
    run_queued_jobs(mirrors=True)

    mirrored = MirroredSubscription.objects.get()

    assert (mirrored.id, mirrored.status, mirrored.customer.stripe_data["email"]) == (
        of_nobody,
        "active",
        "ada@example.com",
    )
    assert mirrored.items.get().price.unit_amount == 900


def test_what_is_linked_is_one_to_one_and_unlinked_with_a_reason(sandbox, listener, ours):
    first, second = at_stripe(sandbox), at_stripe(sandbox)
    with pytest.raises(NotFound):
        linked(ours, "sub_unknown")
    link = linked(ours, first)
    assert linked(ours, first) == link
    with pytest.raises(Conflict, match="linked already"):
        linked(ours, second)
    sandbox.call("DELETE", f"/v1/subscriptions/{first}")
    look_at_subscription(link_id=link.pk, at=now())

    unlink(link_id=link.pk, at=now(), actor="ann", reason="another took its place")
    again = linked(ours, second)

    link.refresh_from_db()
    assert (link.unlinked_at is not None, again.stripe_id) == (True, second)
    assert SubscriptionMismatch.objects.get().closed_because == "unlinked: another took its place"
    assert link.history.first().history_change_reason == "ann: another took its place"
    with pytest.raises(Conflict, match="unlinked before"):
        unlink(link_id=link.pk, at=now(), **BY)
    assert sync_subscription_states(at=now()) == 1


def test_the_daily_comparison_queues_nothing_in_an_outage_nor_while_the_looks_before_wait(sandbox, listener, ours):
    linked(ours, at_stripe(sandbox))
    breaker.open_by_hand(at=now(), actor="ada", reason="Stripe asked us to")
    OrmQ.objects.all().delete()
    assert sync_subscription_states(at=now()) == 0

    breaker.close_outage(at=now(), actor="ada", reason="it is over")
    OrmQ.objects.all().delete()
    counts = [sync_subscription_states(at=now() + timedelta(days=days)) for days in (0, 1)]

    assert counts == [1, 0]


def test_one_of_another_customer_at_stripe_is_not_linked(sandbox, listener, ours):
    StripeCustomer.objects.create(customer=ours.customer, stripe_id=sandbox.customer())

    with pytest.raises(Conflict, match="who pays here is cus_"):
        linked(ours, at_stripe(sandbox))


def test_raw_sql_neither_changes_nor_removes_a_link_or_what_contradicted(sandbox, listener, ours):
    stripe_id = at_stripe(sandbox)
    sandbox.call("DELETE", f"/v1/subscriptions/{stripe_id}")
    linked(ours, stripe_id)

    for statement in ATTACKS:
        with pytest.raises((IntegrityError, InternalError)), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
            # What a trigger or a constraint says at the end.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

    assert (StripeSubscription.objects.count(), SubscriptionMismatch.objects.count()) == (1, 1)
