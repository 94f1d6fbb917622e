"""Let credit expire that has run out, as soon as every period that it could pay for is invoiced."""

from datetime import datetime

from django.db import transaction

from billing_site.kernel.period import Period, as_utc
from invoicing.credits.models import CreditGrant
from invoicing.credits.operations import expire_credit
from invoicing.credits.queries import with_balance
from invoicing.customers.operations import lock_customer
from invoicing.invoices.models import InvoiceKind, InvoiceStatus
from invoicing.subscriptions.snapshot import periods_due


def expire_credits(*, at: datetime) -> int:
    """Expire what is left of grants that ended by `at`, and return of how many; running it again changes nothing.

    A grant waits while a period that ended before it did has no issued invoice: the credit may still pay for that.
    """
    over = with_balance(CreditGrant.objects.filter(expires_at__lte=at)).filter(left__gt=0)  # type: ignore[misc]
    return sum(_expire(grant, at=at) for grant in over.select_related("customer").order_by("id"))


@transaction.atomic
def _expire(grant: CreditGrant, *, at: datetime) -> bool:
    # The customer first: a billing run that computes this customer must not see the credit go.
    customer = lock_customer(customer_id=grant.customer_id)
    assert grant.expires_at is not None, "only what expires is over"
    issued = {
        Period(as_utc(start), as_utc(end))
        for start, end in customer.invoices.filter(kind=InvoiceKind.PERIOD)
        .exclude(status__in=(InvoiceStatus.DRAFT, InvoiceStatus.VOID))
        .values_list("period_start", "period_end")
    }
    payable = {
        period
        for period in periods_due(customer=customer, until=as_utc(grant.expires_at))
        if period.end > as_utc(grant.effective_at)
    }
    return payable <= issued and expire_credit(grant_id=grant.pk, at=at) is not None
