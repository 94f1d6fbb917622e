"""May a customer be served at a moment: decided from the phases of its subscriptions alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from invoicing.core.phases import PhaseKind


class AccessReason(StrEnum):
    """Why a customer is served or not, the one that counts first where several hold.

    Spend limit: what the customer spent in the running period has reached an amount at which it is stopped (S0-141).
    Payment disputed: the bank of the customer has taken a payment back, and has not decided (S0-047).
    Restricted: it is served, with what the product takes away for that, until nothing is overdue (S1-023).
    Incomplete: the trial is over and there is no means of payment though one is needed (S1-040).
    """

    ACTIVE = "active"
    TRIAL = "trial"
    SPEND_LIMIT = "spend_limit"
    PAYMENT_DISPUTED = "payment_disputed"
    INCOMPLETE = "incomplete"
    PAUSED = "paused"
    NOT_STARTED = "not_started"
    ENDED = "ended"
    NO_SUBSCRIPTION = "no_subscription"
    # By the customer's state (life_cycle.py), whatever its subscriptions say.
    PAST_DUE = "past_due"
    RESTRICTED = "restricted"
    SUSPENDED = "suspended"
    CHURNED = "churned"


ALLOWED = frozenset({AccessReason.ACTIVE, AccessReason.TRIAL, AccessReason.PAST_DUE, AccessReason.RESTRICTED})
_ORDER = tuple(AccessReason)


@dataclass(frozen=True)
class Stretch:
    """A phase as far as access goes: `[starts_at, ends_at)`, of which subscription and plan (keys)."""

    kind: PhaseKind
    starts_at: datetime
    ends_at: datetime | None
    subscription: str
    plan: str


@dataclass(frozen=True)
class Verdict:
    """Whether a customer is served, why, by which subscription and plan, and when that changes as things are planned."""

    reason: AccessReason
    subscription: str | None
    plan: str | None
    changes_at: datetime | None

    @property
    def is_allowed(self) -> bool:
        """Say whether the customer is served."""
        return self.reason in ALLOWED


def access_at(
    *,
    stretches: Sequence[Stretch],
    can_pay: bool,
    at: datetime,
    stopped_until: datetime | None = None,
    is_frozen: bool = False,
) -> Verdict:
    """Decide from all phases of a customer; whichever serves it counts before those that do not.

    `can_pay` says that the customer has the means of payment that it needs; it counts once a trial is over.
    `stopped_until` is the end of the period in which a spend limit is reached; whoever would be served is not until then.
    `is_frozen` says that a payment is disputed: whoever would be served is not until that is decided, and nobody knows when.

    `changes_at` is the first later moment with another reason, subscription or plan; None: until somebody changes something.
    """
    found = _standing(stretches, can_pay, at)
    bounds = {bound for one in stretches for bound in (one.starts_at, one.ends_at) if bound is not None and bound > at}
    changes_at = next((bound for bound in sorted(bounds) if _standing(stretches, can_pay, bound) != found), None)
    reason, subscription, plan = found
    if stopped_until is not None and stopped_until > at and reason in ALLOWED:
        reason = AccessReason.SPEND_LIMIT
        changes_at = stopped_until if changes_at is None else min(changes_at, stopped_until)
    if is_frozen and reason in ALLOWED:
        reason, changes_at = AccessReason.PAYMENT_DISPUTED, None
    assert (subscription is None) == (reason is AccessReason.NO_SUBSCRIPTION), "a reason is one of a subscription"
    return Verdict(reason=reason, subscription=subscription, plan=plan, changes_at=changes_at)


def _standing(stretches: Sequence[Stretch], can_pay: bool, at: datetime) -> tuple[AccessReason, str | None, str | None]:
    if not stretches:
        return AccessReason.NO_SUBSCRIPTION, None, None
    tried = {
        one.subscription
        for one in stretches
        if not can_pay and one.kind is PhaseKind.TRIAL and one.ends_at is not None and one.ends_at <= at
    }
    reasons = [(_reason(one, one.subscription in tried, at), one) for one in stretches]
    reason = min((reason for reason, _ in reasons), key=_ORDER.index)
    same = [one for one_reason, one in reasons if one_reason is reason]
    # What ended last, what begins first; of several in force the one that began first.
    choose = max if reason is AccessReason.ENDED else min
    named = choose(same, key=lambda one: (one.starts_at, one.subscription))
    return reason, named.subscription, named.plan


def _reason(one: Stretch, was_tried: bool, at: datetime) -> AccessReason:
    if at < one.starts_at:
        return AccessReason.NOT_STARTED
    if one.ends_at is not None and one.ends_at <= at:
        return AccessReason.ENDED
    if was_tried and one.kind is PhaseKind.ACTIVE:
        return AccessReason.INCOMPLETE
    return AccessReason(one.kind.value)
