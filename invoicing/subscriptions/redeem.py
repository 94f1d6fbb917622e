"""Redeem a coupon for a customer or one subscription, and end the discount that it became."""

from datetime import datetime

from django.db import transaction
from django.db.models import Max

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields, InvalidInput, NotFound
from billing_site.kernel.history import save_with_reason
from invoicing.catalog.coupon import Coupon
from invoicing.catalog.coupons import locked_coupon
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer, lock_who_pays
from invoicing.subscriptions.discount import Discount
from invoicing.subscriptions.models import Subscription


@transaction.atomic
def redeem_coupon(
    *, code: str, customer: Customer, subscription: Subscription | None, at: datetime, actor: str, reason: str
) -> Discount:
    """Put a coupon in force for a customer, or for one subscription of it, from the billing period that holds `at`.

    The same coupon for the same a second time is the discount that exists. Raises NotFound for an unknown code, InvalidFields (field `code`)
    where it is closed, too late, used up, in another currency, or `at` lies in a period whose invoice is issued.
    """
    # The customer first: a billing run that computes this customer must not see a discount halfway.
    customer = lock_who_pays(customer_id=customer.pk)
    coupon = locked_coupon(code=code, field="code")
    assert subscription is None or subscription.customer_id == customer.pk, "a discount is for the customer's own"
    existing = Discount.objects.filter(coupon=coupon, customer=customer, subscription=subscription).first()
    if existing is not None:
        return existing
    if errors := _mistakes(coupon, customer, at):
        raise InvalidFields(tuple(errors))
    discount = Discount(coupon=coupon, customer=customer, subscription=subscription, redeemed_at=at)
    save_with_reason(discount, actor=actor, reason=reason)
    return discount


@transaction.atomic
def end_discount(*, discount_id: int, at: datetime, actor: str, reason: str) -> Discount:
    """Reduce no billing period any more that begins at `at` or later; ending it a second time changes nothing.

    Raises InvalidInput (field `at`) before it was redeemed, Conflict before the end of what is invoiced.
    """
    discount = discount_by_id(discount_id=discount_id)
    customer = lock_customer(customer_id=discount.customer_id)
    discount = Discount.objects.select_for_update(of=("self",)).select_related("coupon", "customer").get(pk=discount_id)
    if discount.ended_at is not None:
        return discount
    if at < discount.redeemed_at:
        message = f"must not be before it was redeemed, {_text(discount.redeemed_at)}"
        raise InvalidInput(message, field="at", code="before_start")
    if (until := _issued_until(customer)) is not None and at < until:
        raise Conflict(f"{customer} is invoiced until {_text(until)}: end it then or later", field="at")
    discount.ended_at = at
    save_with_reason(discount, actor=actor, reason=reason, fields=["ended_at"])
    return discount


def discount_by_id(*, discount_id: int) -> Discount:
    """Return a discount; raises NotFound."""
    found = Discount.objects.select_related("coupon", "customer", "subscription").filter(pk=discount_id).first()
    if found is None:
        raise NotFound(f"there is no discount {discount_id}", field="id")
    return found


def _mistakes(coupon: Coupon, customer: Customer, at: datetime) -> list[FieldError]:
    if at.utcoffset() is None:
        return [FieldError("at", "naive", "has no offset: write 2026-08-01T00:00:00Z")]
    if coupon.closed_at is not None:
        return [FieldError("code", "closed", f"{coupon} was closed on {_text(coupon.closed_at)}")]
    if coupon.redeem_by is not None and at >= coupon.redeem_by:
        return [FieldError("code", "too_late", f"{coupon} could be redeemed before {_text(coupon.redeem_by)}")]
    if coupon.max_redemptions is not None and coupon.discounts.count() >= coupon.max_redemptions:
        return [FieldError("code", "used_up", f"{coupon} was redeemed {coupon.max_redemptions} times, which is all")]
    if coupon.currency not in ("", customer.currency):
        message = f"{coupon} is in {coupon.currency}, {customer} is billed in {customer.currency}"
        return [FieldError("code", "currency_differs", message)]
    if (until := _issued_until(customer)) is not None and at < until:
        return [
            FieldError("at", "invoiced_already", f"{customer} is invoiced until {_text(until)}: redeem it from then on")
        ]
    return []


def _issued_until(customer: Customer) -> datetime | None:
    issued = customer.invoices.filter(kind="period").exclude(status__in=("draft", "void"))
    until: datetime | None = issued.aggregate(until=Max("period_end"))["until"]
    return until


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
