"""Charge cards again when it makes sense: by why the bank refused, and at once when the customer has given another card."""

from collections.abc import Collection
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import transaction

from dunning.arrangements.queries import hold_of, objected_to, open_promise
from dunning.cases.models import SWEEP, DunningCase
from dunning.cases.operations import lock_case
from dunning.core.retries import DECLINE_WORDS, Refusal, decline_kind, next_try
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.payments.charging import plan_charge
from invoicing.payments.models import PaymentFailure


def plan_retries(*, case_id: int, invoice_ids: Collection[int], at: datetime) -> int:
    """Plan to charge late invoices of a live case again whose next try has come, each refusal once, also after its last step; returns how many are new or known."""
    with transaction.atomic():
        case = lock_case(case_id=case_id)
        if not case.is_live or _waits(case, at=at):
            return 0
        # The whole invoice would be charged, and a part of it is objected to.
        objected = objected_to(invoice_ids=invoice_ids)
        return sum(_plan_retry(case, invoice_id, at=at) for invoice_id in invoice_ids if invoice_id not in objected)


def _waits(case: DunningCase, *, at: datetime) -> bool:
    return hold_of(customer_id=case.customer_id, at=at) is not None or open_promise(case_id=case.pk) is not None


def _plan_retry(case: DunningCase, invoice_id: int, *, at: datetime) -> bool:
    # What a customer tried on Stripe's page is no charge of ours that would be repeated.
    refusals = PaymentFailure.objects.filter(invoice=invoice_id, occurred_at__lte=at, by_customer=False)
    refusals = refusals.order_by("-occurred_at", "-pk")
    newest, number = refusals.first(), refusals.count()
    if newest is None:
        return False
    refusal = Refusal(newest.code, newest.occurred_at, number)
    reference, reason = f"retry:{newest.pk}", DECLINE_WORDS[decline_kind(newest.code)]
    another = _another_card(case.customer, since=newest.occurred_at)
    if another:
        reference, reason = f"retry:{newest.pk}:{another}"[:200], "the customer has given another means of payment"
    else:
        tried_at = next_try(refusal=refusal, zone=ZoneInfo(case.customer.timezone))
        if tried_at is None or tried_at > at or number > case.policy.read.retries_max:
            return False
    invoice = Invoice.objects.get(pk=invoice_id)
    return plan_charge(invoice=invoice, reference=reference, at=at, actor=SWEEP, reason=reason) is not None


def _another_card(customer: Customer, *, since: datetime) -> str:
    """Return the means of payment that the customer has given since a refusal; "" where it is the one that was refused."""
    kept = customer.history.filter(history_date__lte=since).order_by("-history_id")
    refused = kept.values_list("payment_method", flat=True).first()
    return customer.payment_method if refused is not None and refused != customer.payment_method else ""
