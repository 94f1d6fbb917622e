"""One change of a subscription as data: what the API, the admin and a preview have in common."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.period import as_utc
from invoicing.catalog.models import PlanVersion
from invoicing.subscriptions.amend import change_plan, change_quantity
from invoicing.subscriptions.cancel import end_subscription, reactivate_subscription
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.override import OwnPrice, override_price
from invoicing.subscriptions.pause import pause_subscription, resume_subscription
from invoicing.subscriptions.snapshot import period_at
from invoicing.subscriptions.trial import move_trial_end


class ChangeKind(StrEnum):
    """What can be changed about a subscription that has been started."""

    PLAN = "plan"
    QUANTITY = "quantity"
    PRICE = "price"
    PAUSE = "pause"
    RESUME = "resume"
    TRIAL_END = "trial_end"
    CANCEL = "cancel"
    REACTIVATE = "reactivate"


class Timing(StrEnum):
    """When a change takes effect, where it is not a stated moment."""

    NOW = "now"
    RENEWAL = "renewal"


@dataclass(frozen=True)
class Change:
    """A change from `at` on; `plan_version` with a plan, `quantity` with a quantity, `own_price` with a price, none with the others."""

    kind: ChangeKind
    at: datetime
    plan_version: PlanVersion | None = None
    quantity: int | None = None
    own_price: OwnPrice | None = None


def moment_of(*, subscription: Subscription, timing: Timing, now: datetime) -> datetime:
    """Return the moment that is meant: now, or the end of the billing period that runs now.

    Raises InvalidInput (field `at`) where nothing runs that could be renewed.
    """
    if timing is Timing.NOW:
        return now
    period = period_at(subscription=subscription, moment=as_utc(now))
    if period is None:
        message = "no billing period runs now that could be renewed: state a moment"
        raise InvalidInput(message, field="at", code="not_running")
    return period.end


def apply_change(*, subscription: Subscription, change: Change, actor: str, reason: str) -> Subscription:
    """Make a change; raises what its operation raises, always at a field of the change."""
    who = {"actor": actor, "reason": reason}
    match change.kind:
        case ChangeKind.PLAN:
            assert change.plan_version is not None, "a change of plan names the plan"
            return change_plan(subscription=subscription, plan_version=change.plan_version, at=change.at, **who)
        case ChangeKind.QUANTITY:
            assert change.quantity is not None, "a change of quantity names the quantity"
            return change_quantity(subscription=subscription, quantity=change.quantity, at=change.at, **who)
        case ChangeKind.PRICE:
            assert change.own_price is not None, "a change of price says what is agreed"
            return override_price(subscription=subscription, own=change.own_price, at=change.at, **who)
        case ChangeKind.PAUSE:
            return pause_subscription(subscription=subscription, at=change.at, **who)
        case ChangeKind.RESUME:
            return resume_subscription(subscription=subscription, at=change.at, **who)
        case ChangeKind.TRIAL_END:
            return move_trial_end(subscription=subscription, at=change.at, **who)
        case ChangeKind.CANCEL:
            return end_subscription(subscription=subscription, ended_at=change.at, field="at", **who)
        case ChangeKind.REACTIVATE:
            return reactivate_subscription(subscription=subscription, at=change.at, **who)
