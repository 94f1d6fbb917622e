"""Subscriptions that stand for one at Stripe, in the back office: linked on their page, in the queue while they contradict, unlinked."""

from typing import Any

import pytest

from billing_site.backoffice.subscription_queue import subscription_queue
from invoicing.payments import hurry
from invoicing.stripe_subscriptions.models import StripeSubscription, SubscriptionMismatch
from tests.billing_site.backoffice.conftest import a_member
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import a_plan, a_subscription
from tests.invoicing.payments.building import a_card_customer
from tests.invoicing.payments.conftest import listener, sandbox
from tests.invoicing.test_stripe_subscriptions import at_stripe

__all__ = ["listener", "sandbox"]
PAGES = "/admin/invoicing/"


def test_a_subscription_is_linked_compared_and_unlinked_each_with_a_reason(
    sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    finance, support = a_member("fiona", "Finance"), a_member("sam", "Support")
    a_plan()
    subscription = a_subscription(a_card_customer())
    page = f"{PAGES}subscription/{subscription.pk}/"
    stripe_id = at_stripe(sandbox)
    form = {"stripe_id": stripe_id, "reason": "the same agreement"}

    empty = [text_of(finance.get(f"{PAGES}{name}/")) for name in ("stripesubscription", "subscriptionmismatch")]
    forbidden = support.post(f"{page}link-to-stripe/", form)
    asked = text_of(finance.get(f"{page}link-to-stripe/"))
    wrong = text_of(finance.post(f"{page}link-to-stripe/", form | {"stripe_id": "sub_1"}))
    with monkeypatch.context() as patch:
        # As if it took longer than anybody waits.
        patch.setattr(hurry, "SECONDS", 0)
        late = text_of(finance.post(f"{page}link-to-stripe/", form))
    made = finance.post(f"{page}link-to-stripe/", form)
    link = StripeSubscription.objects.get()
    shown = text_of(finance.get(f"{page}change/"))

    assert "is linked to it on its own page" in empty[0] and "until both agree" in empty[1]
    assert forbidden.status_code == 403
    assert "Nothing here or there is changed by it" in asked
    assert "Stripe has no subscription sub_1" in wrong
    assert "longer than somebody who waits" in late
    assert made.status_code == 302
    assert stripe_id in shown and "compared" in shown and "Link to Stripe" not in shown

    sandbox.call("DELETE", f"/v1/subscriptions/{stripe_id}")
    own = f"{PAGES}stripesubscription/{link.pk}/"
    assert support.post(f"{own}look/").status_code == 403
    assert "Stripe is asked" in text_of(finance.get(f"{own}look/"))
    assert not SubscriptionMismatch.objects.exists()
    with monkeypatch.context() as patch:
        patch.setattr(hurry, "SECONDS", 0)
        assert "longer than somebody who waits" in text_of(finance.post(f"{own}look/", follow=True))
    finance.post(f"{own}look/")
    mismatch = SubscriptionMismatch.objects.get()
    queue = subscription_queue()
    listed = [text_of(finance.get(f"{PAGES}{name}/")) for name in ("stripesubscription", "subscriptionmismatch")]
    found = text_of(finance.get(f"{PAGES}subscriptionmismatch/{mismatch.pk}/change/"))
    filtered = text_of(finance.get(f"{PAGES}stripesubscription/?state=agrees"))

    assert (queue.count, queue.why[:44]) == (1, "It runs here, but at Stripe it is canceled: ")
    assert "contradicts" in listed[0] and "canceled" in listed[0] and "to look at" in listed[1]
    assert "End it here, or subscribe it again" in found
    assert stripe_id not in filtered
    assert "Stripe sees it otherwise. It runs here, but at Stripe it is canceled" in text_of(
        finance.get(f"{page}change/")
    )
    assert finance.get(f"{PAGES}stripesubscription/add/").status_code == 403

    assert support.post(f"{own}unlink/", {"reason": "x"}).status_code == 403
    finance.post(f"{own}unlink/", {"reason": "another took its place"})
    assert subscription_queue().count == 0
    assert "unlinked" in text_of(finance.get(f"{own}change/"))
    assert "another took its place" in text_of(finance.get(f"{own}history/"))
