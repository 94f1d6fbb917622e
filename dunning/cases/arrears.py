"""What customers are late with at a moment, where they are: read from the invoices themselves, without what is objected to."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from moneyed import Money

from billing_site.kernel.money import round_money, total, wire
from dunning.core.calendar import Anchor, local_day
from dunning.core.policy import CountsFrom, PolicyTerms
from invoicing.invoices.models import Invoice, InvoiceStatus, Objection
from invoicing.payments.models import PaymentFailure

# What is read of an invoice: at each sweep, of all that are late, a small part of what it has.
_READ = (
    "customer",
    "number",
    "status",
    "due_date",
    "timezone",
    "currency",
    "total",
    "amount_paid",
    "amount_credited",
    "amount_written_off",
)


@dataclass(frozen=True)
class Debt:
    """One invoice that is late: its due date has passed where the customer is, or its charge was refused.

    `amount` is what is open of it and not objected to, `refused_at` when a charge was refused first, `refusal` the code of
    the newest refusal ("": none).
    """

    invoice_id: int
    number: str
    due_date: date
    amount: Money
    is_overdue: bool
    refused_at: datetime | None
    refusal: str

    def counts(self, *, terms: PolicyTerms) -> bool:
        """Say whether a policy chases it already: with days from the due date a refusal before that is only told."""
        return self.is_overdue or terms.counts_from is CountsFrom.FAILURE

    def anchor(self, *, terms: PolicyTerms, zone: ZoneInfo) -> Anchor:
        """Return from which day on its days are counted."""
        if self.refused_at is None or terms.counts_from is CountsFrom.DUE:
            return Anchor(self.due_date)
        refused_on = local_day(at=self.refused_at, zone=zone)
        return Anchor(refused_on, self.refused_at) if refused_on <= self.due_date else Anchor(self.due_date)


def debts_of(*, customers: Collection[int], at: datetime) -> dict[int, list[Debt]]:
    """Return what each of the customers is late with, oldest due date first; those who are late with nothing are left out. One query."""
    return _read(_late(at=at).filter(customer__in=customers), at)


def all_debts(*, at: datetime) -> dict[int, list[Debt]]:
    """Return what everybody is late with; one query."""
    return _read(_late(at=at), at)


def locked_debts(*, customer_id: int, at: datetime) -> list[Debt]:
    """Return what a customer is late with, its invoices locked: a payment that is being recorded is waited for, and counts (S1-044)."""
    rows = _late(at=at).filter(customer=customer_id).order_by("pk").select_for_update(no_key=True, of=("self",))
    return _read(rows, at).get(customer_id, [])


def owed(debts: Iterable[Debt], *, currency: str) -> Money:
    """Return the sum of debts of one customer."""
    return total((debt.amount for debt in debts), currency)


def figures_of(debts: Iterable[Debt]) -> list[dict[str, Any]]:
    """Return debts as they are kept beside what was done because of them."""
    return [
        {"invoice": debt.number, "due_date": debt.due_date.isoformat(), **wire(debt.amount), "refusal": debt.refusal}
        for debt in debts
    ]


def oldest(debts: Iterable[Debt], *, terms: PolicyTerms, zone: ZoneInfo) -> tuple[Debt, Anchor]:
    """Return the debt from which days are counted, and from which day on."""
    anchored = [(debt, debt.anchor(terms=terms, zone=zone)) for debt in debts]
    return min(anchored, key=lambda pair: (pair[1].day, pair[0].invoice_id))


def _late(*, at: datetime) -> "QuerySet[Invoice]":
    # Who mistypes a card on Stripe's page before the due date is late with nothing by that.
    refusals = PaymentFailure.objects.filter(invoice=OuterRef("pk"), occurred_at__lte=at, by_customer=False)
    # Nowhere is it later than a day after UTC.
    day = at.date() + timedelta(days=1)
    objections = Objection.objects.filter(invoice=OuterRef("pk"), ended_at=None)
    return (
        Invoice.objects.filter(Q(due_date__lt=day) | Exists(refusals), status=InvoiceStatus.ISSUED)
        .only(*_READ)
        .annotate(
            objected=Subquery(objections.values("amount")[:1]),
            refused_at=Subquery(refusals.order_by("occurred_at", "pk").values("occurred_at")[:1]),
            refusal=Subquery(refusals.order_by("-occurred_at", "-pk").values("code")[:1]),
        )
        .order_by("due_date", "pk")
    )


def _read(rows: "QuerySet[Invoice]", at: datetime) -> dict[int, list[Debt]]:
    found: dict[int, list[Debt]] = {}
    for invoice in rows:
        row: Any = invoice
        assert invoice.due_date is not None, "an issued invoice has a due date"
        is_overdue = invoice.due_date < local_day(at=at, zone=ZoneInfo(invoice.timezone))
        amount = round_money(invoice.amount_due.amount - (row.objected or 0), invoice.currency)
        if amount.amount <= 0 or not (is_overdue or row.refused_at):
            continue
        found.setdefault(invoice.customer_id, []).append(
            Debt(
                invoice_id=invoice.pk,
                number=str(invoice.number),
                due_date=invoice.due_date,
                amount=amount,
                is_overdue=is_overdue,
                refused_at=row.refused_at,
                refusal=row.refusal or "",
            )
        )
    for debts in found.values():
        debts.sort(key=lambda debt: (debt.due_date, debt.invoice_id))
    return found
