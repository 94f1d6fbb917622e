"""What may happen to thresholds of progressive invoices: one is set, in place of the one before, and retired."""

from datetime import datetime

from django.db import transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.model import AMOUNT_DIGITS, AMOUNT_PLACES
from billing_site.kernel.money import is_rounded
from billing_site.kernel.reasons import checked_reason, reason_mistake
from invoicing.customers.models import Customer
from invoicing.customers.operations import KEY_PATTERN, lock_customer, lock_who_pays
from invoicing.progressive.models import ProgressiveThreshold


@transaction.atomic
def set_threshold(
    *, customer: Customer, key: str, amount: Money, step: Money | None, at: datetime, actor: str, reason: str
) -> ProgressiveThreshold:
    """Invoice the usage of a customer's running periods from an amount on, and again after each further `step`; the threshold before it is retired.

    The same key again is the threshold that exists. Raises InvalidFields naming each field that cannot be accepted, Conflict where the key
    stands for another threshold, and for whoever pays for other accounts (code `pays_for_accounts`).
    """
    customer = lock_who_pays(customer_id=customer.pk)
    errors = _mistakes("amount", amount, customer) + ([] if step is None else _mistakes("step", step, customer))
    if not KEY_PATTERN.fullmatch(key):
        message = "use 1 to 100 letters, digits and _ . : -, beginning with a letter or digit"
        errors.append(FieldError("key", "invalid", message))
    if (mistake := reason_mistake(reason=reason)) is not None:
        errors.append(mistake)
    if errors:
        raise InvalidFields(tuple(errors))
    if customer.accounts.exists():
        message = "it pays for other accounts: what they use is invoiced when the period ends"
        raise Conflict(message, field="customer", code="pays_for_accounts")
    existing = ProgressiveThreshold.objects.filter(key=key).first()
    if existing is not None:
        return _the_same(existing, customer, amount, step)
    for before in customer.progressive_thresholds.filter(retired_at=None):
        retire_threshold(threshold=before, at=at, actor=actor, reason=f"replaced by {key}")
    return ProgressiveThreshold.objects.create(
        key=key,
        customer=customer,
        currency=customer.currency,
        amount=amount,
        step=step,
        set_at=at,
        actor=actor,
        reason=reason,
    )


@transaction.atomic
def retire_threshold(*, threshold: ProgressiveThreshold, at: datetime, actor: str, reason: str) -> ProgressiveThreshold:
    """Invoice nothing before its period ends by this threshold any more; what was invoiced stays. A second time changes nothing."""
    checked_reason(reason=reason)
    lock_customer(customer_id=threshold.customer_id)
    locked = ProgressiveThreshold.objects.select_for_update(no_key=True).get(pk=threshold.pk)
    if locked.retired_at is None:
        locked.retired_at, locked.retired_by, locked.retired_because = at, actor, reason[:300]
        locked.save(update_fields=["retired_at", "retired_by", "retired_because"])
    return locked


def _the_same(
    existing: ProgressiveThreshold, customer: Customer, amount: Money, step: Money | None
) -> ProgressiveThreshold:
    there = (existing.customer_id, existing.amount, existing.step, existing.retired_at)
    if there != (customer.pk, amount, step, None):
        raise Conflict(f"{existing.key} is another threshold, or retired: choose another key", field="key")
    return existing


def _mistakes(name: str, money: Money, customer: Customer) -> list[FieldError]:
    if money.currency.code != customer.currency:
        message = f"must be in {customer.currency}, in which {customer} is billed"
        return [FieldError(name, "currency_differs", message)]
    if money.amount <= 0 or not is_rounded(money):
        return [FieldError(name, "out_of_range", "must be more than nothing, in whole minor units")]
    if money.amount >= 10 ** (AMOUNT_DIGITS - AMOUNT_PLACES):
        message = f"must have at most {AMOUNT_DIGITS - AMOUNT_PLACES} digits before the point"
        return [FieldError(name, "too_large", message)]
    return []
