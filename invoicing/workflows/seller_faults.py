"""What is wrong with sellers: documents that are numbered by another legal entity than the one that sells to their customer."""

from collections.abc import Iterator
from typing import Any

from django.db.models import F

from invoicing.credit_notes.models import CreditNote
from invoicing.invoices.models import Invoice


def seller_faults() -> Iterator[tuple[str, str]]:
    """Yield each issued document whose series is of another legal entity than its customer, and of which."""
    documents: tuple[tuple[str, type[Any]], ...] = (("invoice", Invoice), ("credit note", CreditNote))
    for noun, model in documents:
        strays = model.objects.exclude(series=None).exclude(series__legal_entity=F("customer__legal_entity"))
        rows = strays.order_by("pk").values_list("number", "customer__legal_entity", "series__legal_entity")
        for number, seller, issuer in rows.iterator():
            yield f"{noun} {number}", f"its customer buys from {seller}, its number is of {issuer}"
