"""Whether our state of a subscription and Stripe's can both be right, as one table (S1-048..051); what is to be done where they cannot.

Stripe's words are those of docs.stripe.com/api/subscriptions/object; MISSING is ours, for one that Stripe does not have. Ours are those of
`subscriptions.queries.state_of`. Collection that Stripe has paused counts as paused there, whatever the status says.
"""

from datetime import timedelta

MISSING = "missing"
INCOMPLETE = "incomplete"
STRIPE_STATES = (
    INCOMPLETE,
    "incomplete_expired",
    "trialing",
    "active",
    "past_due",
    "unpaid",
    "paused",
    "canceled",
)
ENDED = ("canceled", "incomplete_expired", MISSING)
# Stripe lets a first payment that did not succeed wait so long; then the subscription is over (S1-043).
INCOMPLETE_HOURS_MAX = 23
TOLD_AFTER = timedelta(hours=INCOMPLETE_HOURS_MAX)
# What both may say at the same time.
AGREEING = {
    "planned": ("trialing", INCOMPLETE),
    "trial": ("trialing", INCOMPLETE),
    "running": ("active", "past_due", INCOMPLETE),
    "incomplete": ("past_due", "unpaid", "paused", INCOMPLETE),
    "paused": ("paused",),
    "ended": ENDED,
}
_HERE = {
    "planned": "has not begun here",
    "trial": "is in its trial here",
    "running": "runs here",
    "incomplete": "runs without a means of payment here",
    "paused": "is paused here",
    "ended": "has ended here",
}
_SERVED = ("trial", "running", "incomplete")


def difference_of(*, ours: str, theirs: str, seen_for: timedelta) -> str:
    """Say in a sentence what is wrong and what to do about it, "" where both can be right.

    `seen_for` is how long Stripe has said so. Raises ValueError for a word of ours that the table does not know; a new word of Stripe's is a
    difference.
    """
    if ours not in AGREEING:
        raise ValueError(f"no such state of a subscription: {ours}")
    if theirs == INCOMPLETE and ours != "ended" and seen_for >= TOLD_AFTER:
        return f"Its first payment at Stripe has not succeeded for {INCOMPLETE_HOURS_MAX} hours: ask for another means of payment, or end it."
    if theirs in AGREEING[ours]:
        return ""
    there = "Stripe does not have it" if theirs == MISSING else f"at Stripe it is {theirs.replace('_', ' ')}"
    return f"It {_HERE[ours]}, but {there}: {_advice(ours, theirs)}"


def _advice(ours: str, theirs: str) -> str:
    if theirs in ENDED and ours in _SERVED:
        return "the customer is served. End it here, or subscribe it again at Stripe and link that."
    if theirs in ENDED:
        return "end it here, or link the one that took its place."
    if ours == "ended":
        return "cancel it at Stripe, or it may be charged there."
    if theirs == "unpaid":
        return "Stripe has given up collecting. Look after the payment, or pause or end it."
    if theirs == "paused":
        return "nothing is collected there. Pause it here, or resume it at Stripe."
    if ours == "paused":
        return "it may be charged there. Pause it at Stripe, or resume it here."
    if theirs in ("active", "past_due"):
        return "it is charged there. Correct one of the two."
    return "correct one of the two."
