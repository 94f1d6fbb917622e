"""What an invoice says once what is open of it is given up, and once it is expected again."""

from billing_site.kernel.history import save_with_reason
from billing_site.kernel.money import from_minor_units
from invoicing.invoices.lifecycle import move
from invoicing.invoices.models import Invoice, InvoiceStatus


def give_up(*, invoice: Invoice, actor: str, reason: str) -> Invoice:
    """Let a locked, issued invoice be written off over all that is open of it; the caller records the write-off in the same transaction."""
    assert invoice.amount_due.amount > 0, "nothing is given up where nothing is open"
    invoice.amount_written_off = invoice.amount_due
    move(invoice=invoice, to=InvoiceStatus.WRITTEN_OFF)
    save_with_reason(invoice, actor=actor, reason=reason)
    return invoice


def expect_again(*, invoice: Invoice, actor: str, reason: str) -> Invoice:
    """Let what is given up of a locked invoice be open again; the caller records the recovery in the same transaction."""
    move(invoice=invoice, to=InvoiceStatus.ISSUED)
    invoice.amount_written_off = from_minor_units(0, invoice.currency)
    save_with_reason(invoice, actor=actor, reason=reason)
    return invoice
