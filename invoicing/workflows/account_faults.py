"""What is wrong with accounts that are billed together: lines that stand with somebody who does not pay for them, chains of who pays."""

from collections.abc import Iterator

from django.db.models import F
from django.db.models.functions import Coalesce

from invoicing.customers.models import Customer
from invoicing.invoices.models import InvoiceLine, InvoiceStatus


def account_faults() -> Iterator[tuple[str, str]]:
    """Yield each line of an invoice that is not void and of whose subscription another pays, and each account that is billed to an account."""
    payer = Coalesce("subscription__customer__billed_to", "subscription__customer")
    lines = InvoiceLine.objects.exclude(subscription=None).exclude(invoice__status=InvoiceStatus.VOID)
    strays = lines.annotate(payer=payer).exclude(payer=F("invoice__customer")).order_by("invoice_id", "position")
    rows = strays.values_list("invoice__number", "invoice_id", "position", "subscription__key")
    for number, invoice, position, subscription in rows.iterator():
        yield (
            f"line {position} of {number or f'draft {invoice}'}",
            f"another customer pays for subscription {subscription}",
        )
    for account in (
        Customer.objects.filter(billed_to__billed_to__isnull=False).select_related("billed_to").order_by("pk")
    ):
        assert account.billed_to is not None, "it was asked for"
        yield f"customer {account.key}", f"it is billed to {account.billed_to.key}, which is billed to another"
