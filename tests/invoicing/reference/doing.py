"""Do to the product what was done in a story: start, change, promise, redeem and grant through its own operations."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from moneyed import Money

from billing_site.kernel.errors import InvalidInput
from invoicing.catalog.queries import version_to_start
from invoicing.core.definition import price_from_definition
from invoicing.credits.operations import GrantTerms, grant_credit, void_credit
from invoicing.customers.models import Customer
from invoicing.subscriptions.amend import change_plan, change_quantity
from invoicing.subscriptions.cancel import end_subscription, reactivate_subscription
from invoicing.subscriptions.commit import TrancheWanted, commit_spend
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.override import OwnPrice, Scope, override_price
from invoicing.subscriptions.pause import pause_subscription, resume_subscription
from invoicing.subscriptions.redeem import redeem_coupon
from invoicing.subscriptions.start import start_subscription
from invoicing.subscriptions.trial import move_trial_end
from tests.invoicing.reference.billing import FOR_EVER, Account
from tests.invoicing.reference.deeds import Deed
from tests.invoicing.reference.discounts import Redeemed
from tests.invoicing.reference.grants import Grant
from tests.invoicing.reference.own_prices import OwnPrice as ToldPrice
from tests.invoicing.reference.promises import Promise

WHO: dict[str, Any] = {"actor": "test", "reason": "random contract"}


def do(deed: Deed, *, account: Account) -> None:
    """Do one deed; the product finds itself which version of a plan is sold then."""
    if deed.redeemed is not None:
        _redeem(deed.redeemed, customer=account.customer)
    elif deed.what == "start":
        _start(deed, account)
    elif deed.what == "void" and deed.grant is not None:
        void_credit(key=deed.grant.key, at=deed.at, **WHO)
    elif deed.grant is not None:
        _grant(deed, deed.grant, customer=account.customer)
    else:
        _change(deed, Subscription.objects.get(key=deed.agreement))


def _change(deed: Deed, subscription: Subscription) -> None:
    if deed.plan is not None:
        version = version_to_start(plan_key=deed.plan["key"], number=None, at=deed.at)
        change_plan(subscription=subscription, plan_version=version, at=deed.at, **WHO)
    elif deed.what == "seats":
        change_quantity(subscription=subscription, quantity=deed.seats, at=deed.at, **WHO)
    elif deed.own is not None:
        override_price(subscription=subscription, own=_own(deed.own), at=deed.at, **WHO)
    elif deed.promise is not None:
        _promise(deed, deed.promise, subscription)
    elif deed.what == "end":
        end_subscription(subscription=subscription, ended_at=deed.at, **WHO)
    elif deed.what == "refused":
        with pytest.raises(InvalidInput) as refused:
            pause_subscription(subscription=subscription, at=deed.at, **WHO)
        assert refused.value.field == "at"
    else:
        verb = {
            "pause": pause_subscription,
            "resume": resume_subscription,
            "move": move_trial_end,
            "reactivate": reactivate_subscription,
        }[deed.what]
        verb(subscription=subscription, at=deed.at, **WHO)


def _start(deed: Deed, account: Account) -> None:
    agreement = next(one for one in account.agreements if one.key == deed.agreement)
    first = agreement.stretches[0]
    terms: Mapping[str, Any] = {
        "key": agreement.key,
        "customer": Customer.objects.get(key=account.customer),
        "plan_version": version_to_start(plan_key=first.plan["key"], number=None, at=agreement.started_at),
        "started_at": agreement.started_at,
        "quantity": first.seats,
    }
    if agreement.parent:
        start_subscription(parent=Subscription.objects.get(key=agreement.parent), **terms, **WHO)
        return
    subscription = start_subscription(anchor=agreement.anchor, trial_ends_at=agreement.trial_ends_at, **terms, **WHO)
    if agreement.ended_at is not None:
        end_subscription(subscription=subscription, ended_at=agreement.ended_at, **WHO)


def _own(told: ToldPrice) -> OwnPrice:
    return OwnPrice(
        price_key=told.price,
        price=None if told.definition is None else price_from_definition(told.definition),
        until=None if told.end == FOR_EVER else told.end,
        scope=Scope.CUSTOMER if told.of_customer else Scope.SUBSCRIPTION,
    )


def _promise(deed: Deed, promise: Promise, subscription: Subscription) -> None:
    commit_spend(
        subscription=subscription,
        starts_at=promise.at,
        payment="in_advance" if promise.is_paid_before else "in_arrears",
        tranches=[TrancheWanted(periods, Decimal(amount)) for periods, amount in promise.tranches],
        rolls_over=promise.rolls_over,
        rollover_max=None if promise.rollover_max is None else Decimal(promise.rollover_max),
        overage_rate=Decimal(promise.overage_rate),
        at=deed.at,
        **WHO,
    )


def _redeem(redeemed: Redeemed, *, customer: str) -> None:
    """Redeem a coupon for one subscription of a customer, or for all."""
    subscription = Subscription.objects.get(key=redeemed.agreement) if redeemed.agreement else None
    redeem_coupon(
        code=redeemed.coupon["code"],
        customer=Customer.objects.get(key=customer),
        subscription=subscription,
        at=redeemed.at,
        **WHO,
    )


def _grant(deed: Deed, grant: Grant, *, customer: str) -> None:
    to = Customer.objects.get(key=customer)
    terms = GrantTerms(
        key=grant.key,
        kind="prepaid" if grant.is_prepaid else "promotional",
        name=grant.key,
        amount=Money(grant.amount, to.currency),
        effective_at=grant.effective_at,
        expires_at=grant.expires_at,
        priority=grant.priority,
        plans=grant.plans,
        meters=grant.meters,
    )
    grant_credit(customer=to, terms=terms, at=deed.at, **WHO)
