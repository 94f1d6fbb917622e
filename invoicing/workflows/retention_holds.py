"""What invoicing still needs raw events for: metering asks before it purges a month (S2-033)."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from billing_site.kernel.period import Period
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceLine, InvoiceStatus
from invoicing.subscriptions.snapshot import periods_due

NAMED_MAX = 3


def unfinished_billing(*, span: Period, at: datetime) -> list[str]:
    """Return why events that happened in a span of time are needed: drafts, young invoices, periods not issued yet."""
    lines = InvoiceLine.objects.exclude(meter_key="").filter(service_start__lt=span.end, service_end__gt=span.start)
    drafts = lines.filter(invoice__status=InvoiceStatus.DRAFT).values("invoice").distinct().count()
    young = (
        lines.filter(invoice__issued_at__gt=at - timedelta(days=settings.DISPUTE_DAYS))
        .values("invoice")
        .distinct()
        .count()
    )
    reasons = []
    if drafts:
        reasons.append(f"{drafts} drafts may charge for it")
    if young:
        reasons.append(f"{young} invoices of the last {settings.DISPUTE_DAYS} days charge for it")
    if waiting := _customers_not_billed(span, at):
        named = ", ".join(waiting[:NAMED_MAX]) + (" and others" if len(waiting) > NAMED_MAX else "")
        reasons.append(f"it is not billed yet for {named}")
    return reasons


def _customers_not_billed(span: Period, at: datetime) -> list[str]:
    """Return the customers with a period that touches the span, has ended, and has no issued invoice."""
    began = Q(subscriptions__started_at__lt=span.end) | Q(accounts__subscriptions__started_at__lt=span.end)
    customers = list(Customer.objects.filter(began, billed_to=None).distinct().order_by("key"))
    issued = set(
        Invoice.objects.filter(customer__in=customers)
        .exclude(status__in=(InvoiceStatus.DRAFT, InvoiceStatus.VOID))
        .values_list("customer_id", "period_start", "period_end")
    )
    return [
        customer.key
        for customer in customers
        if any(
            period.overlaps(span) and (customer.pk, period.start, period.end) not in issued
            for period in periods_due(customer=customer, until=at)
        )
    ]
