"""What customers are late with at a moment, where they are: read from the invoices themselves, without what is objected to."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from moneyed import Money

from billing_site.kernel.money import round_money, total, wire
from billing_site.kernel.written_query import WrittenQuery
from dunning.core.calendar import Anchor, local_day
from dunning.core.policy import CountsFrom, PolicyTerms
from invoicing.invoices.models import Invoice, InvoiceStatus, Objection
from invoicing.payments.models import PaymentFailure, PushIntent

# What is read of an invoice: at each sweep, of all that are late, a small part of what it has.
_READ = (
    "pk",
    "customer",
    "number",
    "due_date",
    "timezone",
    "currency",
    "total",
    "amount_paid",
    "amount_credited",
    "amount_written_off",
    "objected",
    "refused_at",
    "refusal",
    "under_way_since",
)


@dataclass(frozen=True)
class Debt:
    """One invoice that is late: its due date has passed where the customer is, or its charge was refused.

    `amount` is what is open of it and not objected to, `refused_at` when a charge was refused first, `refusal` the code of
    the newest refusal ("": none). `is_under_way`: Stripe has begun a payment of it that is not decided.
    """

    invoice_id: int
    number: str
    due_date: date
    amount: Money
    is_overdue: bool
    refused_at: datetime | None
    refusal: str
    is_under_way: bool = False

    def counts(self, *, terms: PolicyTerms) -> bool:
        """Say whether a policy chases it already: with days from the due date a refusal before that is only told; nobody is chased while he pays."""
        if self.is_under_way:
            return False
        return self.is_overdue or terms.counts_from is CountsFrom.FAILURE

    def anchor(self, *, terms: PolicyTerms, zone: ZoneInfo) -> Anchor:
        """Return from which day on its days are counted."""
        if self.refused_at is None or terms.counts_from is CountsFrom.DUE:
            return Anchor(self.due_date)
        refused_on = local_day(at=self.refused_at, zone=zone)
        return Anchor(refused_on, self.refused_at) if refused_on <= self.due_date else Anchor(self.due_date)


def debts_of(*, customers: Collection[int], at: datetime) -> dict[int, list[Debt]]:
    """Return what each of the customers is late with, oldest due date first; those who are late with nothing are left out. One query."""
    if len(customers) == 1:
        [customer] = customers
        return _read(_OF_ONE.rows(customer=customer, at=at), at)
    return _read(_late(at=at).filter(customer__in=customers), at)


def all_debts(*, at: datetime) -> dict[int, list[Debt]]:
    """Return what everybody is late with; one query."""
    return _read(_OF_ALL.rows(at=at), at)


def locked_debts(*, customer_id: int, at: datetime) -> list[Debt]:
    """Return what a customer is late with, its invoices locked: a payment that is being recorded is waited for, and counts (S1-044)."""
    assert connection.in_atomic_block, "a lock lasts as long as its transaction"
    return _read(_LOCKED.rows(customer=customer_id, at=at), at).get(customer_id, [])


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


def _late(*, at: datetime) -> "QuerySet[Invoice, tuple[Any, ...]]":
    # Who mistypes a card on Stripe's page before the due date is late with nothing by that.
    refusals = PaymentFailure.objects.filter(invoice=OuterRef("pk"), occurred_at__lte=at, by_customer=False)
    objections = Objection.objects.filter(invoice=OuterRef("pk"), ended_at=None)
    pushes = PushIntent.objects.filter(invoice=OuterRef("pk"))
    return (
        # Nowhere is it later than a day after UTC.
        Invoice.objects.filter(Q(due_date__lte=at.date()) | Exists(refusals), status=InvoiceStatus.ISSUED)
        .annotate(
            objected=Subquery(objections.values("amount")[:1]),
            refused_at=Subquery(refusals.order_by("occurred_at", "pk").values("occurred_at")[:1]),
            refusal=Subquery(refusals.order_by("-occurred_at", "-pk").values("code")[:1]),
            under_way_since=Subquery(pushes.values("under_way_since")[:1]),
        )
        .order_by("due_date", "pk")
        .values_list(*_READ)
    )


def _locked(customer: int, at: datetime) -> "QuerySet[Invoice, tuple[Any, ...]]":
    return _late(at=at).filter(customer=customer).order_by("pk").select_for_update(no_key=True)


# Asked at each sweep, or several times for each step: written once.
_OF_ALL = WrittenQuery(lambda at: _late(at=at), at=datetime)
_OF_ONE = WrittenQuery(lambda customer, at: _late(at=at).filter(customer=customer), customer=int, at=datetime)
_LOCKED = WrittenQuery(_locked, customer=int, at=datetime)


def _read(rows: Iterable[tuple[Any, ...]], at: datetime) -> dict[int, list[Debt]]:
    found: dict[int, list[Debt]] = {}
    for pk, customer, number, due_date, timezone, currency, *amounts, refused_at, refusal, under_way_since in rows:
        assert due_date is not None, "an issued invoice has a due date"
        is_overdue = due_date < local_day(at=at, zone=ZoneInfo(timezone))
        billed, paid, credited, written_off, objected = amounts
        open_amount = billed - paid - credited - written_off - (objected or 0)
        if open_amount <= 0 or not (is_overdue or refused_at):
            continue
        found.setdefault(customer, []).append(
            Debt(
                invoice_id=pk,
                number=str(number),
                due_date=due_date,
                amount=round_money(open_amount, currency),
                is_overdue=is_overdue,
                refused_at=refused_at,
                refusal=refusal or "",
                is_under_way=under_way_since is not None,
            )
        )
    for debts in found.values():
        debts.sort(key=lambda debt: (debt.due_date, debt.invoice_id))
    return found
