"""When documents count in the books: when their facts happened, but where the month was closed by then, when their entry is booked.

Documents say when things happened, entries when they are booked. Only the few entries that are booked later are asked, so that a
document whose entry is missing still stands in its month, and the tie with the ledger does not hold.
"""

from datetime import UTC, datetime
from typing import Any

from django.db.models import Case, CharField, F, Max, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Concat, Greatest

from invoicing.credits.models import CreditEntry, EntryKind
from invoicing.invoices.models import Invoice
from invoicing.ledger.models import JournalEntry
from invoicing.payments.models import Payment

Kind = JournalEntry.Kind

# Columns of the entries that are booked in a later month than the one in which they happened: kind, reference, booked_at.
BOOKED_LATER = "(SELECT kind, reference, booked_at FROM invoicing_journalentry WHERE booked_at > occurred_at)"


def booked_moment(*, kind: Kind, reference: str | Combinable, happened: str) -> Coalesce:
    """Return the expression of when a document's fact is booked, by the kind and reference (a column or expression) of its entry."""
    named = OuterRef(reference) if isinstance(reference, str) else reference
    later = JournalEntry.objects.filter(kind=kind, reference=named, booked_at__gt=F("occurred_at"))
    return Coalesce(Subquery(later.values("booked_at")[:1]), F(happened))


def with_booked_invoices(rows: "QuerySet[Any]", *, path: str = "") -> "QuerySet[Any]":
    """Give rows the moments `booked` and `unbooked`: of the issue of the invoice at `path`, and of its becoming void."""
    return rows.alias(
        booked=booked_moment(kind=Kind.ISSUE, reference=f"{path}number", happened=f"{path}issued_at"),
        unbooked=booked_moment(kind=Kind.REVERSAL, reference=f"{path}number", happened=f"{path}voided_at"),
    )


def invoices_booked(*, start: Any, end: Any) -> "QuerySet[Invoice]":
    """Return the invoices whose issue is booked in `[start, end)`."""
    return with_booked_invoices(Invoice.objects.exclude(status="draft")).filter(booked__gte=start, booked__lt=end)


def with_booked_entries(entries: "QuerySet[CreditEntry]") -> "QuerySet[Any]":
    """Give entries of credit the moment `booked`: that of the sale, issue, credit note, payment or expiry behind each."""
    return entries.alias(
        booked=Case(
            When(kind=EntryKind.DRAW, then=_moment(Kind.ISSUE, OuterRef("reference"))),
            When(kind=EntryKind.RESTORE, then=_moment(Kind.REVERSAL, OuterRef("reference"))),
            When(
                kind=EntryKind.EXPIRE,
                then=_moment(Kind.BREAKAGE, _text(OuterRef("grant__key"), Value("/"), OuterRef("sequence"))),
            ),
            When(
                kind=EntryKind.GRANT,
                grant__credit_note__isnull=False,
                then=_moment(Kind.CREDIT_NOTE, OuterRef("grant__credit_note__number")),
            ),
            When(
                Q(kind=EntryKind.GRANT, grant__top_up__isnull=False),
                then=payment_booked(invoice="grant__top_up__invoice", happened="occurred_at"),
            ),
            default=_moment(Kind.CREDIT_SALE, OuterRef("grant__key")),
        )
    )


def payment_booked(*, invoice: str, happened: str) -> Greatest:
    """Return the expression of when the payment is booked that completed an invoice: no payment of it is booked later."""
    reference = _text(F("channel"), Value(":"), F("reference"))
    later = JournalEntry.objects.filter(
        kind=Kind.PAYMENT, reference=OuterRef("named"), booked_at__gt=F("occurred_at")
    ).values("booked_at")
    payments = (
        Payment.objects.filter(invoice=OuterRef(invoice))
        .annotate(named=reference)
        .annotate(moment=Subquery(later[:1]))
        .order_by()
        .values("invoice")
        .annotate(newest=Max("moment"))
        .values("newest")
    )
    return Greatest(F(happened), Subquery(payments))


def booked_later_words(*, happened: datetime, booked: datetime) -> str:
    """Return what is said of something that is booked in a later month than the one in which it happened; nothing of anything else."""
    return f" (of {happened.astimezone(UTC):%Y-%m-%d}, whose month was closed)" if booked > happened else ""


def _moment(kind: Kind, reference: Combinable) -> Coalesce:
    return booked_moment(kind=kind, reference=reference, happened="occurred_at")


def _text(*parts: Combinable) -> Concat:
    return Concat(*parts, output_field=CharField())
