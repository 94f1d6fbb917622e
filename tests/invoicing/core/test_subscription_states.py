"""Which states of a subscription here and at Stripe can both be right: every pair of them."""

from datetime import timedelta

import pytest

from invoicing.core.subscription_states import AGREEING, MISSING, STRIPE_STATES, difference_of

MINUTE = timedelta(minutes=1)
LIMIT = timedelta(hours=23)
# Ours by row, Stripe's by column in the order of STRIPE_STATES and MISSING: "." where both can be right.
TABLE = {
    #             incomplete expired trialing active past_due unpaid paused canceled missing
    "planned":    ". x . x x x x x x",
    "trial":      ". x . x x x x x x",
    "running":    ". x x . . x x x x",
    "incomplete": ". x x x . . . x x",
    "paused":     "x x x x x x . x x",
    "ended":      "x . x x x x x . .",
}  # fmt: skip


def test_every_pair_is_in_the_table() -> None:
    found = {
        ours: " ".join(
            "x" if difference_of(ours=ours, theirs=theirs, seen_for=MINUTE) else "."
            for theirs in (*STRIPE_STATES, MISSING)
        )
        for ours in AGREEING
    }

    assert found == TABLE


@pytest.mark.requirement("S1-043")
@pytest.mark.parametrize(("seen_for", "is_told"), [(LIMIT - MINUTE, False), (LIMIT, True)])
def test_a_first_payment_that_does_not_succeed_is_told_after_23_hours(seen_for: timedelta, is_told: bool) -> None:
    said = difference_of(ours="running", theirs="incomplete", seen_for=seen_for)

    assert ("has not succeeded for 23 hours" in said) is is_told


def test_each_difference_says_both_states_and_what_to_do() -> None:
    said = [
        difference_of(ours=ours, theirs=theirs, seen_for=MINUTE)
        for ours in AGREEING
        for theirs in (*STRIPE_STATES, MISSING, "a_new_word")
    ]

    assert all(" here, but " in one and ": " in one and one.endswith(".") for one in said if one)
    assert difference_of(ours="running", theirs="canceled", seen_for=MINUTE) == (
        "It runs here, but at Stripe it is canceled: the customer is served. "
        "End it here, or subscribe it again at Stripe and link that."
    )
    assert "Stripe does not have it" in difference_of(ours="running", theirs=MISSING, seen_for=MINUTE)


def test_a_state_of_ours_that_the_table_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="no such state"):
        difference_of(ours="sleeping", theirs="active", seen_for=MINUTE)
