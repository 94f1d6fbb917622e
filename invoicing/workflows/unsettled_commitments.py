"""Commitments that are over and on no invoice to follow: what is missing to them, or left of them, nobody is told."""

from datetime import datetime

from django.db.models import Exists, F, OuterRef, Q

from billing_site.kernel.period import Period, as_utc
from invoicing.core.phases import periods_begun
from invoicing.invoices.models import Invoice, InvoiceLine, InvoiceStatus
from invoicing.subscriptions.agreements import agreements_of
from invoicing.subscriptions.commitment import CommitmentTranche
from invoicing.subscriptions.committed import SETTLING
from invoicing.subscriptions.timelines import timeline_of


def unsettled_commitments(*, at: datetime) -> list[CommitmentTranche]:
    """Return the tranches that are over by `at`, have no line that ends them, and whose subscription has no invoice to come.

    The invoice in which a tranche ends settles it, or the next one where the subscription was paused then; a pause without end, or an end
    of the subscription while it is paused, leaves it open (S0-066). As many queries, however many there are.
    """
    settled = InvoiceLine.objects.filter(
        tranche=OuterRef("pk"), kind="adjustment", adjustment__in=[kind.value for kind in SETTLING]
    ).exclude(invoice__status=InvoiceStatus.VOID)
    ended = Q(ends_at__lte=at) | Q(subscription__ended_at__lte=at, starts_at__lt=F("subscription__ended_at"))
    over = list(
        CommitmentTranche.objects.filter(ended)
        .exclude(subscription__ended_at__lte=F("starts_at"))
        .exclude(Exists(settled))
        .select_related("commitment", "subscription__customer")
        .order_by("ends_at", "id")
    )
    if not over:
        return []
    customers = {tranche.subscription.customer for tranche in over}
    read = agreements_of(customers=customers)
    known = {row.pk: row for customer in customers for row in read.of_customer(customer=customer)}
    issued = {
        (customer, Period(as_utc(start), as_utc(end)))
        for customer, start, end in Invoice.objects.filter(customer__in={customer.payer_id for customer in customers})
        .exclude(status__in=(InvoiceStatus.DRAFT, InvoiceStatus.VOID))
        .values_list("customer_id", "period_start", "period_end")
    }

    def invoice_follows(tranche: CommitmentTranche) -> bool:
        subscription = known[tranche.subscription_id]
        begun = periods_begun(timeline=timeline_of(subscription=subscription), until=at)
        return any((subscription.customer.payer_id, period) not in issued for _, period in begun)

    return [tranche for tranche in over if not invoice_follows(tranche)]
