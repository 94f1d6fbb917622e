"""Changing a subscription in the back office: preview, reason, and what is refused stands at its field."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from tests.factories import a_customer, a_plan, a_subscription, usd_fee

pytestmark = pytest.mark.django_db

STATED = {"timing": "stated", "at_0": "2026-11-16", "at_1": "00:00:00"}


@pytest.fixture
def subscription(db: Any) -> Subscription:
    """On `pro`, since the beginning of November."""
    a_plan("pro", usd_fee("30"))
    return a_subscription(a_customer(), started_at=datetime(2026, 11, 1, tzinfo=UTC))


def page_of(subscription: Subscription) -> str:
    return reverse("admin:invoicing_subscription_change_terms", args=[subscription.pk])


def test_seats_are_changed_only_after_they_were_looked_at_and_with_a_reason(
    finance: Client, subscription: Subscription
) -> None:
    wanted = {"kind": "quantity", "quantity": "2", **STATED}

    shown = finance.post(page_of(subscription), wanted)
    hidden = {name: value or "" for name, value in shown.context["form"].initial.items()}
    unreasoned = finance.post(page_of(subscription), {**hidden, "reason": ""})
    assert SubscriptionPhase.objects.count() == 1
    finance.post(page_of(subscription), {**hidden, "reason": "two people"})

    assert "USD 45.00" in shown.content.decode()
    assert "USD 45.00" in unreasoned.content.decode()
    assert [phase.quantity for phase in SubscriptionPhase.objects.order_by("starts_at")] == [1, 2]
    reasons = {row.history_change_reason for row in SubscriptionPhase.history.all()}  # type: ignore[attr-defined]
    assert "fiona: two people" in reasons


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"kind": "quantity", **STATED}, "quantity"),
        ({"kind": "quantity", "quantity": "0", **STATED}, "quantity"),
        ({"kind": "plan", **STATED}, "plan_version"),
        ({"kind": "pause", "timing": "stated"}, "at"),
        ({"kind": "pause", **STATED, "at_0": "2026-10-01"}, "at"),
        ({"kind": "resume", **STATED, "at_0": "2026-10-01"}, "at"),
        ({"kind": "reactivate", **STATED}, "at"),
        ({"kind": "trial_end", **STATED}, "at"),
        ({"kind": "cancel", **STATED, "at_0": "2026-11-01"}, "at"),
        ({"kind": "free", **STATED}, "kind"),
    ],
)
def test_what_is_refused_stands_at_its_field(
    finance: Client, subscription: Subscription, wanted: dict[str, str], field: str
) -> None:
    answer = finance.post(page_of(subscription), wanted)

    assert answer.context["form"].errors[field]
    assert SubscriptionPhase.objects.count() == 1


def test_a_digest_of_something_else_changes_nothing(finance: Client, subscription: Subscription) -> None:
    forged = {"kind": "quantity", "quantity": "2", "at": "2026-11-16T00:00:00+00:00", "digest": "x", "reason": "quick"}

    answer = finance.post(page_of(subscription), forged, follow=True)

    assert "Nothing has changed" in answer.content.decode()
    assert SubscriptionPhase.objects.count() == 1


def test_support_looks_but_changes_nothing(support: Client, subscription: Subscription) -> None:
    assert support.get(page_of(subscription)).status_code == 403
