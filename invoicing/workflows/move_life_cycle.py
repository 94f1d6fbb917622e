"""Move customers through their life: the sweep by what has come to pass, dunning and people by decision (S0-121..130)."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import BillingError, Conflict
from invoicing.core.life_cycle import Driver, State, Transition
from invoicing.customers.life_cycle import last_move, record_move, transition_for
from invoicing.customers.models import Customer, LifeCycleMove
from invoicing.customers.operations import lock_customer
from invoicing.subscriptions.agreements import billed_to
from invoicing.subscriptions.cancel import end_subscription, reactivate_subscription
from invoicing.subscriptions.snapshot import with_phases
from invoicing.workflows.customer_standing import perhaps_moving, standing_now, standings

logger = logging.getLogger(__name__)
SWEEP = "life cycle sweep"
BATCH = 1_000


@dataclass
class SweepReport:
    """What a sweep has moved, and for whom it failed and why."""

    moves: list[LifeCycleMove] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


def sweep_life_cycles(*, at: datetime) -> SweepReport:
    """Record every move that time, payments and subscriptions call for; a second sweep finds nothing to do.

    One query finds for whom something may have changed; only who moves is locked, looked at again and moved, each in a
    transaction of its own.
    """
    report = SweepReport()
    for customer_id in _due(at=at):
        try:
            report.moves += follow_customer(customer_id=customer_id, at=at)
        except BillingError as problem:
            key = Customer.objects.get(pk=customer_id).key
            logger.info("the life cycle of %s stands still: %s", key, problem)
            report.failures.append((key, problem.message))
    return report


def _due(*, at: datetime) -> Iterator[int]:
    ids = perhaps_moving(at=at)
    for start in range(0, len(ids), BATCH):
        for standing in standings(customers=Customer.objects.filter(pk__in=ids[start : start + BATCH]), at=at):
            if standing.moves:
                yield standing.customer_id


@transaction.atomic
def move_customer(
    *, customer: Customer, to: State, driver: Driver, at: datetime, actor: str, reason: str
) -> LifeCycleMove:
    """Suspend a customer, give it up or close it, as dunning or a person decides (S0-127, S0-129, S0-130).

    What is due by itself is recorded first. Whoever churns is off-boarded: its subscriptions end at `at`, and the final
    invoice follows when their billing period is over. The same move a second time is the one that was made. Raises
    Conflict where the table knows no such move, or something that has begun cannot be ended then.
    """
    assert driver in (Driver.DUNNING, Driver.PERSON), "registration and sweep have their own way"
    follow_customer(customer_id=customer.pk, at=at)
    last = last_move(customer=customer)
    if last is not None and last.to_state == to.value:
        return last
    transition = transition_for(customer=customer, to=to, driver=driver)
    return _move(customer, transition, at=at, actor=actor, reason=reason)


@transaction.atomic
def follow_customer(*, customer_id: int, at: datetime) -> list[LifeCycleMove]:
    """Record the moves of one customer that are due, as they are once it is locked."""
    customer = lock_customer(customer_id=customer_id)
    standing = standing_now(customer_id=customer_id, at=at)
    if standing.since is not None and at < standing.since:
        return []
    return [_move(customer, row, at=at, actor=SWEEP, reason=row.when) for row in standing.moves]


def _move(customer: Customer, transition: Transition, *, at: datetime, actor: str, reason: str) -> LifeCycleMove:
    if transition.to is State.CHURNED:
        _end_subscriptions(customer, at=at, actor=actor, reason=reason)
    return record_move(customer=customer, transition=transition, at=at, actor=actor, reason=reason)


def _end_subscriptions(customer: Customer, *, at: datetime, actor: str, reason: str) -> None:
    """End what runs, of the accounts that are billed to it, too: nobody else pays for them; an end that was planned for later is drawn nearer.

    Add-ons end with what they are added to.
    """
    for subscription in with_phases(billed_to(customers=[customer.pk]).filter(parent=None)).order_by("id"):
        if subscription.ended_at is not None and subscription.ended_at <= at:
            continue
        if subscription.started_at >= at:
            message = f"subscription {subscription.key} has not begun: let it begin before the customer is closed"
            raise Conflict(message, field="state", code="not_begun")
        if subscription.ended_at is not None:
            subscription = reactivate_subscription(subscription=subscription, at=at, actor=actor, reason=reason)
        end_subscription(subscription=subscription, ended_at=at, actor=actor, reason=reason)
