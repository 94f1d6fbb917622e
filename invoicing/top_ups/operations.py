"""What may happen to top-ups and their rules: a rule is set and retired, credit is granted once its invoice is paid; a void one closes it in the database."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from django.db import connection, transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.model import AMOUNT_DIGITS, AMOUNT_PLACES
from billing_site.kernel.money import is_rounded
from billing_site.kernel.reasons import reason_mistake
from billing_site.kernel.text import is_storable
from invoicing.core.adjustments.credits import CreditKind
from invoicing.credits.operations import GrantTerms, grant_sold_credit
from invoicing.customers.models import Customer
from invoicing.customers.operations import KEY_PATTERN, lock_who_pays
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.one_off import KEY_MISTAKE
from invoicing.payments.models import Payment
from invoicing.top_ups.models import TopUp, TopUpStatus
from invoicing.top_ups.rules import PER_MONTH_MAX, VALID_DAYS_MAX, TopUpRule

NAME_DEFAULT = "Prepaid credit"
NAME_MAX = 200


@dataclass(frozen=True)
class TopUpTerms:
    """What is sold: credit of an amount, for all that the customer uses; `valid_days` count from its payment."""

    amount: Money
    name: str = NAME_DEFAULT
    valid_days: int | None = None


def mistakes_of_terms(*, terms: TopUpTerms, customer: Customer) -> list[FieldError]:
    """Return what is wrong with each field of what is to be sold to a customer."""
    errors = []
    if not terms.name.strip() or len(terms.name) > NAME_MAX or not is_storable(terms.name):
        errors.append(FieldError("name", "wrong_type", f"must be a text of 1 to {NAME_MAX} characters"))
    if terms.amount.currency.code != customer.currency:
        message = f"must be in {customer.currency}, in which {customer} is billed"
        errors.append(FieldError("amount", "currency_differs", message))
    elif terms.amount.amount <= 0 or not is_rounded(terms.amount):
        errors.append(FieldError("amount", "out_of_range", "must be more than nothing, in whole minor units"))
    elif terms.amount.amount >= 10 ** (AMOUNT_DIGITS - AMOUNT_PLACES):
        message = f"must have at most {AMOUNT_DIGITS - AMOUNT_PLACES} digits before the point"
        errors.append(FieldError("amount", "too_large", message))
    if terms.valid_days is not None and not 1 <= terms.valid_days <= VALID_DAYS_MAX:
        errors.append(
            FieldError("valid_days", "out_of_range", f"must be a whole number of days from 1 to {VALID_DAYS_MAX}")
        )
    return errors


@dataclass(frozen=True)
class RuleTerms:
    """Below which live balance how much is sold, for how long, and how often a calendar month at most."""

    threshold: Money
    amount: Money
    max_per_month: int
    valid_days: int | None = None


@transaction.atomic
def set_rule(*, customer: Customer, key: str, terms: RuleTerms, at: datetime, actor: str, reason: str) -> TopUpRule:
    """Top a customer's credit up by these terms from now on; the rule before it is retired. The same key again is the rule that exists.

    Raises InvalidFields naming each field that cannot be accepted, Conflict where the key stands for another rule.
    """
    customer = lock_who_pays(customer_id=customer.pk)
    if errors := _mistakes_of_rule(customer, key, terms, reason):
        raise InvalidFields(tuple(errors))
    existing = TopUpRule.objects.filter(key=key).first()
    if existing is not None:
        return _the_same(existing, customer, terms)
    for before in customer.top_up_rules.filter(currency=customer.currency, retired_at=None):
        retire_rule(rule=before, at=at, actor=actor, reason=f"replaced by {key}")
    return TopUpRule.objects.create(
        key=key,
        customer=customer,
        currency=customer.currency,
        threshold=terms.threshold,
        amount=terms.amount,
        valid_days=terms.valid_days,
        max_per_month=terms.max_per_month,
        set_at=at,
        state_since=at,
        actor=actor,
        reason=reason,
    )


@transaction.atomic
def retire_rule(*, rule: TopUpRule, at: datetime, actor: str, reason: str) -> TopUpRule:
    """Top up by this rule no more; what it sold stays. A second time changes nothing."""
    locked = TopUpRule.objects.select_for_update(no_key=True).get(pk=rule.pk)
    if locked.retired_at is None:
        locked.retired_at, locked.retired_by, locked.retired_because = at, actor, reason[:300]
        locked.save(update_fields=["retired_at", "retired_by", "retired_because"])
    return locked


def _mistakes_of_rule(customer: Customer, key: str, terms: RuleTerms, reason: str) -> list[FieldError]:
    errors = mistakes_of_terms(terms=TopUpTerms(amount=terms.amount, valid_days=terms.valid_days), customer=customer)
    of_threshold = mistakes_of_terms(terms=TopUpTerms(amount=terms.threshold), customer=customer)
    errors += [replace(error, field="threshold") for error in of_threshold]
    if not KEY_PATTERN.fullmatch(key):
        errors.append(KEY_MISTAKE)
    if not 1 <= terms.max_per_month <= PER_MONTH_MAX:
        message = f"must be a whole number from 1 to {PER_MONTH_MAX}"
        errors.append(FieldError("max_per_month", "out_of_range", message))
    if (mistake := reason_mistake(reason=reason)) is not None:
        errors.append(mistake)
    return errors


def _the_same(existing: TopUpRule, customer: Customer, terms: RuleTerms) -> TopUpRule:
    there = RuleTerms(existing.threshold, existing.amount, existing.max_per_month, existing.valid_days)
    if (existing.customer_id, there, existing.retired_at) != (customer.pk, terms, None):
        raise Conflict(f"{existing.key} is another rule, or retired: choose another key", field="key")
    return existing


def grant_when_paid(*, invoice: Invoice, payment: Payment, actor: str) -> TopUp | None:
    """Grant the credit that a paid invoice sold; nothing where it sold none, or has granted it. The invoice's row is locked."""
    assert connection.in_atomic_block, "the credit is there with the payment, or neither is"
    if invoice.status != InvoiceStatus.PAID:
        return None
    top_up = TopUp.objects.select_for_update().filter(invoice=invoice, status=TopUpStatus.OPEN).first()
    if top_up is None:
        return None
    # A transfer may be dated before the invoice: the books owe the credit from the issue on.
    assert invoice.issued_at is not None, "only an issued invoice is paid"
    begins = max(payment.received_at, invoice.issued_at)
    lasts = None if top_up.valid_days is None else begins + timedelta(days=top_up.valid_days)
    top_up.grant = grant_sold_credit(
        customer=Customer.objects.get(pk=top_up.customer_id),
        terms=GrantTerms(
            # Nobody can take a key that is drawn now: a payment must not fail for that.
            key=f"top-up-{invoice.number}-{uuid4().hex}"[:100],
            kind=CreditKind.PREPAID,
            name=top_up.name,
            amount=top_up.amount,
            effective_at=begins,
            expires_at=lasts,
        ),
        at=begins,
        actor=actor,
        reason=f"invoice {invoice.number} is paid",
    )
    top_up.payment = payment
    top_up.status = TopUpStatus.PAID
    top_up.save(update_fields=["grant", "payment", "status"])
    return top_up
