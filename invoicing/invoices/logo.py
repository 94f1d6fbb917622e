"""The seller's logo: kept under its digest, and printed on what was issued with it."""

from hashlib import sha256

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from billing_site.kernel.errors import InvalidInput
from invoicing.invoices.logo_file import read_logo
from invoicing.invoices.models import Invoice, SellerLogo

# What is committed stays: it is not asked for again by each invoice of this process.
_kept: set[str] = set()


def logo_in_use() -> str:
    """Return the digest of the logo that is printed from now on, kept; "" where the settings name none. Raises ImproperlyConfigured."""
    if not settings.SELLER_LOGO:
        return ""
    try:
        content = read_logo(path=settings.SELLER_LOGO)
    except InvalidInput as problem:
        raise ImproperlyConfigured(f"SELLER_LOGO {problem}") from problem
    digest = sha256(content).hexdigest()
    if digest not in _kept:
        SellerLogo.objects.bulk_create([SellerLogo(digest=digest, content=content)], ignore_conflicts=True)
        transaction.on_commit(lambda: _kept.add(digest))
    return digest


def logo_of(*, invoice: Invoice) -> bytes:
    """Return the logo with which an invoice was issued; nothing where it had none."""
    digest = invoice.seller.get("logo", "")
    return bytes(SellerLogo.objects.get(digest=digest).content) if digest else b""
