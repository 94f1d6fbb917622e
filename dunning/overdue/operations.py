"""Charge what paying late has cost by an invoice of its own, or waive it: each day, lump sum and reminder once."""

import re
from collections.abc import Iterator
from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.model import AMOUNT_DIGITS, AMOUNT_PLACES
from billing_site.kernel.money import is_rounded, plain
from billing_site.kernel.reasons import checked_reason
from dunning.arrangements.queries import money_held
from dunning.overdue.models import Audience, OverdueCharge, OverdueTerms
from dunning.overdue.queries import Accrued, accrued_digest, accrued_of
from dunning.policies.models import PolicyVersion
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.invoices.models import Invoice
from invoicing.invoices.printed_text import money_text
from invoicing.workflows.invoice_late_payment import Damage, invoice_late_payment

COUNTRY = re.compile(r"[A-Z]{2}")
AMOUNT_LIMIT = 10 ** (AMOUNT_DIGITS - AMOUNT_PLACES)


def set_terms(*, terms: OverdueTerms, at: datetime, actor: str, reason: str) -> OverdueTerms:
    """Keep what paying late costs from a day on; terms stay, others are the next row. Raises InvalidFields naming each field.

    A day may have gone by: it costs interest from then on, but no reminder that was sent before `at` costs a fee.
    """
    said = checked_reason(reason=reason)
    mistakes = tuple(FieldError(field, "invalid", message) for field, message in _mistakes(terms))
    if mistakes:
        raise InvalidFields(mistakes)
    terms.actor, terms.reason, terms.recorded_at = actor, said, at
    terms.save(force_insert=True)
    return terms


def _mistakes(terms: OverdueTerms) -> Iterator[tuple[str, str]]:
    """Yield what the database would refuse, by its field."""
    if terms.policy and not PolicyVersion.objects.filter(key=terms.policy).exists():
        yield "policy", f"there is no dunning policy {terms.policy!r}"
    if terms.country and not COUNTRY.fullmatch(terms.country):
        yield "country", "must be two letters: DE"
    if terms.audience not in Audience.values:
        yield "audience", "must be everybody, companies or consumers"
    if not -100 <= terms.base_rate <= 100:
        yield "base_rate", "must be percent a year, from -100 to 100"
    if not 0 <= terms.points <= 100:
        yield "points", "must be percentage points from 0 to 100: nobody is paid for being late"
    for field, amount in (("lump_sum", terms.lump_sum), ("reminder_fee", terms.reminder_fee)):
        if not 0 <= amount.amount < AMOUNT_LIMIT:
            yield field, f"must be 0 or more, of at most {AMOUNT_DIGITS - AMOUNT_PLACES} digits before the point"
        elif not is_rounded(amount):
            yield field, f"must be whole minor units: {plain(amount.amount)} {amount.currency} cannot be paid"


@transaction.atomic
def charge_late_payment(*, customer_id: int, at: datetime, actor: str, reason: str, digest: str = "") -> Invoice:
    """Issue the invoice over what paying late has cost a customer until yesterday.

    Raises Conflict where it has cost nothing more, where that is not what was shown with this `digest` (code `outdated`), and while
    money of the customer lies on account: applied, it may have cost less.
    """
    said = checked_reason(reason=reason)
    customer = lock_customer(customer_id=customer_id)
    held = money_held(customer=customer)
    if held is not None:
        message = f"{money_text(money=held)} are on account: apply them first, they may have come in time"
        raise Conflict(message, field="customer", code="money_on_account")
    accrued = _accrued(customer, at=at, digest=digest)
    before = OverdueCharge.objects.filter(customer=customer).exclude(invoice=None).values("invoice").distinct().count()
    invoice = invoice_late_payment(
        customer=customer,
        key=f"late-payment:{customer.pk}:{before + 1}",
        damages=[Damage(one.words, one.amount) for one in accrued],
        at=at,
        actor=actor,
        reason=said,
    )
    _keep(customer, accrued, invoice=invoice, at=at, actor=actor, reason=said)
    return invoice


@transaction.atomic
def waive_late_payment(
    *, customer_id: int, at: datetime, actor: str, reason: str, digest: str = ""
) -> list[OverdueCharge]:
    """Charge nothing of what paying late has cost a customer until yesterday, for good.

    Raises Conflict where it has cost nothing more, or that is not what was shown with this `digest` (code `outdated`).
    What was charged already is given back by a credit note of its invoice.
    """
    said = checked_reason(reason=reason)
    customer = lock_customer(customer_id=customer_id)
    return _keep(customer, _accrued(customer, at=at, digest=digest), invoice=None, at=at, actor=actor, reason=said)


def _accrued(customer: Customer, *, at: datetime, digest: str) -> list[Accrued]:
    accrued = accrued_of(customer=customer, at=at)
    if not accrued:
        raise Conflict("paying late has cost nothing that is not charged or waived", field="customer")
    if digest and digest != accrued_digest(accrued=accrued):
        message = "paying late has cost something else by now than what was shown: look at it again"
        raise Conflict(message, field="customer", code="outdated")
    return accrued


def _keep(
    customer: Customer, accrued: list[Accrued], *, invoice: Invoice | None, at: datetime, actor: str, reason: str
) -> list[OverdueCharge]:
    return OverdueCharge.objects.bulk_create(
        OverdueCharge(
            customer=customer,
            kind=one.kind.value,
            about=one.about,
            first_day=one.first_day,
            end_day=one.end_day,
            notice=one.notice,
            currency=one.amount.currency.code,
            amount=one.amount,
            proof=one.proof,
            invoice=invoice,
            charged_at=at,
            actor=actor,
            reason=reason,
        )
        for one in accrued
    )
