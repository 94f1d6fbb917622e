"""Words for tests that credit issued invoices."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from moneyed import Money

from invoicing.credit_notes.models import CreditNote
from invoicing.credit_notes.operations import CreditAsked
from invoicing.invoices.models import Invoice
from invoicing.workflows.credit_invoice import credit_invoice
from tests.factories import AUGUST

LATER = AUGUST + timedelta(days=10)


def of_line(position: int, *, quantity: Any = None, amount: str = "", currency: str = "USD") -> CreditAsked:
    return CreditAsked(
        position,
        quantity=None if quantity is None else Decimal(quantity),
        amount=Money(amount, currency) if amount else None,
    )


def credited(
    invoice: Invoice,
    *asked: CreditAsked,
    disposition: str = "offset",
    key: str = "",
    at: datetime = LATER,
    **others: Any,
) -> CreditNote:
    return credit_invoice(
        invoice_id=invoice.pk,
        key=key or f"credit-{CreditNote.objects.count() + 1}",
        asked=asked,
        disposition=disposition,
        at=at,
        actor="test",
        reason="agreed by phone",
        **others,
    )


def given(note: CreditNote) -> tuple[str, str, str]:
    """What a note takes off what is open, keeps as credit and pays back."""
    parts = (note.offset_amount, note.balance_amount, note.refund_amount)
    return tuple(f"{one.amount:.2f}" for one in parts)  # type: ignore[return-value]
