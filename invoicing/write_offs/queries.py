"""What may be asked about write-offs."""

from django.db.models import Prefetch, QuerySet

from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.write_offs.models import Recovery, WriteOff


def write_off_in_force(*, invoice: Invoice) -> WriteOff:
    """Return the write-off by which an invoice is written off: its newest."""
    assert invoice.status == InvoiceStatus.WRITTEN_OFF, "an invoice that is not written off has none in force"
    return WriteOff.objects.filter(invoice=invoice).order_by("-number")[0]


def write_offs_of(*, invoice: Invoice) -> list[WriteOff]:
    """Return the write-offs of an invoice with their recoveries, oldest first."""
    return list(with_recoveries(write_offs=invoice.write_offs.order_by("number")))


def with_recoveries(*, write_offs: "QuerySet[WriteOff]") -> "QuerySet[WriteOff]":
    """Return write-offs with what was recovered of each, in order."""
    recoveries = Recovery.objects.order_by("number").select_related("payment", "credit_note")
    return write_offs.prefetch_related(Prefetch("recoveries", recoveries))
