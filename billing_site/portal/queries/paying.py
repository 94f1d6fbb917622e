"""Whether an invoice can be paid on Stripe's page now."""

from billing_site.kernel.errors import Conflict
from billing_site.portal.phrases import phrase
from dunning.arrangements.queries import objected_to
from invoicing.invoices.models import Invoice
from invoicing.payments.hosted_page import HostedPage


def refuse_if_objected(*, invoice: Invoice) -> None:
    """Raise Conflict where Stripe's page would ask for what the customer objects to."""
    if objected_to(invoice_ids=[invoice.pk]):
        raise Conflict(
            phrase(
                "You object to a part of invoice {number}, and Stripe's page would ask for all of it: transfer the rest.",
                number=str(invoice.number),
            )
        )


def page_to_pay_on(*, invoice: Invoice, hosted: HostedPage) -> str:
    """Return the address of Stripe's page; raises Conflict where it asks for nothing: paid, being paid, or not payable there."""
    number = str(invoice.number)
    if hosted.is_paid:
        raise Conflict(phrase("Invoice {number} is paid: it takes a moment until this is told here.", number=number))
    if hosted.is_under_way:
        raise Conflict(
            phrase("A payment of invoice {number} is under way: a direct debit takes a few days.", number=number)
        )
    if not hosted.url:
        raise Conflict(phrase("Invoice {number} cannot be paid by card. Its page says what to do.", number=number))
    return hosted.url
