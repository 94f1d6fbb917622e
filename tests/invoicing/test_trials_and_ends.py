"""Trials are moved, ends are planned and taken back; nothing becomes free by accident and nothing is charged twice."""

from datetime import UTC, datetime

import pytest

from billing_site.kernel.errors import BillingError
from invoicing.subscriptions.cancel import end_subscription, reactivate_subscription
from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from invoicing.subscriptions.queries import incomplete, state_of
from invoicing.subscriptions.trial import move_trial_end
from invoicing.workflows.run_billing import issue_billing
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    amounts,
    settle_constraints,
    usd_fee,
)

pytestmark = pytest.mark.django_db

BILLED_AT = datetime(2026, 10, 1, tzinfo=UTC)
WHO = {"actor": "test", "reason": "asked for it"}
MID_JULY = datetime(2026, 7, 16, tzinfo=UTC)
MID_AUGUST = datetime(2026, 8, 16, tzinfo=UTC)


@pytest.fixture
def trial() -> Subscription:
    """A fee of 31 a month after a trial to the middle of July."""
    a_plan("pro", usd_fee("31"))
    return a_subscription(a_customer(), trial_ends_at=MID_JULY)


def phases() -> list[tuple[str, str, str]]:
    settle_constraints()
    return [
        (phase.kind, f"{phase.starts_at:%m-%d}", f"{phase.ends_at:%m-%d}" if phase.ends_at else "")
        for phase in SubscriptionPhase.objects.order_by("starts_at")
    ]


def billed(until: datetime) -> list[str]:
    report = issue_billing(as_of=until, at=BILLED_AT)
    assert report.failures == []
    return [amount for invoice in report.invoices for amount in amounts(invoice.lines.order_by("position"))]


@pytest.mark.parametrize(
    ("at", "expected", "fees"),
    [
        (datetime(2026, 7, 26, tzinfo=UTC), [("trial", "07-01", "07-26"), ("active", "07-26", "")], ["6.00"]),
        (datetime(2026, 7, 6, tzinfo=UTC), [("trial", "07-01", "07-06"), ("active", "07-06", "")], ["26.00"]),
        (JULY, [("active", "07-01", "")], ["31.00"]),
        (MID_AUGUST, [("trial", "07-01", "08-16"), ("active", "08-16", "")], []),
    ],
)
def test_a_trial_is_extended_or_ended_early(
    trial: Subscription, at: datetime, expected: list[tuple[str, str, str]], fees: list[str]
) -> None:
    move_trial_end(subscription=trial, at=at, **WHO)
    move_trial_end(subscription=trial, at=at, **WHO) if at != JULY else None

    assert phases() == expected
    assert billed(AUGUST) == fees


def test_a_trial_is_not_extended_into_what_is_invoiced(trial: Subscription) -> None:
    billed(AUGUST)

    with pytest.raises(BillingError, match="invoiced until") as refused:
        move_trial_end(subscription=trial, at=MID_AUGUST, **WHO)

    assert [error.field for error in refused.value.field_errors] == ["at"]


@pytest.mark.requirement("S1-040")
@pytest.mark.requirement("S1-041")
@pytest.mark.requirement("S1-043")
@pytest.mark.parametrize(
    ("terms", "state"),
    [
        ({"settlement_channel": "stripe"}, "incomplete"),
        ({"settlement_channel": "stripe", "payment_method": "pm_card_visa"}, "running"),
        ({"settlement_channel": "manual"}, "running"),
    ],
)
def test_a_trial_that_ends_without_the_means_of_payment_it_needs_is_listed_and_charged(
    terms: dict[str, str], state: str
) -> None:
    a_plan("pro", usd_fee("31"))
    subscription = a_subscription(a_customer(**terms), trial_ends_at=MID_JULY)

    assert state_of(subscription=subscription, at=datetime(2026, 7, 15, tzinfo=UTC)) == "trial"
    assert not incomplete(at=datetime(2026, 7, 15, tzinfo=UTC)).exists()
    assert state_of(subscription=subscription, at=MID_JULY) == state
    assert list(incomplete(at=MID_JULY)) == ([subscription] if state == "incomplete" else [])
    assert billed(AUGUST) == ["16.00"]


def test_a_subscription_without_trial_has_none_to_move(trial: Subscription) -> None:
    other = a_subscription(a_customer("cust_other"), key="other")

    with pytest.raises(BillingError, match="has no trial"):
        move_trial_end(subscription=other, at=MID_JULY, **WHO)


def test_a_planned_end_is_taken_back_before_it_comes(trial: Subscription) -> None:
    end_subscription(subscription=trial, ended_at=AUGUST, **WHO)

    reactivate_subscription(subscription=trial, at=datetime(2026, 7, 20, tzinfo=UTC), **WHO)

    assert phases() == [("trial", "07-01", "07-16"), ("active", "07-16", "")]
    trial.refresh_from_db()
    assert trial.ended_at is None
    assert billed(SEPTEMBER) == ["16.00", "31.00"]


def test_what_has_ended_goes_on_after_a_pause(trial: Subscription) -> None:
    end_subscription(subscription=trial, ended_at=AUGUST, **WHO)
    billed(AUGUST)

    reactivate_subscription(subscription=trial, at=MID_AUGUST, **WHO)

    assert phases() == [
        ("trial", "07-01", "07-16"),
        ("active", "07-16", "08-01"),
        ("paused", "08-01", "08-16"),
        ("active", "08-16", ""),
    ]
    assert billed(SEPTEMBER) == ["16.00"]


def test_a_trial_that_was_cut_by_its_end_is_not_longer_for_it(trial: Subscription) -> None:
    end_subscription(subscription=trial, ended_at=datetime(2026, 7, 6, tzinfo=UTC), **WHO)

    reactivate_subscription(subscription=trial, at=datetime(2026, 7, 3, tzinfo=UTC), **WHO)

    assert phases() == [("trial", "07-01", "07-06"), ("active", "07-06", "")]


def test_a_subscription_without_end_is_not_reactivated(trial: Subscription) -> None:
    with pytest.raises(BillingError, match="no end to take back"):
        reactivate_subscription(subscription=trial, at=MID_AUGUST, **WHO)


def test_what_was_ended_is_not_reactivated_inside_an_issued_period(trial: Subscription) -> None:
    end_subscription(subscription=trial, ended_at=datetime(2026, 7, 20, tzinfo=UTC), **WHO)
    billed(AUGUST)

    with pytest.raises(BillingError, match="invoiced until 2026-08-01"):
        reactivate_subscription(subscription=trial, at=datetime(2026, 7, 25, tzinfo=UTC), **WHO)
