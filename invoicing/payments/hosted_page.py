"""Where a customer pays an invoice that was pushed: Stripe's own page of it, which also confirms a payment that the bank asks about (3-D Secure)."""

from dataclasses import dataclass

from invoicing.invoices.models import Invoice
from invoicing.payments import gateway
from invoicing.payments.models import PushIntent, PushStatus


@dataclass(frozen=True)
class HostedPage:
    """An invoice's page at Stripe ("" where there is none to pay on), and whether Stripe says that it is paid."""

    url: str
    is_paid: bool


NO_PAGE = HostedPage(url="", is_paid=False)


def hosted_page(*, invoice: Invoice) -> HostedPage:
    """Ask Stripe where an invoice can be paid, never inside of a transaction; raises GatewayUnavailable and GatewayRefused.

    Stripe asks for the whole total: what was paid or credited otherwise has no page there.
    """
    intent = PushIntent.objects.filter(invoice=invoice, status=PushStatus.PUSHED).first()
    if intent is None or not intent.stripe_invoice_id:
        return NO_PAGE
    present = gateway.retrieve_invoice(intent.stripe_invoice_id)
    is_payable = present.status == "open" and invoice.amount_unpaid == invoice.total
    return HostedPage(url=present.hosted_url if is_payable else "", is_paid=present.status == "paid")
