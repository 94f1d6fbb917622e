"""Fees in advance that do not add up: more settled of a subscription than was invoiced for it in advance."""

from collections.abc import Iterator
from decimal import Decimal

from django.db.models import F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce

from invoicing.core.contract import AdjustmentKind
from invoicing.core.posting import DEFERRED
from invoicing.invoices.models import InvoiceLine, InvoiceStatus
from invoicing.ledger.models import JournalEntry
from invoicing.recognition.models import RecognisedRevenue
from invoicing.subscriptions.agreements import IN_ADVANCE


def advance_faults() -> Iterator[tuple[str, str]]:
    """Yield each subscription of which less than nothing is held in advance, each entry that recognises it otherwise than its rows say, and each month that recognises what nobody has taken.

    The books are compared with commitments'.
    """
    lines = InvoiceLine.objects.filter(adjustment__in=IN_ADVANCE).exclude(invoice__status=InvoiceStatus.VOID)
    sums = lines.values("subscription__key", "currency").annotate(held=Sum("amount")).order_by("subscription__key")
    released = dict(
        lines.filter(credit_note_lines__released__gt=0)
        .values("subscription__key")
        .annotate(released=Sum("credit_note_lines__released"))
        .values_list("subscription__key", "released")
    )
    for row in sums:
        held = row["held"] - released.get(row["subscription__key"], 0)
        if held < 0:
            yield f"subscription {row['subscription__key']}", f"{held} {row['currency']} of it are held in advance"
    yield from _recognised_otherwise()
    yield from _recognised_of_nothing()


def _recognised_otherwise() -> Iterator[tuple[str, str]]:
    """Yield each entry of recognised revenue that is not the sum of its rows, or that the next month does not take back as it begins."""
    deferred = Sum("postings__amount", filter=Q(postings__account__code=DEFERRED))
    kinds = (JournalEntry.Kind.RECOGNITION, JournalEntry.Kind.RECOGNITION_END)
    booked = {
        (entry.kind, entry.reference): entry
        for entry in JournalEntry.objects.filter(kind__in=kinds).annotate(deferred=deferred).order_by("id")
    }
    # An entry is of one currency, and its rows are.
    rows = dict(RecognisedRevenue.objects.order_by().values_list("entry").annotate(sum=Sum("amount")))
    for (kind, reference), entry in booked.items():
        other = booked.get((kinds[0] if kind == kinds[1] else kinds[1], reference))
        if other is None or other.deferred != -entry.deferred:
            yield f"journal entry {entry}", "what a month recognises the next one takes back as it begins: it does not"
        if kind == kinds[0] and rows.get(entry.pk) != entry.deferred:
            yield f"journal entry {entry}", f"it recognises {entry.deferred}, its subscriptions {rows.get(entry.pk)}"


def _recognised_of_nothing() -> Iterator[tuple[str, str]]:
    """Yield each subscription and month of which less than nothing was served, more than was held, or more was held than was ever taken for it."""
    ever = InvoiceLine.objects.filter(
        adjustment=AdjustmentKind.IN_ADVANCE, subscription=OuterRef("subscription"), invoice__issued_at__isnull=False
    )
    newest = RecognisedRevenue.objects.filter(month=OuterRef("month"), subscription=OuterRef("subscription"))
    months = (
        RecognisedRevenue.objects.order_by()
        .values("month", "subscription", "subscription__key", "currency")
        .annotate(
            served=Sum("amount"),
            held=Subquery(newest.order_by("-id").values("held")[:1]),
            taken=Subquery(ever.order_by().values("subscription").annotate(sum=Sum("amount")).values("sum")),
        )
    )
    wrong = months.exclude(served__gte=0, served__lte=F("held"), held__lte=Coalesce(F("taken"), Decimal(0)))
    for row in wrong.order_by("month", "subscription__key"):
        told = f"{row['served']} {row['currency']} of it are served by the end of {row['month']:%Y-%m}"
        yield f"subscription {row['subscription__key']}", f"{told}, of {row['held']} held and {row['taken']} taken"
