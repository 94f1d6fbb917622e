"""What paying one invoice late costs its customer: the terms, what it has come to so far, and what was charged or waived."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from moneyed import Money

from dunning.overdue.models import OverdueCharge, OverdueKind, OverdueTerms
from dunning.overdue.queries import accrued_of, accrued_total, terms_of
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice


@dataclass(frozen=True)
class LateCost:
    """Something that paying late costs: interest of some days, with what it was worked out from, a lump sum, or a fee for the reminder of a day.

    `charged_by` is the invoice that charges it; None while nothing is decided, or where it was waived.
    """

    kind: str
    amount: Money
    days: tuple[date, date] | None
    stretches: Sequence[dict[str, Any]]
    reminded_on: date | None
    charged_by: Invoice | None = None
    is_waived: bool = False


@dataclass(frozen=True)
class LatePayment:
    """What the page of an invoice says; `so_far` is what is neither charged nor waived yet."""

    terms: OverdueTerms | None
    lump_sum: Money | None
    reminder_fee: Money | None
    so_far: Money
    open: tuple[LateCost, ...]
    decided: tuple[LateCost, ...]


def late_payment(*, customer: Customer, invoice: Invoice, at: datetime) -> LatePayment | None:
    """Return what paying an invoice late costs; None where it was not late, or nothing is charged for that."""
    today = at.astimezone(ZoneInfo(customer.timezone)).date()
    if invoice.due_date is None or invoice.due_date >= today:
        return None
    charges = OverdueCharge.objects.filter(customer=customer, about=invoice).select_related("invoice", "notice")
    decided = tuple(map(_decided, charges.order_by("charged_at", "pk")))
    accrued = [one for one in accrued_of(customer=customer, at=at) if one.about.pk == invoice.pk]
    if not accrued and not decided:
        return None
    terms = terms_of(customer=customer, day=today, at=at)
    is_ours = terms is not None and terms.currency == customer.currency
    return LatePayment(
        terms=terms,
        lump_sum=_some(terms.lump_sum) if terms is not None and is_ours else None,
        reminder_fee=_some(terms.reminder_fee) if terms is not None and is_ours else None,
        so_far=accrued_total(accrued=accrued, currency=customer.currency),
        open=tuple(
            LateCost(
                one.kind.value,
                one.amount,
                _days(one.first_day, one.end_day),
                _stretches(one.proof),
                _reminded_on(one.proof),
            )
            for one in accrued
        ),
        decided=decided,
    )


def _some(amount: Money) -> Money | None:
    return amount if amount.amount > 0 else None


def _decided(charge: OverdueCharge) -> LateCost:
    return LateCost(
        OverdueKind(charge.kind).value,
        charge.amount,
        _days(charge.first_day, charge.end_day),
        _stretches(charge.proof),
        _reminded_on(charge.proof),
        charged_by=charge.invoice,
        is_waived=charge.invoice is None,
    )


def _days(first: date | None, end: date | None) -> tuple[date, date] | None:
    return (first, end - timedelta(days=1)) if first is not None and end is not None else None


def _reminded_on(proof: Iterable[dict[str, Any]]) -> date | None:
    """Return the day on which the reminder was sent that a fee is for."""
    return next((date.fromisoformat(one["sent"]) for one in proof if "sent" in one), None)


def _stretches(proof: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the stretches of days of interest; a fixed amount has none."""
    return [one for one in proof if "principal" in one]
