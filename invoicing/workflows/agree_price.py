"""A price of a customer's own: agreed at once, or, where that takes two people, asked for and agreed as it was shown once another approves."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.approvals.operations import request_approval
from invoicing.approvals.queries import takes_two
from invoicing.catalog.models import Price
from invoicing.core import contract
from invoicing.core.definition import definition_of, price_from_definition
from invoicing.core.overrides import Override
from invoicing.invoices.printed_text import money_text
from invoicing.subscriptions.change import Change, ChangeKind
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.override import Agreement, OwnPrice, Scope, agreement_on, override_price
from invoicing.subscriptions.phases import locked_subscription
from invoicing.workflows.preview_change import ChangePreview, make_change, preview_change


def change_or_ask(
    *, subscription: Subscription, change: Change, at: datetime, digest: str = "", actor: str, reason: str
) -> ChangePreview | Approval:
    """Make a change of a subscription as `make_change` does, or, of a price of its own where that takes two people, ask for the second.

    What is so already is not asked for. Raises what `make_change` raises.
    """
    if change.kind is not ChangeKind.PRICE or not takes_two(deed=ApprovedDeed.OWN_PRICE):
        return make_change(subscription=subscription, change=change, at=at, digest=digest, actor=actor, reason=reason)
    preview = preview_change(subscription=subscription, change=change, at=at)
    if digest and preview.digest != digest:
        raise Conflict("it would do something else by now: look at the preview again", code="outdated")
    with transaction.atomic():
        asked = _ask(preview, subscription=subscription, at=at, actor=actor, reason=reason)
    return preview if asked is None else asked


def lock_subscription_of(approval: Approval) -> None:
    """Lock the subscription that an approval is about, its customer first."""
    locked_subscription(subscription=_subscription_of(approval))


def agree_as_approved(approval: Approval) -> None:
    """Store the price that was approved, for whoever asked for it; raises Conflict where other prices have been agreed since, or the time is invoiced."""
    assert approval.decided_at is not None, "it is approved"
    subscription = _subscription_of(approval)
    own, since = _own_price_of(approval)
    agreement = agreement_on(subscription=locked_subscription(subscription=subscription), own=own, at=since)
    if _digest(agreement) != approval.digest:
        raise Conflict("other prices have been agreed since: ask again", code="outdated")
    override_price(subscription=subscription, own=own, at=since, actor=approval.requested_by, reason=approval.reason)


def _ask(
    preview: ChangePreview, *, subscription: Subscription, at: datetime, actor: str, reason: str
) -> Approval | None:
    locked, change = locked_subscription(subscription=subscription), preview.change
    assert change.own_price is not None, "a change of price says what is agreed"
    agreement = agreement_on(subscription=locked, own=change.own_price, at=change.at)
    if agreement.changes_nothing:
        return None
    place = agreement.place
    named = f"{_name(agreement, locked)} for {locked.customer.name[:120]}"
    return request_approval(
        deed=ApprovedDeed.OWN_PRICE,
        subject=f"price {digest_of(place.document())[:16]} of subscription {locked.pk}",
        digest=_digest(agreement),
        summary=f"{named}: {_costs(change.own_price)}",
        at=at,
        actor=actor,
        reason=reason,
        asked={
            **agreement.document(),
            "own_price": change.own_price.document(),
            "at": change.at.isoformat(),
            "figures": [
                ["Holds for", "all subscriptions of the customer" if place.subscription is None else str(locked.key)],
                ["Until now", _spans(agreement.before)],
                ["Then", _spans(agreement.after)],
                *_invoices(preview),
            ],
        },
    )


def _digest(agreement: Agreement) -> str:
    """What is approved: the prices of the place before and after; usage that comes meanwhile changes nothing of it."""
    return digest_of(agreement.document())


def _subscription_of(approval: Approval) -> Subscription:
    return Subscription.objects.get(pk=int(approval.subject.rpartition(" ")[2]))


def _own_price_of(approval: Approval) -> tuple[OwnPrice, datetime]:
    said = approval.asked["own_price"]
    own = OwnPrice(
        price_key=said["price"],
        price=None if said["definition"] is None else price_from_definition(said["definition"]),
        until=None if said["until"] is None else datetime.fromisoformat(said["until"]),
        scope=Scope(said["scope"]),
    )
    return own, datetime.fromisoformat(approval.asked["at"])


def _name(agreement: Agreement, subscription: Subscription) -> str:
    place = agreement.place
    prices = Price.objects.filter(
        plan_version__plan=place.plan, key=place.price_key, currency=subscription.customer.currency
    )
    newest = prices.select_related("plan_version__plan").order_by("-plan_version__number")[0]
    return f"{newest.name} of {newest.plan_version.plan.name}"


def _costs(own: OwnPrice) -> str:
    return "what the plan says again" if own.price is None else _stated(own.price)


def _stated(price: contract.Price) -> str:
    return ", ".join(f"{name} {value}" for name, value in definition_of(price).items())


def _spans(overrides: Sequence[Override]) -> str:
    if not overrides:
        return "what the plan says"
    return "; ".join(
        f"from {one.starts_at:%Y-%m-%d %H:%M} UTC "
        + ("until further notice" if one.ends_at is None else f"to {one.ends_at:%Y-%m-%d %H:%M} UTC")
        + f": {_stated(one.price)}"
        for one in overrides
    )


def _invoices(preview: ChangePreview) -> list[list[str]]:
    return [
        [
            f"Invoice of {effect.period.start:%Y-%m-%d} to {effect.period.end:%Y-%m-%d}, with the usage known then",
            f"{money_text(money=effect.after.total)} (before: {money_text(money=effect.before.total)})",
        ]
        for effect in preview.periods
    ]
