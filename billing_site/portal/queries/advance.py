"""What the customer was invoiced in advance and what is not settled yet, subscription by subscription."""

from dataclasses import dataclass
from datetime import datetime

from moneyed import Money

from invoicing.customers.models import Customer
from invoicing.subscriptions.queries import held_in_advance, phase_shown
from invoicing.subscriptions.snapshot import with_phases


@dataclass(frozen=True)
class HeldInAdvance:
    """What is held of one subscription, named by its plan."""

    plan: str
    amount: Money


def held_fees(*, customer: Customer, at: datetime) -> tuple[HeldInAdvance, ...]:
    """Return what is held of each subscription of which something is, oldest first."""
    found = held_in_advance(subscriptions=customer.subscriptions.select_related("customer"))
    held = {pk: amount for pk, amount in found.items() if amount.amount > 0}
    if not held:
        return ()
    subscriptions = with_phases(customer.subscriptions.filter(pk__in=held)).order_by("started_at", "id")
    return tuple(
        HeldInAdvance(phase_shown(subscription=one, at=at).plan_version.plan.name, held[one.pk])
        for one in subscriptions
    )
