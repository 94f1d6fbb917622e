"""The one place that moves an invoice from status to status, by the table of `core/invoice_life.py`; the trigger follows_its_lifecycle is made of it, too."""

from billing_site.kernel.errors import Conflict
from invoicing.core.invoice_life import STATUS_MOVES, stage_words
from invoicing.invoices.models import Invoice


def move(*, invoice: Invoice, to: str) -> None:
    """Set the status of a locked invoice, unsaved; raises Conflict where the table knows no such move."""
    check_move(invoice=invoice, to=to)
    invoice.status = to


def check_move(*, invoice: Invoice, to: str) -> None:
    """Raise Conflict where the table knows no such move."""
    if (invoice.status, to) not in STATUS_MOVES:
        message = f"invoice {invoice} is {stage_words(invoice.status)} and cannot become {stage_words(to)}"
        raise Conflict(message, field="status")
