"""Where a customer pays an invoice that was pushed: Stripe's own page of it, which also confirms a payment that the bank asks about (3-D Secure)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from billing_site.kernel.written_query import WrittenObjects
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.payments import gateway
from invoicing.payments.models import PushIntent, PushStatus
from invoicing.payments.queries import is_withdrawn


@dataclass(frozen=True)
class HostedPage:
    """An invoice's page at Stripe ("" where there is none to pay on), and whether Stripe says that it is paid, or that a payment of it is under way."""

    url: str
    is_paid: bool
    is_under_way: bool = False


# Stripe's address of a page works longer.
KEPT = timedelta(days=25)
NO_PAGE = HostedPage(url="", is_paid=False)


def page_kept(*, invoice: Invoice, at: datetime) -> str:
    """Return where an invoice could be paid when it was pushed, for whoever cannot be kept waiting until Stripe answers; "" where that is too long ago.

    The page itself says what has become of the invoice since (docs.stripe.com/invoicing/hosted-invoice-page: its address works for 30 days at least).
    """
    if (
        invoice.status != InvoiceStatus.ISSUED
        or invoice.amount_unpaid != invoice.total
        or is_withdrawn(invoice=invoice)
    ):
        return ""
    pushed = PushIntent.objects.filter(invoice=invoice, status=PushStatus.PUSHED, pushed_at__gt=at - KEPT)
    url = pushed.values_list("hosted_url", flat=True).first() or ""
    # The sandbox may have begun anew elsewhere since.
    is_elsewhere = settings.STRIPE_IS_SANDBOX and not url.startswith(settings.STRIPE_API_HOST)
    return "" if is_elsewhere else url


def hosted_page(*, invoice: Invoice) -> HostedPage:
    """Ask Stripe where an invoice can be paid, never inside of a transaction; raises GatewayUnavailable and GatewayRefused.

    Stripe asks for the whole total: what was paid or credited otherwise has no page there.
    """
    intent = _PUSHED.first(invoice=invoice.pk)
    if intent is None or not intent.stripe_invoice_id:
        return NO_PAGE
    present = gateway.retrieve_invoice(intent.stripe_invoice_id)
    is_payable = present.status == "open" and invoice.amount_unpaid == invoice.total
    return HostedPage(
        url=present.hosted_url if is_payable else "",
        is_paid=present.status == "paid",
        is_under_way=present.is_under_way,
    )


# Asked for each mail: written once.
_PUSHED = WrittenObjects(
    lambda invoice: PushIntent.objects.filter(invoice=invoice, status=PushStatus.PUSHED).order_by("pk")[:1],
    invoice=int,
)
