"""The seller's logo on a document: the one with which it was issued."""

from invoicing.entities.logo import SellerLogo
from invoicing.invoices.models import Invoice


def logo_of(*, invoice: Invoice) -> bytes:
    """Return the logo with which an invoice was issued; nothing where it had none."""
    digest = invoice.seller.get("logo", "")
    return bytes(SellerLogo.objects.get(digest=digest).content) if digest else b""
