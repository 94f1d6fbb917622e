"""Who is served when: decided from phases, without a database."""

from datetime import UTC, datetime, timedelta

import pytest

from invoicing.core.access import AccessReason, Stretch, access_at
from invoicing.core.phases import PhaseKind

DAY_1, DAY_8, DAY_15, DAY_22 = (datetime(2026, 7, day, tzinfo=UTC) for day in (1, 8, 15, 22))
TICK = timedelta(microseconds=1)


def stretch(kind: str, starts_at: datetime, ends_at: datetime | None, subscription: str = "sub_a") -> Stretch:
    return Stretch(
        kind=PhaseKind(kind), starts_at=starts_at, ends_at=ends_at, subscription=subscription, plan=f"of {subscription}"
    )


LIFE = [stretch("trial", DAY_1, DAY_8), stretch("active", DAY_8, DAY_15), stretch("paused", DAY_15, DAY_22)]


@pytest.mark.parametrize(
    ("at", "reason", "is_allowed", "changes_at"),
    [
        (DAY_1 - TICK, "not_started", False, DAY_1),
        (DAY_1, "trial", True, DAY_8),
        (DAY_8 - TICK, "trial", True, DAY_8),
        (DAY_8, "active", True, DAY_15),
        (DAY_15, "paused", False, DAY_22),
        (DAY_22 - TICK, "paused", False, DAY_22),
        (DAY_22, "ended", False, None),
    ],
)
def test_access_follows_the_phases_to_the_microsecond(
    at: datetime, reason: str, is_allowed: bool, changes_at: datetime | None
) -> None:
    verdict = access_at(stretches=LIFE, can_pay=True, at=at)

    assert (verdict.reason.value, verdict.is_allowed, verdict.changes_at) == (reason, is_allowed, changes_at)


def test_nobody_is_served_without_a_subscription() -> None:
    verdict = access_at(stretches=[], can_pay=True, at=DAY_1)

    assert (verdict.reason, verdict.is_allowed) == (AccessReason.NO_SUBSCRIPTION, False)
    assert (verdict.subscription, verdict.plan, verdict.changes_at) == (None, None, None)


def test_one_subscription_that_serves_is_enough_and_is_the_one_named() -> None:
    verdict = access_at(stretches=[*LIFE, stretch("active", DAY_8, None, "sub_b")], can_pay=True, at=DAY_15)

    assert (verdict.reason, verdict.subscription, verdict.plan) == (AccessReason.ACTIVE, "sub_b", "of sub_b")
    assert verdict.changes_at is None


def test_a_change_of_seats_is_no_change_of_access() -> None:
    verdict = access_at(
        stretches=[stretch("active", DAY_1, DAY_8), stretch("active", DAY_8, DAY_15)], can_pay=True, at=DAY_1
    )

    assert verdict.changes_at == DAY_15


def test_of_what_has_ended_the_last_is_named_and_of_what_will_begin_the_first() -> None:
    ended = [stretch("active", DAY_1, DAY_8, "sub_a"), stretch("active", DAY_8, DAY_15, "sub_b")]
    planned = [stretch("active", DAY_15, None, "sub_a"), stretch("active", DAY_8, DAY_15, "sub_b")]

    assert access_at(stretches=ended, can_pay=True, at=DAY_22).subscription == "sub_b"
    assert access_at(stretches=planned, can_pay=True, at=DAY_1).subscription == "sub_b"
    # Between two subscriptions what comes counts, not what was.
    assert access_at(stretches=[ended[0], planned[0]], can_pay=True, at=DAY_8).reason is AccessReason.NOT_STARTED


def test_what_was_tried_is_not_served_on_without_the_means_of_payment_it_needs() -> None:
    trial_of_b = [stretch("trial", DAY_1, DAY_8, "sub_b"), stretch("active", DAY_8, None, "sub_b")]
    in_trial = access_at(stretches=trial_of_b, can_pay=False, at=DAY_8 - TICK)
    after = access_at(stretches=trial_of_b, can_pay=False, at=DAY_8)
    never_tried = access_at(stretches=[stretch("active", DAY_8, None)], can_pay=False, at=DAY_8)

    assert (in_trial.is_allowed, in_trial.changes_at) == (True, DAY_8)
    assert (after.reason, after.is_allowed, after.changes_at) == (AccessReason.INCOMPLETE, False, None)
    assert never_tried.is_allowed
