"""Fees in advance that do not add up: more settled of a subscription than was invoiced for it in advance."""

from collections.abc import Iterator

from django.db.models import Sum

from invoicing.invoices.models import InvoiceLine, InvoiceStatus
from invoicing.subscriptions.agreements import IN_ADVANCE


def advance_faults() -> Iterator[tuple[str, str]]:
    """Yield each subscription of which less than nothing is held in advance; the books are compared with commitments'."""
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
