"""Who owes and who sells, copied onto an invoice: it does not change when they move."""

from django.conf import settings

from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.invoices.taxes import decided_number


def copy_parties(*, invoice: Invoice, customer: Customer) -> None:
    """Copy the parties onto an invoice that is not issued yet, unsaved."""
    invoice.timezone = customer.timezone
    invoice.customer_name = customer.name
    invoice.customer_email = customer.email
    invoice.customer_address = customer.address
    # The number that tax was decided by, where there is one.
    invoice.customer_tax_id = decided_number(invoice=invoice) or customer.tax_id
    invoice.settlement_channel = customer.settlement_channel
    invoice.seller = dict(settings.SELLER)
