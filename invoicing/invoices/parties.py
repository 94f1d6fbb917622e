"""Who owes and who sells, copied onto an invoice: it does not change when they move."""

from collections.abc import Mapping

from django.conf import settings

from invoicing.customers.models import Customer
from invoicing.invoices.logo import logo_in_use
from invoicing.invoices.models import Invoice
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
    "settlement_channel",
    "seller",
)


def copy_parties(*, invoice: Invoice, customer: Customer) -> None:
    """Copy the parties onto an invoice that is not issued yet, unsaved."""
    invoice.timezone = customer.timezone
    invoice.language = customer.language or settings.DOCUMENT_LANGUAGE
    invoice.customer_name = customer.name
    invoice.customer_email = customer.email
    invoice.customer_address = customer.address
    # The number that tax was decided by, where there is one.
    invoice.customer_tax_id = decided_number(invoice=invoice) or customer.tax_id
    invoice.settlement_channel = customer.settlement_channel
    # The seal covers it: the logo is named only where there is one.
    logo = logo_in_use()
    invoice.seller = settings.SELLER | ({"logo": logo} if logo else {})


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
        ),
        DocumentCustomer(
            name=invoice.customer_name,
            address=invoice.customer_address,
            email=invoice.customer_email,
            tax_id=invoice.customer_tax_id,
        ),
    )
