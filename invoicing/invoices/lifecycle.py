"""The life of an invoice as one table; the database guards the same moves (trigger follows_its_lifecycle)."""

from billing_site.kernel.errors import Conflict
from invoicing.invoices.models import Invoice, InvoiceStatus

# from → to: what brings it about
TRANSITIONS: dict[tuple[str, str], str] = {
    (InvoiceStatus.DRAFT, InvoiceStatus.ISSUED): "issued by a billing run or by staff",
    (InvoiceStatus.ISSUED, InvoiceStatus.PAID): "payments and credit notes reach the total",
    (InvoiceStatus.ISSUED, InvoiceStatus.VOID): "voided before any payment",
}


def move(*, invoice: Invoice, to: str) -> None:
    """Set the status of a locked invoice, unsaved; raises Conflict where the table knows no such move."""
    if (invoice.status, to) not in TRANSITIONS:
        raise Conflict(f"invoice {invoice} is {invoice.status} and cannot become {to}", field="status")
    invoice.status = to
