"""Who owes and who sells, copied onto an invoice: it does not change when they move."""

from collections.abc import Iterable, Mapping

from django.conf import settings

from invoicing.customers.models import Customer
from invoicing.entities.models import LegalEntity
from invoicing.invoices.models import Invoice, InvoiceKind
from invoicing.invoices.printed_page import DocumentCustomer, DocumentSeller
from invoicing.invoices.taxes import decided_number, seller_number

# What of an invoice says who owes and who sells.
PARTY_FIELDS = (
    "timezone",
    "language",
    "customer_name",
    "customer_email",
    "customer_address",
    "customer_tax_id",
    "accounts",
    "settlement_channel",
    "seller",
)


def sellers_of(*, customers: Iterable[Customer]) -> dict[str, LegalEntity]:
    """Return who sells to customers, by key, in one query."""
    keys = {customer.seller_key for customer in customers}
    return {entity.key: entity for entity in LegalEntity.objects.filter(key__in=keys)}


def copy_parties(
    *,
    invoice: Invoice,
    customer: Customer,
    sellers: Mapping[str, LegalEntity],
    accounts: Mapping[int, Mapping[str, str]],
) -> None:
    """Copy the parties onto an invoice that is not issued yet, unsaved; `sellers` and `accounts` are those of its customer and others."""
    invoice.timezone = customer.timezone
    invoice.language = customer.language or settings.DOCUMENT_LANGUAGE
    invoice.customer_name = customer.name
    invoice.customer_email = customer.email
    invoice.customer_address = customer.address
    # The number that tax was decided by, where there is one.
    invoice.customer_tax_id = decided_number(invoice=invoice) or customer.tax_id
    invoice.accounts = accounts.get(customer.pk) if invoice.kind != InvoiceKind.ONE_OFF else None
    invoice.settlement_channel = customer.settlement_channel
    invoice.seller = _seller(sellers[customer.seller_key])


def _seller(entity: LegalEntity) -> dict[str, str]:
    """Return what a document says of who sells. The seal covers it: what not every seller has is named only where there is some."""
    told = {
        "name": entity.name,
        "address": entity.address,
        "email": entity.email,
        "tax_id": entity.tax_id,
        "bank": entity.bank,
    }
    seldom = {"registration": entity.registration, "logo": entity.logo_id or ""}
    return told | {name: text for name, text in seldom.items() if text}


def printed_parties(*, invoice: Invoice) -> tuple[DocumentSeller, DocumentCustomer]:
    """Return the parties as documents print them; the seller's number is the one by which it was registered for tax at home, where there is one."""
    seller: Mapping[str, str] = invoice.seller
    return (
        DocumentSeller(
            name=seller.get("name", ""),
            address=seller.get("address", ""),
            email=seller.get("email", ""),
            tax_id=seller_number(invoice=invoice) or seller.get("tax_id", ""),
            bank=seller.get("bank", ""),
            registration=seller.get("registration", ""),
        ),
        DocumentCustomer(
            name=invoice.customer_name,
            address=invoice.customer_address,
            email=invoice.customer_email,
            tax_id=invoice.customer_tax_id,
        ),
    )
