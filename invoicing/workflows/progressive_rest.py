"""What customers paid progressively and no invoice will take off any more: it is theirs, and a credit note gives it back."""

from typing import Any

from django.db.models import DecimalField, Exists, F, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce

from invoicing.core.invoice_life import STANDING
from invoicing.core.phases import PhaseKind
from invoicing.credit_notes.models import CreditNoteLine
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, ProgressiveInvoice
from invoicing.subscriptions.models import Subscription, SubscriptionPhase

AMOUNT: "DecimalField[Any, Any]" = DecimalField()


def left_of_progressive() -> QuerySet[Any]:
    """Return the progressive invoices of which something is left though no invoice will follow, each with `left`, before tax, oldest first.

    None follows where every subscription of the customer has ended and all that they charged is invoiced. One query, for all customers.
    """
    off = InvoiceLine.objects.filter(progressive=OuterRef("pk"), invoice__status__in=STANDING)
    back = CreditNoteLine.objects.filter(line__invoice=OuterRef("invoice"))
    standing: QuerySet[Any] = ProgressiveInvoice.objects.filter(invoice__status__in=STANDING)
    runs = Subscription.objects.filter(customer=OuterRef("customer"), ended_at=None)
    return (
        standing.annotate(left=F("reached") + _sum(off, "progressive") - _sum(back, "line__invoice"))
        .filter(~Exists(runs), ~Exists(_charged_and_not_invoiced()), left__gt=0)
        .select_related("invoice", "customer")
        .order_by("made_at", "id")
    )


def _sum(rows: QuerySet[Any], by: str) -> Coalesce:
    """Add up what belongs to one progressive invoice, whose currency all of it has."""
    summed = rows.order_by().values(by).annotate(summed=Sum("amount")).values("summed")
    return Coalesce(Subquery(summed, output_field=AMOUNT), Value(0), output_field=AMOUNT)


def _charged_and_not_invoiced() -> QuerySet[SubscriptionPhase]:
    """Return what a customer's subscriptions charged and no standing invoice of a period has reached."""
    reached = Invoice.objects.filter(
        customer=OuterRef("subscription__customer"),
        kind=InvoiceKind.PERIOD,
        status__in=STANDING,
        period_end__gte=OuterRef("ends_at"),
    )
    charged = SubscriptionPhase.objects.filter(kind=PhaseKind.ACTIVE.value, subscription__customer=OuterRef("customer"))
    return charged.exclude(Exists(reached))
